"""Two stores side by side while all documents are indexed again."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from qdrant_client import AsyncQdrantClient, models

from backend.adapters.stores.edge import EdgeDocumentStore, EdgeVectorStore
from backend.adapters.stores.schema import HnswSettings, check_fingerprint
from backend.adapters.stores.server import ServerDocumentStore, ServerVectorStore, asked
from backend.core.errors import ConfigurationError
from backend.services.reindex import StorePair


def _differs(found: str | None, expected: str, where: str) -> bool:
    if found is None:
        return False
    try:
        check_fingerprint({"fingerprint": found}, expected, where)
    except ConfigurationError:
        return True
    return False


def recover_edge(folder: Path) -> None:
    """Finish a switch that a crash cut; to be called before ``folder`` is opened."""
    upcoming, old = _beside(folder)
    if not folder.exists() and old.exists():
        (upcoming if upcoming.exists() else old).rename(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f"{folder.name}.next"), folder.with_name(f"{folder.name}.old")


class EdgeGenerations:
    """Implements ``Generations``: the new store grows in a folder beside the old one, and takes
    its name when whole. The caller holds the lock of the data folder."""

    def __init__(
        self, folder: Path, *, fingerprint: str, dimensions: int, hnsw: HnswSettings
    ) -> None:
        self._folder = folder
        self._upcoming, self._old = _beside(folder)
        self._fingerprint = fingerprint
        self._dimensions = dimensions
        self._hnsw = hnsw

    async def outdated(self) -> bool:
        await asyncio.to_thread(recover_edge, self._folder)
        return _differs(await _filled_with(self._folder), self._fingerprint, str(self._folder))

    @asynccontextmanager
    async def current(self) -> AsyncIterator[StorePair]:
        has_chunks = (self._folder / "chunks").exists()
        async with self._open(self._folder, None, None if has_chunks else self._dimensions) as pair:
            yield pair

    @asynccontextmanager
    async def upcoming(self) -> AsyncIterator[StorePair]:
        if await _filled_with(self._upcoming) != self._fingerprint:
            await asyncio.to_thread(shutil.rmtree, self._upcoming, ignore_errors=True)
        async with self._open(self._upcoming, self._fingerprint, self._dimensions) as pair:
            yield pair

    async def switch(self) -> None:
        await asyncio.to_thread(self._switch)

    def _switch(self) -> None:
        self._folder.rename(self._old)
        self._upcoming.rename(self._folder)
        shutil.rmtree(self._old)

    @asynccontextmanager
    async def _open(
        self, folder: Path, fingerprint: str | None, dimensions: int | None
    ) -> AsyncIterator[StorePair]:
        documents = EdgeDocumentStore(folder, fingerprint=fingerprint)
        vectors = EdgeVectorStore(folder, dimensions=dimensions, hnsw=self._hnsw)
        try:
            await documents.open()
            await vectors.open()
            yield StorePair(documents, vectors)
        finally:
            await vectors.close()
            await documents.close()


async def _filled_with(folder: Path) -> str | None:
    if not (folder / "documents").exists():
        return None
    documents = EdgeDocumentStore(folder, fingerprint=None)
    try:
        await documents.open()
        return await documents.filled_with()
    finally:
        await documents.close()


async def server_prefix(client: AsyncQdrantClient, prefix: str) -> str:
    """Which collections are in use: an alias says so after the first re-index."""
    aliases = await asked(client.get_aliases())
    for alias in aliases.aliases:
        if alias.alias_name == _alias(prefix):
            return alias.collection_name.removesuffix("_documents")
    return prefix


def _alias(prefix: str) -> str:
    return f"{prefix}_in_use"


class ServerGenerations:
    """Implements ``Generations``: the new store grows in collections named by its fingerprint,
    and an alias moves to them when they are whole."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        *,
        prefix: str,
        fingerprint: str,
        dimensions: int,
        hnsw: HnswSettings,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._fingerprint = fingerprint
        self._dimensions = dimensions
        self._hnsw = hnsw
        mark = hashlib.sha256(fingerprint.encode()).hexdigest()[:8]
        self._upcoming = f"{prefix}_{mark}"

    async def outdated(self) -> bool:
        name = await server_prefix(self._client, self._prefix)
        if not await asked(self._client.collection_exists(f"{name}_documents")):
            return False
        documents = ServerDocumentStore(self._client, prefix=name, fingerprint=None)
        return _differs(await documents.filled_with(), self._fingerprint, name)

    @asynccontextmanager
    async def current(self) -> AsyncIterator[StorePair]:
        yield await self._open(await server_prefix(self._client, self._prefix), None)

    @asynccontextmanager
    async def upcoming(self) -> AsyncIterator[StorePair]:
        yield await self._open(self._upcoming, self._fingerprint)

    async def switch(self) -> None:
        before = await server_prefix(self._client, self._prefix)
        alias = _alias(self._prefix)
        create = models.CreateAlias(collection_name=f"{self._upcoming}_documents", alias_name=alias)
        steps: list[models.AliasOperations] = [models.CreateAliasOperation(create_alias=create)]
        if before != self._prefix:
            steps.insert(
                0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            )
        await asked(self._client.update_collection_aliases(steps))
        await self._drop_others()

    async def _drop_others(self) -> None:
        ours = re.compile(rf"{re.escape(self._prefix)}(_[0-9a-f]{{8}})?_(documents|chunks)")
        listed = await asked(self._client.get_collections())
        for found in listed.collections:
            name = found.name
            if ours.fullmatch(name) and not name.startswith(f"{self._upcoming}_"):
                await asked(self._client.delete_collection(name))

    async def _open(self, prefix: str, fingerprint: str | None) -> StorePair:
        documents = ServerDocumentStore(self._client, prefix=prefix, fingerprint=fingerprint)
        vectors = ServerVectorStore(
            self._client, prefix=prefix, dimensions=self._dimensions, hnsw=self._hnsw
        )
        await documents.open()
        await vectors.open()
        return StorePair(documents, vectors)

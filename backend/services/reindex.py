"""Index every document again under another fingerprint, beside the store that is there.

The old store is only read until the new one is whole; then one atomic step puts the new one in
its place. So a crash, at any moment, leaves either the old store, which still opens with the
old settings, or the new one; the next re-index goes on with what was already built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from backend.core.errors import DependencyError, RagError
from backend.core.ports import DocumentStore, OriginalStore, Parser, VectorStore
from backend.core.types import Chunk, DocumentRecord, DocumentVersion
from backend.services.indexing import Indexer

log = logging.getLogger(__name__)

_KEPT = "-kept"
_KEPT_WARNING = (
    "The original could not be read again ({reason}); the chunks of before were embedded anew."
)


@dataclass(frozen=True, slots=True)
class StorePair:
    documents: DocumentStore
    vectors: VectorStore


class Generations(Protocol):
    """The store that is there and the one that will take its place."""

    async def outdated(self) -> bool:
        """Whether there is a store and it was filled with another fingerprint."""
        ...

    def current(self) -> AbstractAsyncContextManager[StorePair]:
        """The store that is there, to read from."""
        ...

    def upcoming(self) -> AbstractAsyncContextManager[StorePair]:
        """The new store; what an earlier try for the same fingerprint left is still in it."""
        ...

    async def switch(self) -> None:
        """Put the upcoming store in the place of the current one, atomically."""
        ...


@dataclass(frozen=True, slots=True)
class Reindexed:
    """``kept`` are the sources whose original could not be read again."""

    documents: int
    kept: tuple[str, ...]


class KeepingOriginals:
    """Implements ``OriginalStore``: the old store may still need what the new one drops."""

    def __init__(self, inner: OriginalStore) -> None:
        self._inner = inner

    async def adopt(self, temporary: Path, sha256: str) -> None:
        await self._inner.adopt(temporary, sha256)

    def path(self, sha256: str) -> Path:
        return self._inner.path(sha256)

    async def remove(self, sha256: str) -> None:
        """Kept."""


async def reindex(
    generations: Generations,
    *,
    originals: OriginalStore,
    parser: Parser,
    indexer: Callable[[StorePair, OriginalStore], Indexer],
) -> Reindexed | None:
    """Bring the store to the current fingerprint, before anything is served; None where it has
    it already.

    Args:
        indexer: makes the indexer with the new embedder and chunker for a pair of stores.

    Raises:
        DependencyError: the embedder or a store failed; run it again to go on.
    """
    if not await generations.outdated():
        return None
    kept = KeepingOriginals(originals)
    async with generations.current() as old, generations.upcoming() as new:
        done = await Reindexer(
            old=old, new=new, originals=kept, parser=parser, indexer=indexer(new, kept)
        ).run()
    await generations.switch()
    log.info("re-indexed", extra={"documents": done.documents, "kept": len(done.kept)})
    return done


class Reindexer:
    def __init__(
        self,
        *,
        old: StorePair,
        new: StorePair,
        originals: OriginalStore,
        parser: Parser,
        indexer: Indexer,
    ) -> None:
        self._old = old
        self._new = new
        self._originals = originals
        self._parser = parser
        self._indexer = indexer

    async def run(self) -> Reindexed:
        """Passes over all documents until one finds nothing to do: another backend on the same
        server may write to the old store meanwhile."""
        while await self._pass():
            pass
        records = await self._new.documents.records()
        kept = [r.source for r in records if r.live and r.live.version.endswith(_KEPT)]
        return Reindexed(len(records), tuple(kept))

    async def _pass(self) -> bool:
        wanted = await self._old.documents.records()
        there = {record.doc_id: record for record in await self._new.documents.records()}
        changed = False
        for number, record in enumerate(wanted, start=1):
            if await self._bring(record, there.pop(record.doc_id, None)):
                changed = True
                log.info(
                    "re-indexed a document",
                    extra={"doc_id": record.doc_id, "number": number, "of": len(wanted)},
                )
        for gone in there.values():
            await self._new.vectors.remove(gone.doc_id)
            await self._new.documents.delete(gone.doc_id)
        return changed or bool(there)

    async def _bring(self, record: DocumentRecord, there: DocumentRecord | None) -> bool:
        """Make the new store's document like the old one's; whether that took anything.

        A begun ingest or deletion is carried over as it is: the next start finishes it.
        """
        goal = replace(record, live=None, pending=self._renamed(record.pending))
        if record.deleting:
            goal = record
        elif record.live is not None:
            goal = replace(goal, live=await self._live(record, record.live, there))
        if goal == there:
            return False
        await self._new.documents.put(goal)
        return True

    async def _live(
        self, record: DocumentRecord, live: DocumentVersion, there: DocumentRecord | None
    ) -> DocumentVersion | None:
        name = self._indexer.version_id(live.content_sha256, live.doc_type)
        done = there.live if there is not None else None
        if done is not None and done.version in (name, name + _KEPT):
            return done
        version, chunks = await self._read(record, replace(live, version=name))
        begun = replace(record, live=None, pending=version)
        await self._new.documents.put(begun)
        return (await self._indexer.finish(begun, chunks)).live

    async def _read(
        self, record: DocumentRecord, version: DocumentVersion
    ) -> tuple[DocumentVersion, list[Chunk]]:
        try:
            path = self._originals.path(version.content_sha256)
            parsed = await self._parser.parse(path, record.source)
            chunks = await self._indexer.chunk(parsed)
            return await self._indexer.describe(version, parsed, chunks), chunks
        except DependencyError:
            raise
        except (RagError, OSError) as error:
            log.warning(
                "an original could not be read again; its chunks of before are used",
                extra={"doc_id": record.doc_id, "reason": str(error)},
            )
            chunks = [stored.chunk for stored in await self._old.vectors.chunks(record.doc_id)]
            warning = _KEPT_WARNING.format(reason=error)
            # Another name: the same file sent again is then read again, not taken for unchanged.
            kept = replace(
                version,
                version=version.version + _KEPT,
                chunks=len(chunks),
                warnings=(*version.warnings, warning),
            )
            return kept, chunks

    def _renamed(self, version: DocumentVersion | None) -> DocumentVersion | None:
        if version is None:
            return None
        name = self._indexer.version_id(version.content_sha256, version.doc_type)
        return replace(version, version=name)

"""Indexing everything again under another fingerprint, on both stores."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from backend.adapters.originals import FolderOriginals
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.adapters.stores.edge import EdgeDocumentStore
from backend.adapters.stores.generations import (
    EdgeGenerations,
    ServerGenerations,
    recover_edge,
    server_prefix,
)
from backend.adapters.stores.schema import HnswSettings
from backend.adapters.stores.server import ServerDocumentStore
from backend.core.errors import ConfigurationError, DependencyError, UnreadableDocument
from backend.core.identity import collection_fingerprint, document_id
from backend.core.ports import OriginalStore
from backend.core.types import DocumentRecord, ParsedDocument, SearchRequest
from backend.services.indexing import ChunkPolicy, Indexer
from backend.services.ingest import Ingestor, Upload
from backend.services.reindex import Generations, StorePair, reindex
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.parser import PlainParser

BEFORE, AFTER = 16, 32
SIZE, OVERLAP = 64, 8
TEXTS = {"a.md": "Срок сдачи 15 января.", "b.md": "The kitchen. " * 200, "c.md": "Третий."}


class FailingEmbedder(HashingEmbedder):
    """Goes down after some texts."""

    def __init__(self, dimensions: int, texts: int) -> None:
        super().__init__(dimensions)
        self._left = texts

    async def embed_passages(self, texts: list[str]) -> list[object]:  # type: ignore[override]
        self._left -= len(texts)
        if self._left < 0:
            raise DependencyError("down", dependency="vllm")
        return await super().embed_passages(texts)  # type: ignore[return-value]


class LosingParser(PlainParser):
    async def parse(self, path: Path, name: str) -> ParsedDocument:
        if name == "b.md":
            raise UnreadableDocument("It is encrypted.", reason="encrypted")
        return await super().parse(path, name)


def fingerprint(embedder: HashingEmbedder) -> str:
    return collection_fingerprint(embedder, SIZE, OVERLAP)


@dataclass
class Place:
    """A store of either kind with the originals beside it."""

    folder: Path
    client: AsyncQdrantClient | None

    def generations(self, embedder: HashingEmbedder) -> Generations:
        size, hnsw = embedder.dimensions, HnswSettings()
        made_by = fingerprint(embedder)
        if self.client is None:
            return EdgeGenerations(
                self.folder / "qdrant", fingerprint=made_by, dimensions=size, hnsw=hnsw
            )
        return ServerGenerations(
            self.client, prefix="p", fingerprint=made_by, dimensions=size, hnsw=hnsw
        )

    @property
    def originals(self) -> FolderOriginals:
        return FolderOriginals(self.folder / "originals")

    async def open_as(self, embedder: HashingEmbedder) -> list[DocumentRecord]:
        """The records, as a start without a re-index would see them."""
        if self.client is None:
            recover_edge(self.folder / "qdrant")
            edge = EdgeDocumentStore(self.folder / "qdrant", fingerprint=fingerprint(embedder))
            try:
                await edge.open()
                return await edge.records()
            finally:
                await edge.close()
        prefix = await server_prefix(self.client, "p")
        store = ServerDocumentStore(self.client, prefix=prefix, fingerprint=fingerprint(embedder))
        await store.open()
        return await store.records()


def indexer_for(embedder: HashingEmbedder) -> Callable[[StorePair, OriginalStore], Indexer]:
    return lambda pair, originals: Indexer(
        documents=pair.documents,
        vectors=pair.vectors,
        originals=originals,
        embedder=embedder,
        sparse=BilingualBm25(),
        chunks=ChunkPolicy(SIZE, OVERLAP),
    )


async def run(
    place: Place, embedder: HashingEmbedder, parser: PlainParser | None = None
) -> tuple[str, ...] | None:
    done = await reindex(
        place.generations(embedder),
        originals=place.originals,
        parser=parser or PlainParser(),
        indexer=indexer_for(embedder),
    )
    return None if done is None else done.kept


async def fill(pair: StorePair, place: Place, embedder: HashingEmbedder) -> None:
    ingestor = Ingestor(
        documents=pair.documents,
        originals=place.originals,
        parser=PlainParser(),
        indexer=indexer_for(embedder)(pair, place.originals),
    )
    for source, text in TEXTS.items():
        path = place.folder / "upload"
        path.write_text(text, encoding="utf-8")
        content = text.encode()
        upload = Upload(path, hashlib.sha256(content).hexdigest(), len(content))
        await ingestor.ingest(upload, space_id="s", source=source, doc_type=None)


@pytest.fixture(params=["edge", "memory"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    client = AsyncQdrantClient(":memory:") if request.param == "memory" else None
    place = Place(tmp_path, client)
    before = HashingEmbedder(BEFORE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        generations = place.generations(before)
        async with generations.upcoming() as pair:
            await fill(pair, place, before)
        if client is None:
            (tmp_path / "qdrant.next").rename(tmp_path / "qdrant")
        else:
            await generations.switch()
        yield place
    if client is not None:
        await client.close()


async def found(place: Place, embedder: HashingEmbedder, query: str) -> list[str]:
    async with place.generations(embedder).current() as pair:
        request = SearchRequest(
            "s", await embedder.embed_query(query), BilingualBm25().query(query), 3
        )
        hits = await pair.vectors.search(request)
    return [hit.stored.source for hit in hits.dense]


async def test_after_a_reindex_all_documents_are_found_with_the_new_vectors(place: Place) -> None:
    after = HashingEmbedder(AFTER)

    assert await run(place, after) == ()

    records = await place.open_as(after)
    assert [record.source for record in records] == list(TEXTS)
    assert all(record.live and not record.pending for record in records)
    assert (await found(place, after, "срок сдачи"))[0] == "a.md"


async def test_a_store_of_this_fingerprint_is_left_alone(place: Place) -> None:
    before = HashingEmbedder(BEFORE)

    assert await run(place, before) is None
    assert before.embedded == []


async def test_the_new_versions_are_those_an_ingest_would_make(place: Place) -> None:
    after = HashingEmbedder(AFTER)
    await run(place, after)

    (record, *_) = await place.open_as(after)
    indexer = indexer_for(after)(StorePair(None, None), place.originals)  # type: ignore[arg-type]

    assert record.live is not None
    assert record.live.version == indexer.version_id(
        record.live.content_sha256, record.live.doc_type
    )


async def test_a_reindex_that_was_cut_leaves_the_old_store_whole_and_goes_on(place: Place) -> None:
    with pytest.raises(DependencyError):
        await run(place, FailingEmbedder(AFTER, texts=3))

    with pytest.raises(ConfigurationError, match="--reindex"):
        await place.open_as(HashingEmbedder(AFTER))
    old = await place.open_as(HashingEmbedder(BEFORE))
    again = HashingEmbedder(AFTER)
    await run(place, again)

    assert all(record.live and not record.pending for record in old)
    assert "Срок сдачи 15 января." not in again.embedded  # was done before the cut
    assert len(await place.open_as(HashingEmbedder(AFTER))) == len(TEXTS)


async def test_what_was_begun_for_a_third_fingerprint_is_not_mixed_in(place: Place) -> None:
    with pytest.raises(DependencyError):
        await run(place, FailingEmbedder(AFTER, texts=3))

    await run(place, HashingEmbedder(64))

    assert len(await place.open_as(HashingEmbedder(64))) == len(TEXTS)


async def test_there_and_back_again(place: Place) -> None:
    for dimensions in (AFTER, BEFORE, AFTER):
        await run(place, HashingEmbedder(dimensions))

    assert len(await place.open_as(HashingEmbedder(AFTER))) == len(TEXTS)
    if place.client is not None:
        left = (await place.client.get_collections()).collections
        assert len(left) == 2


async def test_a_document_whose_original_cannot_be_read_keeps_its_chunks(place: Place) -> None:
    after = HashingEmbedder(AFTER)

    assert await run(place, after, LosingParser()) == ("b.md",)

    record = (await place.open_as(after))[1]
    assert record.live is not None
    assert any("encrypted" in warning for warning in record.live.warnings)
    assert "b.md" in await found(place, after, "kitchen")


async def test_an_unfinished_ingest_and_a_begun_deletion_are_carried_over(place: Place) -> None:
    async with place.generations(HashingEmbedder(BEFORE)).current() as pair:
        first, second, _ = await pair.documents.records()
        assert first.live is not None
        await pair.documents.put(replace(first, pending=replace(first.live, version="half")))
        await pair.documents.put(replace(second, deleting=True))
        await pair.documents.put(
            DocumentRecord(document_id("s", "d.md"), "s", "d.md", None, first.live)
        )
    after = HashingEmbedder(AFTER)

    await run(place, after)

    a, b, _, d = await place.open_as(after)
    assert a.live is not None
    assert a.pending is not None
    assert a.pending.version != "half"
    assert b.deleting
    assert d.live is None
    assert d.pending is not None


@pytest.mark.parametrize("renamed", [1, 2])
async def test_a_crash_between_the_two_renames_is_made_good(tmp_path: Path, renamed: int) -> None:
    folder = tmp_path / "qdrant"
    for name in ("qdrant", "qdrant.next"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    folder.rename(tmp_path / "qdrant.old")
    if renamed == 2:
        (tmp_path / "qdrant.next").rename(folder)

    recover_edge(folder)

    assert (folder / "qdrant.next").exists()
    assert not (tmp_path / "qdrant.old").exists()

"""What every VectorStore and DocumentStore must do: on Edge, on the client's in-memory server,
and on a real server when QDRANT_URL is set."""

from __future__ import annotations

import asyncio
import os
import re
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient

from backend.adapters.stores.edge import (
    EdgeDocumentStore,
    EdgeVectorStore,
    FolderLock,
)
from backend.adapters.stores.schema import META_ID, HnswSettings
from backend.adapters.stores.server import ServerDocumentStore, ServerVectorStore
from backend.core.errors import ConfigurationError, StoreLocked
from backend.core.ports import DocumentStore, VectorStore
from backend.core.types import DocType, SearchRequest, SparseVector
from tests.factories import DIMENSIONS, embedded, record, version

FINGERPRINT = "model-a/4"


@dataclass
class Stores:
    vectors: VectorStore
    documents: DocumentStore


async def _edge(folder: Path) -> tuple[EdgeVectorStore, EdgeDocumentStore]:
    vectors = EdgeVectorStore(folder, dimensions=DIMENSIONS, hnsw=HnswSettings())
    documents = EdgeDocumentStore(folder, fingerprint=FINGERPRINT)
    await vectors.open()
    await documents.open()
    return vectors, documents


async def _server(client: AsyncQdrantClient, prefix: str) -> Stores:
    vectors = ServerVectorStore(client, prefix=prefix, dimensions=DIMENSIONS, hnsw=HnswSettings())
    documents = ServerDocumentStore(client, prefix=prefix, fingerprint=FINGERPRINT)
    await vectors.open()
    await documents.open()
    return Stores(vectors, documents)


@pytest.fixture(
    params=["edge", "memory", pytest.param("server", marks=pytest.mark.server)],
)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "edge":
        vectors, documents = await _edge(tmp_path)
        yield Stores(vectors, documents)
        await vectors.close()
        await documents.close()
        return
    if request.param == "server" and "QDRANT_URL" not in os.environ:
        pytest.skip("no Qdrant server: set QDRANT_URL")
    address = os.environ["QDRANT_URL"] if request.param == "server" else None
    client = AsyncQdrantClient(url=address) if address else AsyncQdrantClient(":memory:")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        prefix = f"test_{uuid4().hex}"
        yield await _server(client, prefix)
    for kind in ("chunks", "documents"):
        await client.delete_collection(f"{prefix}_{kind}")
    await client.close()


def near(axis: int = 0, term: int = 1, space_id: str = "s", **changes: object) -> SearchRequest:
    dense = [0.1] * DIMENSIONS
    dense[axis] = 1.0
    return SearchRequest(space_id, dense, SparseVector((term,), (1.0,)), 10, **changes)  # type: ignore[arg-type]


async def put_in(stores: Stores, doc_id: str = "d1", name: str = "v1", **chunk: int) -> None:
    document = record(doc_id, pending=version(name))
    await stores.vectors.stage(document, version(name), [embedded(**chunk)])
    await stores.vectors.commit(document, name)


async def test_a_staged_chunk_is_found_by_no_search(stores: Stores) -> None:
    await stores.vectors.stage(record(), version(), [embedded()])

    hits = await stores.vectors.search(near())

    assert hits.dense == hits.sparse == ()
    assert await stores.vectors.chunks("d1") == []


async def test_a_committed_chunk_is_found_in_both_lists_as_it_was_written(stores: Stores) -> None:
    await put_in(stores, axis=2, term=7)

    hits = await stores.vectors.search(near(axis=2, term=7))

    assert [hit.stored.chunk for hit in hits.dense] == [embedded().chunk]
    assert [hit.stored.chunk for hit in hits.sparse] == [embedded().chunk]
    assert hits.dense[0].stored.source == "folder/d1.md"
    assert hits.dense[0].stored.doc_type is DocType.PROTOCOLS


async def test_the_bm25_list_holds_only_chunks_with_a_term_of_the_query(stores: Stores) -> None:
    await put_in(stores, "d1", term=1)
    await put_in(stores, "d2", term=2)

    hits = await stores.vectors.search(near(term=2))

    assert [hit.stored.doc_id for hit in hits.sparse] == ["d2"]
    assert len(hits.dense) == 2


async def test_a_query_without_terms_still_has_a_dense_list(stores: Stores) -> None:
    await put_in(stores)

    hits = await stores.vectors.search(
        SearchRequest("s", [1.0, 0.0, 0.0, 0.0], SparseVector((), ()), 10)
    )

    assert len(hits.dense) == 1
    assert hits.sparse == ()


async def test_a_space_sees_only_its_own_documents(stores: Stores) -> None:
    await put_in(stores)

    assert (await stores.vectors.search(near(space_id="other"))).dense == ()


async def test_a_search_can_be_limited_to_document_types(stores: Stores) -> None:
    await put_in(stores)

    kept = await stores.vectors.search(near(doc_types=(DocType.PROTOCOLS, DocType.EMAIL)))
    dropped = await stores.vectors.search(near(doc_types=(DocType.EMAIL,)))

    assert len(kept.dense) == len(kept.sparse) == 1
    assert dropped.dense == dropped.sparse == ()


async def test_vectors_come_back_when_asked_for(stores: Stores) -> None:
    await put_in(stores, axis=1)

    hits = await stores.vectors.search(near(axis=1, with_vectors=True))

    assert hits.dense[0].dense is not None
    assert list(hits.dense[0].dense) == pytest.approx([0.0, 1.0, 0.0, 0.0])


async def test_committing_a_new_version_removes_the_old_one(stores: Stores) -> None:
    await put_in(stores, name="v1", index=0)
    await put_in(stores, name="v2", index=1)

    assert [stored.chunk.index for stored in await stores.vectors.chunks("d1")] == [1]
    assert await stores.vectors.staged("d1", "v1") == set()


async def test_staging_and_committing_twice_changes_nothing(stores: Stores) -> None:
    await put_in(stores)
    await put_in(stores)

    assert len(await stores.vectors.chunks("d1")) == 1


async def test_staged_names_the_chunks_that_are_already_written(stores: Stores) -> None:
    await stores.vectors.stage(record(), version(), [embedded(0), embedded(3)])

    assert await stores.vectors.staged("d1", "v1") == {0, 3}
    assert await stores.vectors.staged("d1", "v2") == set()


async def test_chunks_come_in_order_of_index(stores: Stores) -> None:
    document = record()
    await stores.vectors.stage(document, version(), [embedded(i) for i in (2, 0, 1)])
    await stores.vectors.commit(document, "v1")

    assert [stored.chunk.index for stored in await stores.vectors.chunks("d1")] == [0, 1, 2]


async def test_removing_a_document_removes_staged_and_committed_chunks(stores: Stores) -> None:
    await put_in(stores, name="v1")
    await stores.vectors.stage(record(), version("v2"), [embedded()])

    await stores.vectors.remove("d1")

    assert await stores.vectors.staged("d1", "v1") == set()
    assert await stores.vectors.staged("d1", "v2") == set()


async def test_a_half_written_version_can_be_removed_alone(stores: Stores) -> None:
    await put_in(stores, name="v1")
    await stores.vectors.stage(record(), version("v2"), [embedded()])

    await stores.vectors.remove("d1", keep_version="v1")

    assert await stores.vectors.staged("d1", "v2") == set()
    assert len(await stores.vectors.chunks("d1")) == 1


async def test_a_record_comes_back_as_it_was_put(stores: Stores) -> None:
    document = record(live=version("v0", pages=3, title="Протокол"), pending=version("v1"))

    await stores.documents.put(document)

    assert await stores.documents.get("d1") == document
    assert await stores.documents.get("unknown") is None


async def test_records_are_listed_by_space_and_source(stores: Stores) -> None:
    for doc_id, space_id in (("b", "s"), ("a", "s"), ("c", "t")):
        await stores.documents.put(record(doc_id, space_id))

    assert [found.doc_id for found in await stores.documents.records("s")] == ["a", "b"]
    assert len(await stores.documents.records()) == 3


async def test_unfinished_records_are_those_pending_or_being_deleted(stores: Stores) -> None:
    await stores.documents.put(record("a", live=version(), pending=None))
    await stores.documents.put(record("b"))
    await stores.documents.put(record("c", live=version(), pending=None, deleting=True))

    assert [found.doc_id for found in await stores.documents.unfinished()] == ["b", "c"]


async def test_a_deleted_record_is_gone(stores: Stores) -> None:
    await stores.documents.put(record())

    await stores.documents.delete("d1")

    assert await stores.documents.get("d1") is None


async def test_content_is_in_use_while_a_live_or_pending_version_has_it(stores: Stores) -> None:
    await stores.documents.put(record(live=version("old"), pending=version("new")))

    assert await stores.documents.uses_content("sha-of-old")
    assert await stores.documents.uses_content("sha-of-new")
    assert not await stores.documents.uses_content("sha-of-other")


async def test_a_space_version_changes_only_for_its_own_space(stores: Stores) -> None:
    before = await stores.documents.space_version("s")
    other = await stores.documents.space_version("t")

    await stores.documents.bump_space("s")

    assert await stores.documents.space_version("s") != before
    assert await stores.documents.space_version("t") == other


# --- embedded only -----------------------------------------------------------------------------


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    vectors, documents = await _edge(tmp_path)
    await put_in(Stores(vectors, documents))
    await documents.put(record())
    await vectors.close()
    await documents.close()

    vectors, documents = await _edge(tmp_path)

    assert len(await vectors.chunks("d1")) == 1
    assert await documents.get("d1") == record()
    await vectors.close()
    await documents.close()


async def _reopened(folder: Path, before: str, now: str) -> str:
    """Open a store filled with one fingerprint with another; the one it has afterwards."""
    for fingerprint in (before, now):
        documents = EdgeDocumentStore(folder, fingerprint=fingerprint)
        try:
            await documents.open()
            (meta,) = await documents._payloads(META_ID)
        finally:
            await documents.close()
    return str(meta["fingerprint"])


@pytest.mark.parametrize(
    ("now", "differs"),
    [
        ("model-b/8+chunks-v1/256/32", r"embedding model.*EMBED_"),
        ("model-a/4+chunks-v1/512/32", r"chunks.*CHUNK_SIZE_TOKENS"),
        ("model-b/8+chunks-v1/512/32", r"EMBED_.* and .*CHUNK_SIZE_TOKENS"),
    ],
)
async def test_a_store_of_another_fingerprint_is_refused_with_both_and_what_to_do(
    tmp_path: Path, now: str, differs: str
) -> None:
    before = "model-a/4+chunks-v1/256/32"
    names = f"{re.escape(before)}.*{re.escape(now)}.*{differs}.*--reindex"

    with pytest.raises(ConfigurationError, match=names):
        await _reopened(tmp_path, before, now)

    assert await _reopened(tmp_path, before, before) == before


async def test_a_store_that_did_not_remember_its_chunker_is_upgraded(tmp_path: Path) -> None:
    now = "model-a/4+chunks-v1/256/32"

    assert await _reopened(tmp_path, "model-a/4", now) == now
    with pytest.raises(ConfigurationError, match="CHUNK_SIZE_TOKENS"):
        await _reopened(tmp_path, now, "model-a/4+chunks-v1/512/32")


async def test_a_store_that_did_not_remember_its_chunker_is_refused_to_another_model(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationError, match=r"'model-a/4'.*'model-b/4\+chunks"):
        await _reopened(tmp_path, "model-a/4", "model-b/4+chunks-v1/256/32")


async def test_a_server_collection_is_refused_and_upgraded_alike() -> None:
    client = AsyncQdrantClient(":memory:")

    async def reopen(fingerprint: str) -> None:
        await ServerDocumentStore(client, prefix="p", fingerprint=fingerprint).open()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        await reopen("model-a/4")
        await reopen("model-a/4+chunks-v1/256/32")
        with pytest.raises(ConfigurationError, match=r"CHUNK_SIZE_TOKENS.*--reindex"):
            await reopen("model-a/4+chunks-v1/512/32")
    await client.close()


async def test_searches_go_on_while_the_index_is_optimized(tmp_path: Path) -> None:
    vectors, documents = await _edge(tmp_path)
    await put_in(Stores(vectors, documents))

    vectors._shard._start_optimize()
    found = await asyncio.gather(*(vectors.search(near()) for _ in range(20)))

    assert all(len(hits.dense) == 1 for hits in found)
    await vectors.close()
    await documents.close()


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()

    with pytest.raises(StoreLocked, match=f"pid {os.getpid()}.*DATA_DIR"):
        second.acquire()

    first.release()
    second.acquire()
    second.release()

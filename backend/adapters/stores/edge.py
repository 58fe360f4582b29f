"""Chunks and document records on Qdrant Edge: the embedded default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import portalocker
import qdrant_edge as edge

from backend.adapters.stores.edge_shard import Condition, EdgeShard, match, payloads
from backend.adapters.stores.schema import (
    BM25,
    DENSE,
    KEYWORD_FIELDS,
    META_ID,
    PAGE_POINTS,
    RECORD_FIELDS,
    HnswSettings,
    check_fingerprint,
    chunk_payload,
    hits,
    meta_payload,
    point_id,
    record_payload,
    stored_chunk,
    stored_record,
)
from backend.core.errors import StoreLocked
from backend.core.types import (
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    SearchHits,
    SearchRequest,
    SparseVector,
    StoredChunk,
)


class FolderLock:
    """One process at a time owns a data folder; the system releases the lock when it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = portalocker.Lock(
            folder / "store.lock", "a+", timeout=0, flags=portalocker.LOCK_EX | portalocker.LOCK_NB
        )

    def acquire(self) -> None:
        """
        Raises:
            StoreLocked: another process has the folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = self._lock.acquire()
        except portalocker.exceptions.LockException as error:
            owner = (self._folder / "store.lock").read_text(encoding="utf-8").strip() or "unknown"
            raise StoreLocked(
                f"The data folder {self._folder} is in use by another process (pid {owner}). "
                "Stop that one, give this one another DATA_DIR, or set QDRANT_URL to share a "
                "Qdrant server."
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()

    def release(self) -> None:
        self._lock.release()


class EdgeVectorStore:
    def __init__(self, folder: Path, *, dimensions: int | None, hnsw: HnswSettings) -> None:
        """``dimensions`` None opens what is there, whatever its size, to read from."""
        config = None if dimensions is None else _chunks_config(dimensions, hnsw)
        self._shard = EdgeShard(folder / "chunks", config, KEYWORD_FIELDS)

    async def open(self) -> None:
        await self._shard.open()

    async def close(self) -> None:
        await self._shard.close()

    async def stage(
        self, record: DocumentRecord, version: DocumentVersion, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        points = [
            edge.Point(
                point_id(record.doc_id, version.version, item.chunk.index),
                {DENSE: list(item.dense), BM25: _sparse(item.sparse)},
                chunk_payload(record, version, item.chunk),
            )
            for item in chunks
        ]
        await self._shard.update(edge.UpdateOperation.upsert_points(points), points=len(points))

    async def staged(self, doc_id: str, version: str) -> set[int]:
        wanted = edge.Filter(must=[match("doc_id", doc_id), match("version", version)])
        return {payload["index"] for payload in await self._scroll(wanted, ["index"])}

    async def commit(self, record: DocumentRecord, version: str) -> None:
        this = edge.Filter(must=[match("doc_id", record.doc_id), match("version", version)])
        await self._shard.update(
            edge.UpdateOperation.set_payload_by_filter(this, {"space_id": record.space_id}),
            _remove_others(record.doc_id, version),
        )
        await self._shard.flush()

    async def remove(self, doc_id: str, *, keep_version: str | None = None) -> None:
        await self._shard.update(_remove_others(doc_id, keep_version))

    async def search(self, request: SearchRequest) -> SearchHits:
        conditions: list[Condition] = [match("space_id", request.space_id)]
        if request.doc_types:
            kinds = edge.MatchAny([kind.value for kind in request.doc_types])
            conditions.append(edge.FieldCondition("doc_type", match=kinds))
        wanted = edge.Filter(must=conditions)
        vectors: list[str] | bool = [DENSE] if request.with_vectors else False
        queries = [edge.Query.Nearest(list(request.dense), using=DENSE)]
        if request.sparse.indices:
            queries.append(edge.Query.Nearest(_sparse(request.sparse), using=BM25))
        batch = edge.QueryBatchRequest(
            [
                edge.QueryRequest(
                    query=query,
                    limit=request.limit,
                    filter=wanted,
                    with_payload=True,
                    with_vector=vectors,
                )
                for query in queries
            ]
        )

        def run(shard: edge.EdgeShard) -> SearchHits:
            found = shard.query_batch(batch)
            return SearchHits(hits(found[0]), hits(found[1]) if len(found) > 1 else ())

        return await self._shard.read(run)

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        visible = edge.Filter(
            must=[match("doc_id", doc_id)], must_not=[edge.IsEmptyCondition("space_id")]
        )
        found = await self._scroll(visible, True)
        return sorted(map(stored_chunk, found), key=lambda stored: stored.chunk.index)

    async def _scroll(self, wanted: edge.Filter, fields: list[str] | bool) -> list[dict[str, Any]]:
        return await self._shard.read(lambda shard: all_payloads(shard, wanted, fields))


class EdgeDocumentStore:
    """Records as points without vectors."""

    def __init__(self, folder: Path, *, fingerprint: str | None) -> None:
        """``fingerprint`` None opens a store whoever filled it, to read from."""
        self._folder = folder
        self._fingerprint = fingerprint
        self._shard = EdgeShard(folder / "documents", without_vectors(), RECORD_FIELDS)
        # One process owns the folder, so the space versions need not outlive it.
        self._space_versions: dict[str, str] = {}

    async def open(self) -> None:
        """
        Raises:
            ConfigurationError: the folder was filled by another embedding model or chunker.
        """
        await self._shard.open()
        stored = await self._payloads(META_ID)
        known = stored[0] if stored else None
        if check_fingerprint(known, self._fingerprint, str(self._folder)):
            await self._upsert(META_ID, meta_payload(str(self._fingerprint)))

    async def close(self) -> None:
        await self._shard.close()

    async def filled_with(self) -> str | None:
        found = await self._payloads(META_ID)
        return str(found[0]["fingerprint"]) if found else None

    async def put(self, record: DocumentRecord) -> None:
        await self._upsert(point_id(record.doc_id), record_payload(record))

    async def get(self, doc_id: str) -> DocumentRecord | None:
        found = await self._payloads(point_id(doc_id))
        return stored_record(found[0]) if found else None

    async def delete(self, doc_id: str) -> None:
        await self._shard.update(edge.UpdateOperation.delete_points([point_id(doc_id)]))
        await self._shard.flush()

    async def records(self, space_id: str | None = None) -> list[DocumentRecord]:
        conditions: list[Condition] = [match("kind", "document")]
        if space_id is not None:
            conditions.append(match("space_id", space_id))
        return await self._records(edge.Filter(must=conditions))

    async def unfinished(self) -> list[DocumentRecord]:
        return await self._records(
            edge.Filter(must=[match("kind", "document"), match("state", "unfinished")])
        )

    async def uses_content(self, content_sha256: str) -> bool:
        wanted = edge.Filter(must=[match("contents", content_sha256)])
        found = await self._shard.read(
            lambda shard: shard.count(edge.CountRequest(filter=wanted, exact=True))
        )
        return found > 0

    async def space_version(self, space_id: str) -> str:
        return self._space_versions.setdefault(space_id, str(uuid4()))

    async def bump_space(self, space_id: str) -> None:
        self._space_versions[space_id] = str(uuid4())

    async def _payloads(self, identity: str) -> list[dict[str, Any]]:
        return payloads(
            await self._shard.read(lambda shard: shard.retrieve([identity], True, False))
        )

    async def _records(self, wanted: edge.Filter) -> list[DocumentRecord]:
        found = await self._shard.read(lambda shard: all_payloads(shard, wanted, True))
        return sorted(map(stored_record, found), key=lambda record: record.source)

    async def _upsert(self, identity: str, payload: dict[str, Any]) -> None:
        point = edge.Point(identity, {}, payload)
        await self._shard.update(edge.UpdateOperation.upsert_points([point]))
        await self._shard.flush()


def without_vectors() -> edge.EdgeConfig:
    """A shard must declare a vector, so this declares one that no point has."""
    return edge.EdgeConfig(sparse_vectors={"unused": edge.EdgeSparseVectorParams()})


def _chunks_config(dimensions: int, hnsw: HnswSettings) -> edge.EdgeConfig:
    graph = edge.HnswIndexConfig(
        m=hnsw.m,
        ef_construct=hnsw.ef_construct,
        full_scan_threshold=hnsw.full_scan_threshold_kb,
        max_indexing_threads=hnsw.indexing_threads,
    )
    return edge.EdgeConfig(
        vectors={DENSE: edge.EdgeVectorParams(dimensions, edge.Distance.Cosine)},
        sparse_vectors={BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=graph,
    )


def _remove_others(doc_id: str, keep_version: str | None) -> edge.UpdateOperation:
    others: list[Condition] | None = (
        [match("version", keep_version)] if keep_version is not None else None
    )
    wanted = edge.Filter(must=[match("doc_id", doc_id)], must_not=others)
    return edge.UpdateOperation.delete_points_by_filter(wanted)


def _sparse(vector: SparseVector) -> edge.SparseVector:
    return edge.SparseVector(list(vector.indices), list(vector.values))


def all_payloads(
    shard: edge.EdgeShard, wanted: edge.Filter, fields: list[str] | bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    offset = None
    while True:
        page, offset = shard.scroll(
            edge.ScrollRequest(offset=offset, limit=PAGE_POINTS, filter=wanted, with_payload=fields)
        )
        found += payloads(page)
        if offset is None:
            return found

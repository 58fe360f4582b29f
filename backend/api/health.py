"""GET /health: can it do its work now, part by part."""

from __future__ import annotations

from fastapi import APIRouter, Response

from backend import __version__
from backend.api.deps import Operated
from backend.api.schemas import HealthResponse

router = APIRouter(tags=["operation"])


@router.get("/health", response_model=HealthResponse)
async def health(operation: Operated, response: Response) -> HealthResponse:
    """200 when every part works, else 503."""
    found = await operation.health.check()
    if found.state != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return HealthResponse.of(found, __version__)

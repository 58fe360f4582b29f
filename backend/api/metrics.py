"""GET /metrics: counters and timings for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from backend.telemetry.metrics import Metrics

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text; OpenMetrics for who accepts it."""
    found: Metrics = request.app.state.metrics
    content, content_type = found.render(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": content_type})

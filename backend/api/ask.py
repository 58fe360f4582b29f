"""POST /ask: an answer with checked citations, whole or streamed."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from backend.api.deps import Injected
from backend.api.disconnect import until_disconnect
from backend.api.errors import error_body, internal_error_body
from backend.api.schemas import AskBody, AskResponse, SourceOut
from backend.api.validation import chosen_top_k
from backend.core.errors import RagError
from backend.core.identity import clean_space_id
from backend.core.types import Queued, ReasoningDelta, TextDelta
from backend.services.answers import Answer, AskEvent, AskRequest, SourcesFound
from backend.telemetry.metrics import Metrics
from backend.telemetry.scope import note_failure

log = logging.getLogger(__name__)
router = APIRouter(tags=["questions"])

HEARTBEAT_S = 15


@router.post("/ask", response_model=AskResponse)
async def ask(
    services: Injected, request: Request, body: AskBody
) -> AskResponse | EventSourceResponse:
    """Retrieve, answer, check every citation. With `stream: true` the answer comes as
    Server-Sent Events: `sources`, `queued`… while it waits for the model, `delta`…, then one
    `complete` or `error`. A client that leaves stops the model."""
    question = AskRequest(
        body.q,
        clean_space_id(body.space_id),
        chosen_top_k(services.limits, body.top_k),
        body.doc_types,
        body.mode,
        body.include_reasoning,
    )
    if not body.stream:
        answer = await until_disconnect(request, services.answerer.answer(question))
        _measure(services.metrics, answer)
        return AskResponse.of(answer)
    # What fails before the first event still gets its own status.
    events = services.answerer.stream(question)
    first = await until_disconnect(request, _first(events))
    return EventSourceResponse(
        _sent(first, events, services.metrics),
        ping=HEARTBEAT_S,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _first(events: AsyncIterator[AskEvent]) -> AskEvent:
    return await anext(events)


async def _sent(
    first: AskEvent, events: AsyncIterator[AskEvent], metrics: Metrics
) -> AsyncIterator[ServerSentEvent]:
    """Exactly one terminal event: ``complete`` or ``error``."""
    async with aclosing(events) as rest:  # type: ignore[type-var]
        try:
            yield _event(first)
            async for event in rest:
                if isinstance(event, Answer):
                    _measure(metrics, event)
                yield _event(event)
        except RagError as error:
            log.warning("stream failed", extra={"code": error.code, "reason": str(error)})
            note_failure(error.code)
            yield _sse("error", error_body(error))
        except Exception:
            log.exception("stream failed")
            note_failure("internal")
            yield _sse("error", internal_error_body())


def _event(event: AskEvent) -> ServerSentEvent:
    if isinstance(event, SourcesFound):
        sources = [SourceOut.of(source).model_dump(mode="json") for source in event.sources]
        return _sse("sources", {"sources": sources})
    if isinstance(event, TextDelta):
        return _sse("delta", {"text": event.text})
    if isinstance(event, ReasoningDelta):
        return _sse("reasoning", {"text": event.text})
    if isinstance(event, Queued):
        return _sse("queued", {"position": event.position})
    return _sse("complete", AskResponse.of(event).model_dump(mode="json"))


def _sse(name: str, data: object) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name)


def _measure(metrics: Metrics, answer: Answer) -> None:
    metrics.cache("ask", answer.cached)
    if not answer.cached:
        metrics.observe_timings(answer.timings)
        found = (*answer.citations, *answer.attributed)
        metrics.observe_citations([citation.status for citation in found])

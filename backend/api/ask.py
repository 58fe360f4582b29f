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
from backend.core.types import TextDelta
from backend.services.answers import AskEvent, AskRequest, SourcesFound

log = logging.getLogger(__name__)
router = APIRouter(tags=["questions"])

HEARTBEAT_S = 15


@router.post("/ask", response_model=AskResponse)
async def ask(
    services: Injected, request: Request, body: AskBody
) -> AskResponse | EventSourceResponse:
    """Retrieve, answer, check every citation. With `stream: true` the answer comes as
    Server-Sent Events: `sources`, `delta`…, then one `complete` or `error`. A client that
    leaves stops the model."""
    question = AskRequest(
        body.q,
        clean_space_id(body.space_id),
        chosen_top_k(services.limits, body.top_k),
        body.doc_types,
        body.mode,
    )
    if not body.stream:
        answer = await until_disconnect(request, services.answerer.answer(question))
        return AskResponse.of(answer)
    # What fails before the first event still gets its own status.
    events = services.answerer.stream(question)
    first = await until_disconnect(request, _first(events))
    return EventSourceResponse(
        _sent(first, events),
        ping=HEARTBEAT_S,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _first(events: AsyncIterator[AskEvent]) -> AskEvent:
    return await anext(events)


async def _sent(first: AskEvent, events: AsyncIterator[AskEvent]) -> AsyncIterator[ServerSentEvent]:
    """Exactly one terminal event: ``complete`` or ``error``."""
    async with aclosing(events) as rest:  # type: ignore[type-var]
        try:
            yield _event(first)
            async for event in rest:
                yield _event(event)
        except RagError as error:
            log.warning("stream failed", extra={"code": error.code, "reason": str(error)})
            yield _sse("error", error_body(error))
        except Exception:
            log.exception("stream failed")
            yield _sse("error", internal_error_body())


def _event(event: AskEvent) -> ServerSentEvent:
    if isinstance(event, SourcesFound):
        sources = [SourceOut.of(source).model_dump(mode="json") for source in event.sources]
        return _sse("sources", {"sources": sources})
    if isinstance(event, TextDelta):
        return _sse("delta", {"text": event.text})
    return _sse("complete", AskResponse.of(event).model_dump(mode="json"))


def _sse(name: str, data: object) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name)

"""Answers as Server-Sent Events: UTF-8 as it is, a heartbeat, exactly one terminal event."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from backend.api.disconnect import until_disconnect
from backend.api.errors import error_body, internal_error_body
from backend.core.errors import RagError
from backend.telemetry.scope import note_failure

log = logging.getLogger(__name__)

HEARTBEAT_S = 15

Event = TypeVar("Event")
Shown = Callable[[Event], Iterable[ServerSentEvent]]


def sse(name: str, data: object, event_id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name, id=event_id)


async def event_stream(
    request: Request, events: AsyncGenerator[Event, None], shown: Shown[Event]
) -> EventSourceResponse:
    """``shown`` of the last event ends with the terminal one, "complete"; a failure on the way is
    the event "error" instead.

    Raises:
        RagError: before the first event, so that it has a status of its own.
        ClientDisconnected: the client left before it.
    """
    first = await until_disconnect(request, _first(events))
    return EventSourceResponse(
        _sent(first, events, shown),
        ping=HEARTBEAT_S,
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _first(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


async def _sent(
    first: Event, events: AsyncGenerator[Event, None], shown: Shown[Event]
) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(events) as rest:
        try:
            for line in shown(first):
                yield line
            async for event in rest:
                for line in shown(event):
                    yield line
        except RagError as error:
            log.warning("stream failed", extra={"code": error.code, "reason": str(error)})
            note_failure(error.code)
            yield sse("error", error_body(error))
        except Exception:
            log.exception("stream failed")
            note_failure("internal")
            yield sse("error", internal_error_body())

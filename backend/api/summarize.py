"""POST /summarize and /summarize-stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from backend.api.deps import Injected
from backend.api.disconnect import until_disconnect
from backend.api.sse import event_stream, sse
from backend.api.summary_schemas import SummarizeBody, SummaryOut, eta_fields
from backend.core.summaries import (
    MergeStarted,
    PartSummarized,
    Summary,
    SummaryEvent,
    SummaryProcessing,
    SummaryProgress,
    SummaryStarted,
)
from backend.core.types import Queued
from backend.services.summarize.shared import Numbered

router = APIRouter(tags=["summaries"])


@router.post("/summarize", response_model_exclude_none=True)
async def summarize(services: Injected, request: Request, body: SummarizeBody) -> SummaryOut:
    """A summary of the whole document, however long it is. Kept until the document, the model or
    a prompt changes."""
    summary = await until_disconnect(request, services.summaries.summarize(body.request()))
    return SummaryOut.of(summary)


@router.post("/summarize-stream", response_class=EventSourceResponse)
async def summarize_stream(
    services: Injected,
    request: Request,
    body: SummarizeBody,
    last_event_id: Annotated[str | None, Header()] = None,
) -> EventSourceResponse:
    """The same as Server-Sent Events: `start`, `processing`, (`queued`, `partial`, `progress`,
    `merge`)…, `summary`, then `complete`, or `error` in the place of both. `Last-Event-ID` takes
    up a stream that broke off."""
    events = services.summaries.stream(body.request(), after=_parsed(last_event_id))
    return await event_stream(request, events, _shown)


def _parsed(last_event_id: str | None) -> tuple[str, int] | None:
    run_id, _, number = (last_event_id or "").rpartition(":")
    return (run_id, int(number)) if run_id and number.isdecimal() else None


def _shown(numbered: Numbered[SummaryEvent]) -> Iterator[ServerSentEvent]:
    event_id = f"{numbered.run_id}:{numbered.number}"
    event = numbered.event
    if not isinstance(event, Summary):
        name, data = _named(event)
        yield sse(name, data, event_id)
        return
    summary = SummaryOut.of(event).model_dump(mode="json", exclude_none=True)
    # Without an id: a stream that breaks off between the two is told both again.
    yield sse("summary", summary)
    about = ("doc_id", "cached", "seconds", "tokens", "parts", "chunks_processed", "timings")
    yield sse("complete", {name: summary[name] for name in about}, event_id)


def _named(event: SummaryEvent) -> tuple[str, dict[str, object]]:
    match event:
        case Queued(position):
            return "queued", {"position": position}
        case SummaryStarted(key, source, language):
            about = {"doc_id": key.doc_id, "source": source, "model": key.model}
            return "start", {**about, "language": key.language, "document_language": language}
        case SummaryProcessing(strategy, parts, chunks, tokens, eta):
            sizes = {"parts": parts, "chunks": chunks, "document_tokens": tokens}
            return "processing", {"strategy": strategy, **sizes, **eta_fields(eta)}
        case PartSummarized(index, parts, text):
            return "partial", {"part": index + 1, "parts": parts, "text": text}
        case SummaryProgress(stage, level, done, total, eta):
            counts = {"stage": stage, "level": level, "done": done, "total": total}
            return "progress", {**counts, **eta_fields(eta)}
        case MergeStarted(level, inputs, groups):
            return "merge", {"level": level, "inputs": inputs, "groups": groups}
        case _:
            raise ValueError(f"{type(event).__name__} has no name on the stream")

"""POST /ask: an answer with checked citations, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from backend.api.deps import Injected
from backend.api.disconnect import until_disconnect
from backend.api.schemas import AskBody, AskResponse, SourceOut
from backend.api.sse import event_stream, sse
from backend.api.validation import chosen_top_k
from backend.core.identity import clean_space_id
from backend.core.types import Queued, ReasoningDelta, TextDelta
from backend.services.answers import Answer, AskEvent, AskRequest, Compressing, SourcesFound
from backend.telemetry.metrics import Metrics

router = APIRouter(tags=["questions"])


@router.post("/ask", response_model=AskResponse)
async def ask(
    services: Injected, request: Request, body: AskBody
) -> AskResponse | EventSourceResponse:
    """Retrieve, answer, check every citation. `mode`: `normal` gives the model the retrieved
    chunks as they are, and `detailed` never does anything else; `summarize` compresses them first,
    so that more of them fit; `auto` decides, `route` says what and why. With `stream: true` the
    answer comes as Server-Sent Events: `sources`, `progress`… while the context is compressed,
    `queued`… while it waits for the model, `delta`…, then one `complete` or `error`. A client that
    leaves stops the model."""
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
    return await event_stream(
        request, services.answerer.stream(question), lambda event: _shown(event, services.metrics)
    )


def _shown(event: AskEvent, metrics: Metrics) -> Iterator[ServerSentEvent]:
    if isinstance(event, Answer):
        _measure(metrics, event)
    yield _event(event)


def _event(event: AskEvent) -> ServerSentEvent:
    if isinstance(event, SourcesFound):
        sources = [SourceOut.of(source).model_dump(mode="json") for source in event.sources]
        return sse("sources", {"sources": sources})
    if isinstance(event, Compressing):
        return sse("progress", {"done": event.done, "total": event.total})
    if isinstance(event, TextDelta):
        return sse("delta", {"text": event.text})
    if isinstance(event, ReasoningDelta):
        return sse("reasoning", {"text": event.text})
    if isinstance(event, Queued):
        return sse("queued", {"position": event.position})
    return sse("complete", AskResponse.of(event).model_dump(mode="json"))


def _measure(metrics: Metrics, answer: Answer) -> None:
    metrics.cache("ask", answer.cached)
    if not answer.cached:
        metrics.observe_timings(answer.timings)
        found = (*answer.citations, *answer.attributed)
        metrics.observe_citations([citation.status for citation in found])

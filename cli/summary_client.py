"""The summaries of the backend's HTTP API, typed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx

from backend.core.sse import EventReader, ServerSentEvent
from cli.client import Client
from cli.failures import ApiError, ConnectionLost
from cli.schemas import (
    BulkAccepted,
    ErrorBody,
    PartialSummary,
    Queued,
    Summary,
    SummaryMerge,
    SummaryProcessing,
    SummaryProgress,
    SummaryStart,
    SummaryStats,
    SummaryStatus,
)

SummaryEvent = (
    Queued
    | SummaryStart
    | SummaryProcessing
    | PartialSummary
    | SummaryProgress
    | SummaryMerge
    | Summary
)

_STREAM = httpx.Timeout(60.0, connect=5.0)  # within a stream, which has a heartbeat every 15 s
_BULK = httpx.Timeout(600.0, connect=5.0)  # every document of a space is written down
_KINDS: dict[str, type[SummaryEvent]] = {
    "queued": Queued,
    "start": SummaryStart,
    "processing": SummaryProcessing,
    "partial": PartialSummary,
    "progress": SummaryProgress,
    "merge": SummaryMerge,
    "summary": Summary,
}


@dataclass(frozen=True, slots=True)
class SummaryWish:
    """None and "" leave it to the backend."""

    doc_id: str
    space_id: str
    focus: str = ""
    max_tokens: int | None = None
    language: str | None = None
    structured: bool = False

    def body(self) -> dict[str, object]:
        body: dict[str, object] = {"doc_id": self.doc_id, "space_id": self.space_id}
        if self.focus:
            body["focus"] = self.focus
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.language is not None:
            body["language"] = self.language
        if self.structured:
            body["structured"] = True
        return body


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the id to go on from after it."""

    last_id: str
    event: SummaryEvent


class SummaryClient(Client):
    async def summarize_stream(
        self, wish: SummaryWish, *, after: str = ""
    ) -> AsyncGenerator[Told, None]:
        """What happens on the way, then exactly one ``Summary``. ``after``: the id of the last
        event of a stream that broke off. Closing it stops the work.

        Raises:
            ConnectionLost: the stream ended without its last event.
        """
        reader, summary = _NumberedReader(), None
        headers = {"Last-Event-ID": after} if after else {}
        with self._translated():
            async with self._http.stream(
                "POST", "/summarize-stream", json=wish.body(), headers=headers, timeout=_STREAM
            ) as response:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    await response.aread()
                    self._raise_for_error(response)
                    raise self._unexpected("no event stream")
                async for block in response.aiter_bytes():
                    for found in reader.feed(block):
                        if found.event == "complete" and summary is not None:
                            yield Told(reader.last_id, summary)
                            return
                        event = self._summary_event(found)
                        if isinstance(event, Summary):
                            summary = event  # true only when the stream has come to its end
                        elif event is not None:
                            yield Told(reader.last_id, event)
        raise ConnectionLost(f"The backend at {self.url} broke off in the middle of the summary.")

    def _summary_event(self, event: ServerSentEvent) -> SummaryEvent | None:
        content = event.data.encode()
        if event.event == "error":
            error = self._read(ErrorBody, content).error
            raise ApiError(error.message, code=error.code, request_id=error.request_id)
        kind = _KINDS.get(event.event)
        return self._read(kind, content) if kind is not None else None

    async def bulk_summarize(self, space_id: str) -> BulkAccepted:
        """Have every document of the space summarized, whether this program waits or not."""
        with self._translated():
            response = await self._http.post(
                "/bulk-summarize", json={"space_id": space_id}, timeout=_BULK
            )
        return self._checked(BulkAccepted, response)

    async def summary_stats(self, space_id: str) -> SummaryStats:
        with self._translated():
            response = await self._http.get("/summary-stats", params={"space_id": space_id})
        return self._checked(SummaryStats, response)

    async def summary_status(self, doc_id: str) -> SummaryStatus:
        with self._translated():
            response = await self._http.get(f"/documents/{doc_id}/summary-status")
        return self._checked(SummaryStatus, response)


class _NumberedReader(EventReader):
    """Also knows the id of the last whole event, which holds for those without one too."""

    last_id = ""
    _id = ""

    def _take(self, line: str) -> ServerSentEvent | None:
        name, _, value = line.partition(":")
        if name == "id":
            self._id = value.removeprefix(" ")
        return super()._take(line)

    def _finish(self) -> ServerSentEvent | None:
        self.last_id = self._id
        return super()._finish()

"""The backend's API of summaries in memory, for tests of its clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from backend.core.identity import document_id
from cli.summarize import Surroundings
from tests.fakes.api import document

Json = Mapping[str, object]
PLAN = document_id("s", "plans/plan.md")
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def summary(**changes: object) -> Json:
    return {
        "summary": "Срок сдачи перенесён на 15 января.",
        "doc_id": PLAN,
        "source": "plans/plan.md",
        "space_id": "s",
        "language": "ru",
        "focus": "",
        "model": "small",
        "strategy": "map_reduce",
        "parts": 2,
        "levels": 1,
        "chunks_processed": 7,
        "tokens": {"prompt_tokens": 10, "completion_tokens": 5},
        "seconds": 12.34,
        "cached": False,
        "generated_at": "2026-01-02T03:04:05Z",
        "unsupported": [],
        "warnings": [],
        "timings": {"map": 10.0},
    } | changes


def event(name: str, data: Json, event_id: str = "") -> bytes:
    number = f"id: {event_id}\r\n" if event_id else ""
    return f"{number}event: {name}\r\ndata: {json.dumps(data, ensure_ascii=False)}\r\n\r\n".encode()


START = event("start", {"doc_id": PLAN, "source": "plans/plan.md", "model": "small"}, "r:1")
PROCESSING = event(
    "processing",
    {"strategy": "map_reduce", "parts": 2, "chunks": 7, "document_tokens": 900}
    | {"eta_seconds": 90.0, "eta_range": [60.0, 180.0]},
    "r:2",
)
PARTIALS = [
    event("queued", {"position": 3}, "r:3")
    + event("partial", {"part": 1, "parts": 2, "text": "Часть первая."}, "r:4")
    + event(
        "progress",
        {
            "stage": "map",
            "level": 0,
            "done": 1,
            "total": 2,
            "eta_seconds": 40,
            "eta_range": [30, 50],
        },
        "r:5",
    ),
    event("partial", {"part": 2, "parts": 2, "text": "Часть вторая."}, "r:6")
    + event("merge", {"level": 1, "inputs": 2, "groups": 1}, "r:7")
    + event(
        "progress",
        {"stage": "merge", "level": 1, "done": 1, "total": 1, "eta_seconds": None},
        "r:8",
    ),
]


def end(**changes: object) -> bytes:
    """The last two events; the first of them has no id."""
    return event("summary", summary(**changes)) + event("complete", {"doc_id": PLAN}, "r:9")


def whole(**changes: object) -> list[bytes]:
    return [START, PROCESSING, *PARTIALS, end(**changes)]


class Broken(httpx.AsyncByteStream):
    """Some blocks, then the connection breaks."""

    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block
        raise httpx.ReadError("reset")


def refusal(status: int, code: str, message: str, **headers: str) -> httpx.Response:
    error = {"error": {"code": code, "message": message, "request_id": "r1"}}
    return httpx.Response(status, json=error, headers=headers)


@dataclass
class Backend:
    """``streams`` are what /summarize-stream answers, in turn: blocks, or a whole response."""

    streams: list[list[bytes] | httpx.Response | httpx.AsyncByteStream] = field(
        default_factory=lambda: [whole()]
    )
    documents: list[Json] = field(default_factory=lambda: [document("plans/plan.md")])
    statuses: dict[str, list[Json | httpx.Response]] = field(default_factory=dict)
    accepted: Json = field(
        default_factory=lambda: {"space_id": "s", "pending": [], "ready": [], "not_found": []}
    )
    requests: list[httpx.Request] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if path == "/documents":
            total = len(self.documents)
            offset = int(request.url.params["offset"])
            return httpx.Response(200, json={"total": total, "documents": self.documents[offset:]})
        if path == "/summarize-stream":
            return self._streamed(self.streams.pop(0))
        if path == "/bulk-summarize":
            return httpx.Response(202, json=self.accepted)
        if path == "/summary-stats":
            stats = {"documents": 9, "pending": 4, "running": 1, "ready": 3, "failed": 2}
            return httpx.Response(200, json={"space_id": "s"} | stats)
        waiting = self.statuses[path.split("/")[2]]
        status = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return status if isinstance(status, httpx.Response) else httpx.Response(200, json=status)

    def of(self, path: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.url.path == path]

    @staticmethod
    def _streamed(
        stream: list[bytes] | httpx.Response | httpx.AsyncByteStream,
    ) -> httpx.Response:
        if isinstance(stream, httpx.Response):
            return stream
        if isinstance(stream, httpx.AsyncByteStream):
            return httpx.Response(200, headers=EVENT_STREAM, stream=stream)
        return httpx.Response(200, headers=EVENT_STREAM, content=b"".join(stream))


def status(name: str, state: str, **changes: object) -> Json:
    about = {"doc_id": name, "source": f"{name}.md", "space_id": "s", "status": state}
    return about | {"summary_pending": state in ("pending", "running")} | changes


def bulk(**looks: Sequence[Json | httpx.Response]) -> Backend:
    """``looks`` is what each pending document is found to be, look by look."""
    accepted = {"space_id": "s", "pending": list(looks), "ready": ["old"], "not_found": []}
    statuses = {name: list(found) for name, found in looks.items()}
    return Backend(accepted=accepted, statuses=statuses)


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


def around(
    answer: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]],
) -> Surroundings:
    """Pauses between two tries and between two looks take no time."""
    return Surroundings(httpx.MockTransport(answer), sleep=no_pause)

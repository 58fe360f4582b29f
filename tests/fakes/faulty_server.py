"""A chat server on a loopback port that repeats the question and fails in the ways servers do.

It speaks as vLLM does, and a token is a character.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

MODEL = "m"
WINDOW = 4096

Fault = Literal[
    "none",
    "500",
    "502 page",
    "200 page",
    "half a stream",
    "half an event",
    "loading",
    "other protocol",
]


# What still comes when an answer breaks off in its middle.
_HALF_WAY: dict[Fault, bytes] = {
    "half a stream": b": ping\n\n",
    "half an event": b'data: {"choices": [{"ind',
    "other protocol": b"data: pong\n\n",
}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes

    @property
    def prompt(self) -> str:
        return "".join(message["content"] for message in json.loads(self.body)["messages"])


class FaultyServer:
    """``fault``, ``model`` and ``window`` may be changed at any time."""

    def __init__(self) -> None:
        self.fault: Fault = "none"
        self.model = MODEL
        self.window = WINDOW
        self.answering = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On the port it had before, if it had one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a crash does it: whatever is under way breaks off."""
        if self._server is not None:
            self._server.close()
            for task, writer in self._connections.items():
                writer.transport.abort()
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            # A cancelled task would be reported by asyncio as a failure of the callback.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._serve(await _read(reader), writer):
                    pass
        finally:
            del self._connections[task]
            writer.close()

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        self.answering += 1
        try:
            if request.method == "POST":
                return await self._chat(request, writer)
            await _send(writer, *self._about(request.path))
            return True
        finally:
            self.answering -= 1

    def _about(self, path: str) -> tuple[int, str, bytes]:
        if self.fault in _REFUSALS:
            return _REFUSALS[self.fault]
        if path == "/health":
            return 200, "text/plain", b""
        entry = {"id": self.model, "owned_by": "vllm", "max_model_len": self.window}
        return 200, "application/json", json.dumps({"data": [entry]}).encode()

    async def _chat(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        asked = json.loads(request.body)
        if self.fault in _REFUSALS:
            await _send(writer, *_REFUSALS[self.fault])
        elif asked["model"] != self.model:
            said = f"The model `{asked['model']}` does not exist."
            await _send(writer, *_error(404, "NotFoundError", said))
        elif len(request.prompt) + asked["max_tokens"] > self.window:
            said = (
                f"This model's maximum context length is {self.window} tokens. However, you "
                f"requested {asked['max_tokens']} output tokens and your prompt contains at least "
                f"{len(request.prompt)} input tokens, for a total of at least "
                f"{len(request.prompt) + asked['max_tokens']} tokens."
            )
            await _send(writer, *_error(400, "BadRequestError", said))
        else:
            return await self._answer(request.prompt, writer)
        return True

    async def _answer(self, prompt: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        events = list(_events(answer_to(prompt), len(prompt)))
        for number, event in enumerate(events):
            if number == len(events) // 2 and self.fault in _HALF_WAY:
                _chunk(writer, _HALF_WAY[self.fault])
                await writer.drain()
                return False
            _chunk(writer, event)
            await writer.drain()
            await asyncio.sleep(0.001)
        _chunk(writer, b"")
        await writer.drain()
        return True


@asynccontextmanager
async def faulty_server() -> AsyncIterator[FaultyServer]:
    server = FaultyServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def answer_to(prompt: str) -> str:
    """The right answer, which no other question has."""
    return f"Вы спросили: {prompt}"


def _events(answer: str, prompt_tokens: int) -> Iterator[bytes]:
    size = max(1, len(answer) // 4)
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    for piece in pieces:
        yield _event([{"index": 0, "delta": {"content": piece}}])
    yield _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": len(answer)}
    yield _event([], usage=tokens)
    yield b"data: [DONE]\n\n"


def _event(choices: Sequence[object], **more: object) -> bytes:
    return f"data: {json.dumps({'choices': choices, **more}, ensure_ascii=False)}\n\n".encode()


def _error(status: int, kind: str, said: str) -> tuple[int, str, bytes]:
    error = {"message": said, "type": kind, "code": status}
    return status, "application/json", json.dumps({"error": error}).encode()


_PAGE = b"<!doctype html><title>Welcome</title>"
_REFUSALS: dict[Fault, tuple[int, str, bytes]] = {
    "500": _error(500, "InternalServerError", "EngineCore encountered an issue."),
    "502 page": (502, "text/html", _PAGE),
    "200 page": (200, "text/html", _PAGE),
    "loading": _error(503, "unavailable_error", "Loading model"),
}


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, body)


async def _send(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

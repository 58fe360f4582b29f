"""A server of the OpenAI API on a real socket that answers with the bytes a test wrote down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG = b"\x00hang"
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "medium",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Привет\u2028!"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


@dataclass(frozen=True, slots=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeOpenAI:
    """``script`` is sent for every POST, in pieces; ``HANG`` among them waits until the client
    leaves, and the end of the script closes the connection when ``closes`` is set."""

    script: Sequence[bytes] = ()
    closes: bool = False
    models: Sequence[str] = ("medium",)
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                self.seen.append(request)
                if request.method == "GET":
                    data = [{"id": name, "max_model_len": 4096} for name in self.models]
                    writer.write(json_answer({"object": "list", "data": data}))
                    continue
                for piece in self.script:
                    if piece == HANG:
                        await reader.read()
                        self.left.set()
                        return
                    writer.write(piece)
                    await writer.drain()
                if self.closes:
                    return
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    method, path, _ = first.split(" ")
    return Seen(
        method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))
    )


@asynccontextmanager
async def running_openai(fake: FakeOpenAI) -> AsyncIterator[FakeOpenAI]:
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        server.close()


def answer(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def json_answer(content: object, status: str = "200 OK") -> bytes:
    return answer(json.dumps(content).encode(), status=status)


def stream_head() -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(text: str, **changes: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None} | changes
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "medium",
        "choices": [choice],
    }
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def streamed(*events: bytes) -> list[bytes]:
    return [stream_head(), *(chunk(one) for one in events), b"0\r\n\r\n"]


DONE = b"data: [DONE]\n\n"

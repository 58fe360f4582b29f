"""Answers on their way to the client: a model server's bytes, or what we generate ourselves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Send

from backend.api.openai.chat import Reply
from backend.api.openai.errors import GATEWAY, SOURCE_HEADER, error_event
from backend.core.errors import DependencyError, RagError
from backend.services.gateway import Upstream, UpstreamAnswer

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
_EVENT_STREAM = "text/event-stream"
_DONE = b"data: [DONE]"
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_LONGEST_QUOTE = 300  # characters of a server's own words in our message


class Client:
    """Whom the answer goes to."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def start(self, content_type: str, source: str) -> None:
        self.started = True
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (SOURCE_HEADER.lower().encode(), source.encode("latin-1", "replace")),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def relay(
    upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], client: Client
) -> Response | None:
    """None: the answer was a stream, and all but its end is with the client.

    Raises:
        DependencyError: the server failed, or answered with something that is not its protocol.
    """
    async with upstream.post(path, body, headers) as answer:
        if answer.status < 400 and answer.content_type.startswith(_EVENT_STREAM):
            await _relay_stream(upstream.name, answer, client)
            return None
        content = await answer.read()
    if not _is_protocol(answer, content):
        raise DependencyError(
            _not_protocol(upstream.name, answer, content), dependency=upstream.name
        )
    given = {"Content-Type": answer.content_type, **answer.headers, SOURCE_HEADER: upstream.name}
    return Response(content, answer.status, given)


async def _relay_stream(name: str, answer: UpstreamAnswer, client: Client) -> None:
    """Bytes as they come, but an event is held until its end is there: one that broke off
    would make the error behind it unreadable."""
    held, ended = b"", False
    try:
        async for chunk in answer.chunks():
            if not client.started:
                await client.start(answer.content_type, name)
            whole, held = _whole_events(held + chunk)
            if whole:
                ended = _DONE in whole[-64:] or (ended and not whole.strip())
                await client.write(whole)
        if held.strip().startswith(_DONE):
            ended = True
            await client.write(held)
        if not ended:
            raise DependencyError(f"{name} ended its answer early.", dependency=name)
    except RagError as error:
        if not client.started:
            raise
        log.warning("stream failed", extra={"code": error.code, "reason": str(error)})
        await client.write(error_event(error))


def _whole_events(received: bytes) -> tuple[bytes, bytes]:
    if received.endswith(_EVENT_ENDS):
        return received, b""
    end = max(0, *(at + len(mark) for mark in _EVENT_ENDS if (at := received.rfind(mark)) >= 0), 0)
    return received[:end], received[end:]


def _is_protocol(answer: UpstreamAnswer, content: bytes) -> bool:
    """A successful answer is taken at its content type; an error page must be JSON indeed."""
    if "json" not in answer.content_type:
        return False
    if answer.status < 400:
        return 200 <= answer.status < 300
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _not_protocol(name: str, answer: UpstreamAnswer, content: bytes) -> str:
    kind = answer.content_type or "something without a content type"
    said = f"{name} answered {answer.status} with {kind} that is not its protocol. Check its URL."
    words = content[:_LONGEST_QUOTE].decode("utf-8", "replace").strip()
    if kind.startswith("text/plain") and words:
        said += f" It says: {words}"
    return said


async def send_reply(client: Client, reply: Reply) -> Response | None:
    """The answer as one object or as a stream; what fails before its first byte gets a status."""
    if not reply.stream:
        content = json.dumps(await reply.whole(), ensure_ascii=False).encode()
        return Response(content, 200, {SOURCE_HEADER: GATEWAY}, "application/json")
    try:
        async with aclosing(reply.chunks()) as chunks:
            async for chunk in _with_heartbeat(chunks):
                if not client.started:
                    await client.start(f"{_EVENT_STREAM}; charset=utf-8", GATEWAY)
                await client.write(chunk)
    except RagError as error:
        if not client.started:
            raise
        log.warning("stream failed", extra={"code": error.code, "reason": str(error)})
        await client.write(error_event(error))
    except Exception:
        if not client.started:
            raise
        log.exception("stream failed")
        await client.write(error_event(None))
    return None


async def _with_heartbeat(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A comment in every long silence, or proxies take the connection for dead."""
    upcoming: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(chunks))
            done, _ = await asyncio.wait({upcoming}, timeout=HEARTBEAT_S)
            if not done:
                yield b": ping\n\n"
                continue
            chunk, upcoming = upcoming.result(), None
            if chunk is None:
                return
            yield chunk
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)

"""A model server of fixed answers: the cheapest there can be, so that only the way is measured."""

from __future__ import annotations

import asyncio
import json

MODEL = "stub"
DELTAS = 20


def _whole() -> bytes:
    message = {"role": "assistant", "content": "word " * DELTAS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": DELTAS, "total_tokens": 50 + DELTAS}
    shell = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL}
    body = json.dumps({**shell, "choices": [choice], "usage": usage}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _stream() -> bytes:
    shell = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    finish = [None] * DELTAS + ["stop"]
    events = []
    for reason in finish:
        choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": reason}
        events.append(f"data: {json.dumps({**shell, 'choices': [choice]})}\n\n")
    chunks = [f"{len(one):x}\r\n{one}\r\n" for one in [*events, "data: [DONE]\n\n"]]
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return (head + "".join(chunks) + "0\r\n\r\n").encode()


class Stub(asyncio.Protocol):
    """Speaks as much HTTP as the benchmark's clients do."""

    WHOLE, STREAM = _whole(), _stream()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            streams = json.loads(body).get("stream") if body else False
            self._transport.write(self.STREAM if streams else self.WHOLE)


async def serve_stub(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()

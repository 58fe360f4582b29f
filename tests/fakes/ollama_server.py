"""A double of Ollama that behaves as its documentation and source say (0.12 to 0.40).

``FakeOllama`` answers httpx requests in-process (``client()``) and is an ASGI application for
uvicorn, so the same double can also be reached over a socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import quicktok
import uvicorn

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators._streamed import ModelTimeouts
from backend.adapters.generators.ollama import OllamaGenerator
from backend.core.types import Message

MODEL = "qwen3:8b"
ANSWER = "Всё хорошо [1].\u2028Yes."  # with a character that is a line end to str.splitlines
PIECES = ("Всё хорошо", " [1].", "\u2028Yes.")
TRAINED = 40_960

LONG = [Message("system", "Будь краток."), Message("user", "Какой срок сдачи? " * 400)]

Body = dict[str, Any]


@dataclass(slots=True)
class FakeOllama:
    """Tokens are those of Qwen with its chat template, as the real server counts them.

    ``obeys``: refuses what does not fit when told not to truncate (0.12.6 and later).
    ``forced_window``: loads the model with this window whatever ``num_ctx`` says.
    ``caches``: counts only what it has not read before. ``tells_window``: 0.10 and later.
    ``instead_of_chat``: answers ``/api/chat`` in its place.
    """

    models: tuple[str, ...] = (MODEL, "llama3.2:latest")
    pieces: Sequence[str] = PIECES
    thinking: Sequence[str] = ()
    forced_window: int | None = None
    trained: int = TRAINED
    obeys: bool = True
    caches: bool = False
    tells_window: bool = True
    numbers_in_refusal: bool = True
    instead_of_chat: Callable[[Body], httpx.Response] | None = None
    endless: bool = False
    requests: list[tuple[str, Body]] = field(default_factory=list)
    running: int = 0
    loaded: dict[str, int] = field(default_factory=dict)
    _read: str = ""

    # --- ways to reach it ----------------------------------------------------------------------

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.handle))

    def generator(
        self,
        *,
        model: str = MODEL,
        window: int = 512,
        timeouts: ModelTimeouts | None = None,
        keep_alive: str | None = None,
    ) -> OllamaGenerator:
        endpoint = Endpoint(self.client(), "ollama", fixed("http://ollama:11434"), "secret")
        return OllamaGenerator(
            endpoint, model=model, window=window, timeouts=timeouts, keep_alive=keep_alive
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        content = await _body(receive)
        request = httpx.Request(scope["method"], f"http://ollama{scope['path']}", content=content)
        response = await self.handle(request)
        sending = asyncio.create_task(_send(response, send))
        leaving = asyncio.create_task(_left(receive))
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        await response.aclose()

    # --- what it answers -----------------------------------------------------------------------

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        content = await request.aread()
        body: Body = json.loads(content) if content else {}
        self.requests.append((path, body))
        if (page := self._page(path)) is not None:
            return httpx.Response(200, json=page)
        if path not in {"/api/show", "/api/chat"}:
            return httpx.Response(404, text="404 page not found")
        if (name := _full(body["model"])) not in map(_full, self.models):
            return httpx.Response(404, json={"error": f"model '{body['model']}' not found"})
        if path == "/api/show":
            return httpx.Response(200, json=self._shown())
        if self.instead_of_chat is not None:
            return self.instead_of_chat(body)
        return self._chat(name, body)

    def _page(self, path: str) -> Body | None:
        if path == "/api/version":
            return {"version": "0.40.2"}
        if path == "/api/tags":
            return {"models": [_named(name) for name in self.models]}
        return {"models": self._loaded_models()} if path == "/api/ps" else None

    @property
    def chats(self) -> list[Body]:
        return [body for path, body in self.requests if path == "/api/chat"]

    def _chat(self, name: str, body: Body) -> httpx.Response:
        window = min(self.forced_window or body["options"].get("num_ctx", 4096), self.trained)
        self.loaded[name] = window
        prompt = _rendered(body["messages"])
        tokens = quicktok.get_encoding("qwen3").encode(prompt, allowed_special="all")
        if len(tokens) > window and self.obeys and body.get("truncate") is False:
            return self._refused(len(tokens), window)
        read = prompt if len(tokens) <= window else ""
        count = min(len(tokens), window)
        if self.caches:
            count -= _tokens(_common_prefix(self._read, read))
            self._read = read
        return streamed(self._lines(max(count, 0), body))

    async def _lines(self, count: int, body: Body) -> AsyncGenerator[bytes, None]:
        self.running += 1
        try:
            limit = body["options"].get("num_predict", -1)
            thinks = [] if body.get("think") is False else list(self.thinking)
            said = [("thinking", piece) for piece in thinks]
            said += [("content", piece) for piece in self.pieces]
            for kind, piece in said if limit < 0 else said[:limit]:
                await asyncio.sleep(0)
                yield line(**{kind: piece})
            while self.endless:
                await asyncio.sleep(0.005)
                yield line(content="и ")
            cut = 0 <= limit < len(said)
            spent = limit if cut else len(said) + 1
            yield last("length" if cut else "stop", prompt=count, answer=spent)
        finally:
            self.running -= 1

    def _refused(self, needed: int, window: int) -> httpx.Response:
        if not self.numbers_in_refusal:
            said = "the input length exceeds the context length"
            return httpx.Response(400, json={"error": said})
        detail = {
            "code": 400,
            "message": f"request ({needed} tokens) exceeds the available context size "
            f"({window} tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": needed,
            "n_ctx": window,
        }
        return httpx.Response(400, json={"error": json.dumps({"error": detail})})

    def _loaded_models(self) -> list[Body]:
        models = [_named(name) for name in self.loaded]
        for entry in models if self.tells_window else ():
            entry["context_length"] = self.loaded[entry["name"]]
        return models

    def _shown(self) -> Body:
        return {
            "details": {"family": "qwen3", "quantization_level": "Q4_K_M"},
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": self.trained},
            "capabilities": ["completion", "thinking"],
        }


def answering(response: httpx.Response, timeouts: ModelTimeouts | None = None) -> OllamaGenerator:
    return FakeOllama(instead_of_chat=lambda _: response).generator(timeouts=timeouts)


def line(content: str = "", thinking: str | None = None) -> bytes:
    said: Body = {"role": "assistant", "content": content}
    if thinking is not None:
        said["thinking"] = thinking
    return _json_line({"model": MODEL, "message": said, "done": False})


def last(reason: str | None = "stop", *, prompt: int = 9, answer: int = 4) -> bytes:
    """The final line; counts of zero are left out, as Go's ``omitempty`` does."""
    ended: Body = {"model": MODEL, "message": {"role": "assistant", "content": ""}, "done": True}
    counts = {"done_reason": reason, "prompt_eval_count": prompt, "eval_count": answer}
    return _json_line(ended | {name: value for name, value in counts.items() if value})


class _Stream(httpx.AsyncByteStream):
    """Closing it ends the generator, as leaving ends the work of a server."""

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._content:
            yield piece

    async def aclose(self) -> None:
        await self._content.aclose()


def streamed(content: bytes | AsyncGenerator[bytes, None]) -> httpx.Response:
    headers = {"content-type": "application/x-ndjson"}
    if isinstance(content, bytes):
        return httpx.Response(200, headers=headers, content=content)
    return httpx.Response(200, headers=headers, stream=_Stream(content))


@asynccontextmanager
async def running_ollama(fake: FakeOllama) -> AsyncIterator[str]:
    """The double behind a socket; its URL."""
    config = uvicorn.Config(fake, port=0, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


async def _body(receive: Any) -> bytes:
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    return content


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(response: httpx.Response, send: Any) -> None:
    headers = [(key, value) for key, value in response.headers.raw if key.lower() != b"connection"]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    if response.is_stream_consumed:  # made with its whole body
        await send({"type": "http.response.body", "body": response.content})
        return
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _json_line(value: Body) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _rendered(messages: Sequence[Body]) -> str:
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _tokens(text: str) -> int:
    return len(quicktok.get_encoding("qwen3").encode(text, allowed_special="all"))


def _common_prefix(a: str, b: str) -> str:
    at = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return a[:at]


def _named(name: str) -> Body:
    return {"name": _full(name), "model": _full(name)}


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"

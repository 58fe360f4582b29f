"""A model server on a loopback port that summarizes as a good model would, as fast as it can.

It speaks as vLLM does, embeddings included. A token is what ``tokens_of`` says, and it refuses what
is over the window as vLLM refuses it. It runs in a thread of its own, so that a test may block.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from backend.core.types import Message
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.summaries import prompt_tokens, tokens_of

MODEL = "m"
NONSENSE = "zxqv brtk plmn wqrt xzcv bnmk hjkl qwrt zxcv mnbv."
FOREIGN = {
    "ru": "The committee met twice in spring and it agreed on the plan for the next year.",
    "en": "Комиссия собиралась весной дважды и согласовала план работ на следующий год.",
}
Fault = Literal["none", "nonsense", "empty", "language", "500", "page", "half", "cut", "refuse"]

_BLOCK = re.compile(r"<(document|summary)\b[^>\n]*>\n(.*?)\n</\1>", re.DOTALL)
_WORDS = re.compile(r"(?:не длиннее|at most) (\d+)")
_SENTENCE = re.compile(r"[^\s.!?][^.!?]*[.!?]")
_FILL = 0.8  # of the room for an answer that this model takes


@dataclass(slots=True, eq=False)
class Asked:
    """A chat request. ``texts`` are the pieces of a document or of summaries in it."""

    messages: tuple[Message, ...]
    max_tokens: int
    number: int
    ended: Literal["", "answered", "refused", "failed", "left"] = ""

    @property
    def prompt(self) -> str:
        return self.messages[-1].content

    @property
    def texts(self) -> list[str]:
        return [match[2] for match in _BLOCK.finditer(self.prompt)]

    @property
    def kind(self) -> Literal["document", "summary", "question"]:
        found = _BLOCK.search(self.prompt)
        if found is None or "<source" in self.prompt:
            return "question"
        return "document" if found[1] == "document" else "summary"

    @property
    def language(self) -> Literal["ru", "en"]:
        return "ru" if re.search(r"[а-я]{3}", self.messages[0].content) else "en"

    @property
    def sha256(self) -> str:
        """Of what is asked about, whatever words it is asked with."""
        return hashlib.sha256("\x1f".join(self.texts).encode()).hexdigest()


def good_summary(asked: Asked) -> str:
    """The first sentences of each text, as many as were asked for."""
    wanted = int(found[1]) if (found := _WORDS.search(asked.prompt)) else 40
    room = _FILL * asked.max_tokens
    said: list[str] = []
    lists = [_first_sentences(text, wanted) for text in asked.texts]
    for round_ in range(max(map(len, lists), default=0)):
        for sentences in lists:
            more = sentences[round_ : round_ + 1]
            text = " ".join([*said, *more])
            if not more or (said and len(text.split()) > wanted) or tokens_of(text) > room:
                continue
            said += more
    return " ".join(said)


def _first_sentences(text: str, words: int) -> list[str]:
    prose = re.sub(r"^#.*$", "", text[: 12 * words + 400], flags=re.MULTILINE)
    return [" ".join(found[0].split()) for found in _SENTENCE.finditer(prose)]


@dataclass
class SummaryServer:
    """``fault`` chooses what becomes of a request, ``held`` keeps it waiting for its answer,
    ``seconds`` is how long one takes. All may be changed at any time, from any thread."""

    window: int = 4096
    sequences: int = 8
    fault: Callable[[Asked], Fault] = lambda asked: "none"
    held: Callable[[Asked], bool] = lambda asked: False
    seconds: Callable[[Asked], float] = lambda asked: 0.0
    answer: Callable[[Asked], str] = good_summary
    asked: list[Asked] = field(default_factory=list)
    ended: list[Asked] = field(default_factory=list)
    url: str = ""

    @property
    def busy(self) -> int:
        return len(self.asked) - len(self.ended)

    @property
    def answered(self) -> list[Asked]:
        return [asked for asked in self.ended if asked.ended == "answered"]

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        entry = {"id": MODEL, "owned_by": "vllm", "max_model_len": self.window}
        return web.json_response({"data": [entry]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        if "messages" in body:
            return web.json_response({"count": prompt_tokens(_messages(body))})
        count = tokens_of(body["prompt"])
        return web.json_response({"count": count, "tokens": [0] * count})

    async def _embed(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        vectors = await HashingEmbedder().embed_passages(texts)
        data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        return web.json_response({"data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = Asked(_messages(body), body["max_tokens"], len(self.asked) + 1)
        self.asked.append(asked)
        try:
            return await self._answered(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.ended = "left"
            raise
        finally:
            self.ended.append(asked)

    async def _answered(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        used = prompt_tokens(asked.messages)
        if used + asked.max_tokens > self.window:
            asked.ended = "refused"
            return _error(400, _too_long(self.window, used, asked.max_tokens))
        fault = self.fault(asked)
        while self.held(asked):
            await asyncio.sleep(0.002)
        await asyncio.sleep(self.seconds(asked))
        if fault in ("500", "page", "refuse"):
            asked.ended = "failed"
            if fault == "page":
                return web.Response(text="<html>busy</html>", content_type="text/html")
            return _error(500 if fault == "500" else 400, "EngineCore encountered an issue.")
        text = _said(asked, fault, self.answer)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        middle = len(text) // 2
        await response.write(_event(text[:middle]))
        if fault == "half":
            asked.ended = "failed"
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(_event(text[middle:]))
        finish = "length" if fault == "cut" else "stop"
        await response.write(_event("", finish))
        usage = {"prompt_tokens": used, "completion_tokens": tokens_of(text)}
        await response.write(_data({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        asked.ended = "answered" if fault == "none" else "failed"
        return response


def _said(asked: Asked, fault: Fault, answer: Callable[[Asked], str]) -> str:
    if fault in ("nonsense", "empty", "language"):
        return {"nonsense": NONSENSE, "empty": " ", "language": FOREIGN[asked.language]}[fault]
    return answer(asked)


def _messages(body: dict[str, list[dict[str, str]]]) -> tuple[Message, ...]:
    return tuple(Message(one["role"], one["content"]) for one in body["messages"])  # type: ignore[arg-type]


def _event(text: str, finish: str | None = None) -> bytes:
    return _data({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


def _data(content: object) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _error(status: int, said: str) -> web.Response:
    return web.json_response({"error": {"message": said, "code": status}}, status=status)


def _too_long(window: int, prompt: int, answer: int) -> str:
    return (
        f"This model's maximum context length is {window} tokens. However, you requested {answer} "
        f"output tokens and your prompt contains at least {prompt} input tokens, for a total of "
        f"at least {prompt + answer} tokens."
    )


@asynccontextmanager
async def _served(server: SummaryServer) -> AsyncIterator[None]:
    runner = web.AppRunner(
        server.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield
    finally:
        await runner.cleanup()


@contextmanager
def summary_server(server: SummaryServer | None = None) -> Iterator[SummaryServer]:
    found = server or SummaryServer()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    up = threading.Event()

    async def serve() -> None:
        async with _served(found):
            up.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert up.wait(10)
        yield found
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

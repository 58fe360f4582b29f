"""Ollama by its native API: its ``/v1`` ignores ``num_ctx`` and cuts the prompt silently."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import httpx

from backend.adapters._http import Endpoint, dependency_errors, within
from backend.adapters._streams import now
from backend.adapters.generators._answers import Answer, Usage
from backend.adapters.generators._ollama_window import OllamaModel
from backend.adapters.generators._ollama_wire import (
    Line,
    Version,
    chat_body,
    error_words,
    full_name,
    ollama_refusal,
    read_line,
)
from backend.adapters.generators._streamed import ModelTimeouts, StreamedGenerator
from backend.core.errors import (
    ContextOverflow,
    DependencyTimeout,
    ModelNotServed,
    RagError,
)
from backend.core.types import (
    Completion,
    Message,
    ReasoningDelta,
    Sampling,
    ServedModel,
    TextDelta,
)


class OllamaGenerator(StreamedGenerator):
    """``window`` is asked for with every request, in tokens. ``keep_alive`` is how long the
    model stays loaded: "10m", or seconds; "-1" is for ever, None leaves it to the server."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        window: int,
        timeouts: ModelTimeouts | None = None,
        keep_alive: str | None = None,
    ) -> None:
        super().__init__(endpoint, model, timeouts)
        self._window = window
        self._keep_alive = keep_alive
        self._remote = OllamaModel(endpoint, model, window, timeout_s=self._timeouts.connect_s)

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self._remote.kept.get(fresh=fresh)

    async def check(self) -> str:
        version = await self._remote.get("/api/version", Version)
        if full_name(self._model) not in map(full_name, await self._remote.names()):
            raise await self._remote.missing()
        served = await self.served(fresh=True)
        return (
            f"{self._name} {version.version} has {served.name}, "
            f"context window {served.context_window}."
        )

    def _forget(self) -> None:
        self._remote.kept.forget()

    async def _explained(self, error: ModelNotServed) -> ModelNotServed:
        return await self._remote.missing()

    async def _streamed(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[TextDelta | ReasoningDelta | Completion, None]:
        answer = Answer(self._name)
        async with aclosing(self._answered(messages, sampling, answer)) as events:
            async for event in events:
                yield event
        if answer.finish_reason in {"stop", "length"} and answer.usage is not None:
            await self._remote.prove_whole(messages, sampling, answer.usage, self._usage_only)
            await self._refuse_if_cut_by_window(messages, sampling, answer)
        yield answer.completion()

    async def _answered(
        self, messages: Sequence[Message], sampling: Sampling, answer: Answer
    ) -> AsyncGenerator[TextDelta | ReasoningDelta, None]:
        """The deltas of the answer, which is filled by the way."""
        deadline = now() + self._timeouts.first_token_s
        late = self._too_slow("first token")
        with dependency_errors(self._name):
            async with self._opened(messages, sampling, deadline, late) as lines:
                while not answer.done:
                    line = await within(anext(lines, None), deadline, late)
                    answer.done = line is None
                    for new in await self._take(line, answer, messages):
                        yield new
                    if answer.begun and line:
                        deadline = now() + self._timeouts.between_tokens_s
                        late = self._too_slow("next token")
        for new in answer.rest():
            yield new

    async def _usage_only(self, messages: Sequence[Message], sampling: Sampling) -> Usage:
        answer = Answer(self._name)
        async with aclosing(self._answered(messages, sampling, answer)) as events:
            async for _ in events:
                pass
        if answer.usage is None:
            raise self._error("ended its answer early.")
        return answer.usage

    async def _take(
        self, content: bytes | None, answer: Answer, messages: Sequence[Message]
    ) -> list[TextDelta | ReasoningDelta]:
        if not content or not content.strip():
            return []
        line: Line = read_line(self._name, content)
        if line.error is not None:
            raise await self._refusal(None, content, messages)
        answer.done = bool(line.done)
        return answer.add(line.as_event())

    @asynccontextmanager
    async def _opened(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        deadline: float,
        late: DependencyTimeout,
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The lines of a streamed answer. Leaving closes the connection, which is what makes
        the server stop."""
        request = self._endpoint.client.build_request(
            "POST",
            self._endpoint.url("/api/chat"),
            json=chat_body(
                self._model, messages, sampling, window=self._window, keep_alive=self._keep_alive
            ),
            headers=self._endpoint.headers,
            # Reading has deadlines of its own; loading the model is part of the first one.
            timeout=httpx.Timeout(self._timeouts.connect_s, read=None),
        )
        response = await within(self._endpoint.client.send(request, stream=True), deadline, late)
        try:
            if not response.is_success:
                content = await within(response.aread(), deadline, late)
                raise await self._refusal(response, content, messages)
            if "json" not in response.headers.get("content-type", ""):
                raise self._error("did not stream its answer. Check its URL.")
            async with aclosing(_lines(response)) as lines:
                yield lines
        finally:
            await response.aclose()

    async def _refusal(
        self, response: httpx.Response | None, content: bytes, messages: Sequence[Message]
    ) -> RagError:
        words = error_words(content)
        needed = (await self._remote.bounds(messages)).most if "context" in words else 0
        return ollama_refusal(
            self._name, self._model, response, words, needed=needed, window=self._window
        )

    async def _refuse_if_cut_by_window(
        self, messages: Sequence[Message], sampling: Sampling, answer: Answer
    ) -> None:
        """It starts an answer although prompt and ``max_tokens`` do not fit."""
        usage = answer.usage
        if answer.finish_reason != "length" or usage is None:
            return
        if usage.completion_tokens < sampling.max_tokens:
            window = (await self.served(fresh=True)).context_window
            prompt = max(usage.prompt_tokens, (await self._remote.bounds(messages)).least)
            if prompt + sampling.max_tokens > window:
                needed = prompt + sampling.max_tokens
                raise ContextOverflow(needed_tokens=needed, window_tokens=window)


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Split at ``\\n`` only: an answer may hold other characters that end a line elsewhere."""
    held = b""
    async for chunk in response.aiter_bytes():
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            yield line
    yield held

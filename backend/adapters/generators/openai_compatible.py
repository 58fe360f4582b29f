"""vLLM and llama.cpp: servers that speak the OpenAI chat protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import httpx
from pydantic import ValidationError

from backend.adapters._http import Endpoint, dependency_errors, within
from backend.adapters._streams import now
from backend.adapters.generators._answers import Answer, ChatEvent
from backend.adapters.generators._refusals import refusal
from backend.adapters.generators._requests import Dialect, chat_request
from backend.adapters.generators._served import ServedModelReader
from backend.adapters.generators._streamed import ModelTimeouts, StreamedGenerator
from backend.adapters.generators._thinking import ThinkSplitter
from backend.core.errors import (
    ContextOverflow,
    DependencyTimeout,
    ModelNotServed,
)
from backend.core.models import ReasoningSwitch
from backend.core.sse import EventReader, ServerSentEvent
from backend.core.types import (
    Completion,
    Message,
    ReasoningDelta,
    Sampling,
    ServedModel,
    TextDelta,
)


class OpenAICompatibleGenerator(StreamedGenerator):
    """``dialect`` is whose names are used where they differ. ``reasoning_switch`` is how the
    model is told to reason or not, and ``think_opened`` that its template begins the reasoning
    itself, for servers that leave it in the text. ``extra_body`` is added to every request:
    what a server knows beyond the protocol (``grammar``, ``structured_outputs``)."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        timeouts: ModelTimeouts | None = None,
        dialect: Dialect = "vllm",
        reasoning_switch: ReasoningSwitch = "enable_thinking",
        think_opened: bool = False,
        extra_body: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(endpoint, model, timeouts)
        self._dialect: Dialect = dialect
        self._switch: ReasoningSwitch = reasoning_switch
        self._think_opened = think_opened
        self._extra_body = dict(extra_body or {})
        self._reader = ServedModelReader(endpoint, model, timeout_s=self._timeouts.connect_s)

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self._reader.kept.get(fresh=fresh)

    async def check(self) -> str:
        with dependency_errors(self._name):
            health = await self._endpoint.client.get(
                self._endpoint.url("/health"), timeout=self._timeouts.connect_s
            )
        if health.status_code != httpx.codes.NOT_FOUND:  # a proxy may pass /v1 on and nothing else
            self._refuse(health)
        served = await self.served(fresh=True)
        return f"{self._name} serves {served.name}, context window {served.context_window}."

    def _forget(self) -> None:
        self._reader.kept.forget()

    async def _explained(self, error: ModelNotServed) -> ModelNotServed:
        return await self._reader.explained(error)

    async def _streamed(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[TextDelta | ReasoningDelta | Completion, None]:
        answer, reader = Answer(self._name, ThinkSplitter(opened=self._think_opened)), EventReader()
        deadline = now() + self._timeouts.first_token_s
        late = self._too_slow("first token")
        with dependency_errors(self._name):
            async with self._opened(self._payload(messages, sampling), deadline, late) as chunks:
                while not answer.done:
                    chunk = await within(anext(chunks, None), deadline, late)
                    answer.done = chunk is None
                    for event in reader.feed(chunk or b""):
                        for new in self._take(event, answer):
                            yield new
                        if answer.begun:
                            deadline = now() + self._timeouts.between_tokens_s
                            late = self._too_slow("next token")
        for new in answer.rest():
            yield new
        await self._refuse_if_cut_by_window(answer, sampling)
        yield answer.completion()

    def _payload(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, object]:
        return chat_request(
            self._model,
            messages,
            sampling,
            dialect=self._dialect,
            switch=self._switch,
            extra=self._extra_body,
        )

    def _chat_request(self, payload: dict[str, object]) -> httpx.Request:
        return self._endpoint.client.build_request(
            "POST",
            self._endpoint.url("/v1/chat/completions"),
            json=payload,
            headers=self._endpoint.headers,
            # Reading has deadlines of its own: the pings a server sends while it reads a
            # prompt must not count as tokens.
            timeout=httpx.Timeout(self._timeouts.connect_s, read=None),
        )

    @asynccontextmanager
    async def _opened(
        self, payload: dict[str, object], deadline: float, late: DependencyTimeout
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The bytes of a streamed answer. Leaving closes the connection, which is what makes
        the server stop."""
        sending = self._endpoint.client.send(self._chat_request(payload), stream=True)
        response = await within(sending, deadline, late)
        try:
            if not response.is_success:
                await within(response.aread(), deadline, late)
                self._refuse(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._error("did not stream its answer. Check its URL.")
            async with aclosing(_bytes(response)) as chunks:
                yield chunks
        finally:
            await response.aclose()

    def _take(self, event: ServerSentEvent, answer: Answer) -> list[TextDelta | ReasoningDelta]:
        if event.data == "[DONE]":
            answer.done = True
            return []
        try:
            body = ChatEvent.model_validate_json(event.data)
        except ValidationError as error:
            raise self._error("sent an event that is not its protocol.") from error
        if body.error is not None or event.event == "error":
            raise refusal(self._name, self._model, httpx.codes.OK, event.data)
        return answer.add(body)

    async def _refuse_if_cut_by_window(self, answer: Answer, sampling: Sampling) -> None:
        """llama.cpp starts an answer although prompt and ``max_tokens`` do not fit, and so does
        vLLM where each of the two would fit alone."""
        usage = answer.usage
        if answer.finish_reason != "length" or usage is None:
            return
        if usage.completion_tokens < sampling.max_tokens:
            needed = usage.prompt_tokens + sampling.max_tokens
            window = (await self.served(fresh=True)).context_window
            if needed > window:
                raise ContextOverflow(needed_tokens=needed, window_tokens=window)

    def _refuse(self, response: httpx.Response) -> None:
        if not response.is_success:
            raise refusal(self._name, self._model, response.status_code, response.content)


async def _bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_bytes():
        yield chunk

"""vLLM and llama.cpp: servers that speak the OpenAI chat protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from types import MappingProxyType

import httpx
from pydantic import BaseModel, ValidationError

from backend.adapters._http import Endpoint, Shape, dependency_errors, read_json, within
from backend.adapters.generators._answers import Answer, ChatEvent
from backend.adapters.generators._refusals import refusal
from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    DependencyRejected,
    DependencyTimeout,
)
from backend.core.sse import EventReader, ServerSentEvent
from backend.core.types import Completion, Message, Sampling, TextDelta

# llama.cpp notices that a client has left only while it writes to it. This makes it write while
# it reads a prompt, which takes most of the time on a CPU. Other servers may refuse the field.
LLAMACPP_BODY: Mapping[str, object] = MappingProxyType({"return_progress": True})


@dataclass(frozen=True, slots=True)
class ModelTimeouts:
    """Seconds. ``first_token_s`` covers the server's queue and its reading of the prompt,
    ``answer_s`` is for who waits for the whole answer."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    between_tokens_s: float = 30.0
    answer_s: float = 300.0


class _ServedModel(BaseModel):
    id: str
    owned_by: str = ""
    max_model_len: int | None = None


class _ModelList(BaseModel):
    data: list[_ServedModel]


class _Props(BaseModel):
    class Settings(BaseModel):
        n_ctx: int

    default_generation_settings: Settings


class OpenAICompatibleGenerator:
    """``extra_body`` is added to every request: what a server knows beyond the protocol
    (``LLAMACPP_BODY``, ``grammar``, ``chat_template_kwargs``)."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        timeouts: ModelTimeouts | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeouts = timeouts or ModelTimeouts()
        self._extra_body = dict(extra_body or {})
        self._window: int | None = None

    @property
    def model(self) -> str:
        return self._model

    async def context_window(self) -> int:
        if self._window is None:
            self._window = await self._ask_for_window(await self._served_model())
        return self._window

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        # Streamed all the same: llama.cpp notices that a client has left only while it writes,
        # so a cancelled answer that is not streamed would keep its slot to the end.
        deadline = _now() + self._timeouts.answer_s
        async with aclosing(self.stream(messages, sampling)) as events:
            return await within(_last(events), deadline, self._too_slow("whole answer"))

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[TextDelta | Completion, None]:
        answer, reader = Answer(self._name), EventReader()
        deadline = _now() + self._timeouts.first_token_s
        late = self._too_slow("first token")
        with dependency_errors(self._name):
            async with self._opened(self._payload(messages, sampling), deadline, late) as chunks:
                while not answer.done:
                    chunk = await within(anext(chunks, None), deadline, late)
                    answer.done = chunk is None
                    for event in reader.feed(chunk or b""):
                        if text := self._take(event, answer):
                            yield TextDelta(text)
                        if answer.begun:
                            deadline = _now() + self._timeouts.between_tokens_s
                            late = self._too_slow("next token")
        yield await self._whole(answer.completion(), sampling)

    async def check(self) -> str:
        with dependency_errors(self._name):
            health = await self._endpoint.client.get(
                self._endpoint.url("/health"), timeout=self._timeouts.connect_s
            )
        if health.status_code != httpx.codes.NOT_FOUND:  # a proxy may pass /v1 on and nothing else
            self._refuse(health)
        served = await self._served_model()
        return f"{self._name} serves {served.id}, context window {await self.context_window()}."

    @property
    def _name(self) -> str:
        return self._endpoint.name

    def _payload(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, object]:
        payload: dict[str, object] = {
            "model": self._model,
            "messages": [asdict(message) for message in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.stop:
            payload["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            payload["seed"] = sampling.seed
        return payload | self._extra_body

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

    def _take(self, event: ServerSentEvent, answer: Answer) -> str:
        if event.data == "[DONE]":
            answer.done = True
            return ""
        try:
            body = ChatEvent.model_validate_json(event.data)
        except ValidationError as error:
            raise self._error("sent an event that is not its protocol.") from error
        if body.error is not None or event.event == "error":
            raise refusal(self._name, self._model, httpx.codes.OK, event.data)
        return answer.add(body)

    async def _whole(self, completion: Completion, sampling: Sampling) -> Completion:
        """Refuse an answer that the window cut short: llama.cpp starts it although prompt and
        ``max_tokens`` do not fit, where vLLM says no beforehand."""
        usage = completion.usage
        if completion.finish_reason == "length" and usage.completion_tokens < sampling.max_tokens:
            needed, window = usage.prompt_tokens + sampling.max_tokens, await self.context_window()
            if needed > window:
                raise ContextOverflow(needed_tokens=needed, window_tokens=window)
        return completion

    async def _served_model(self) -> _ServedModel:
        """The entry of our model in the server's list.

        Raises:
            DependencyRejected: the server has other models only. llama.cpp has one model and
                answers to any name, so there the one it has is ours.
        """
        served = (await self._get("/v1/models", _ModelList)).data
        for entry in served:
            if entry.id == self._model or entry.owned_by == "llamacpp":
                return entry
        names = ", ".join(entry.id for entry in served) or "no model"
        raise DependencyRejected(
            f"{self._name} does not serve the model {self._model!r}. It serves: {names}.",
            dependency=self._name,
        )

    async def _ask_for_window(self, served: _ServedModel) -> int:
        if served.max_model_len is not None:
            return served.max_model_len
        if served.owned_by == "llamacpp":
            # /v1/models tells the window of all slots together; a request has one slot.
            return (await self._get("/props", _Props)).default_generation_settings.n_ctx
        raise self._error("does not say how long its context window is.")

    async def _get(self, path: str, shape: type[Shape]) -> Shape:
        with dependency_errors(self._name):
            response = await self._endpoint.client.get(
                self._endpoint.url(path),
                headers=self._endpoint.headers,
                timeout=self._timeouts.connect_s,
            )
        self._refuse(response)
        return read_json(response, shape, self._name)

    def _refuse(self, response: httpx.Response) -> None:
        if not response.is_success:
            raise refusal(self._name, self._model, response.status_code, response.content)

    def _error(self, what: str) -> DependencyError:
        return DependencyError(f"{self._name} {what}", dependency=self._name)

    def _too_slow(self, what: str) -> DependencyTimeout:
        return DependencyTimeout(
            f"{self._name} sent no {what} in time. If it needs longer, raise LLM_TIMEOUT.",
            dependency=self._name,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_bytes():
        yield chunk


async def _last(events: AsyncGenerator[TextDelta | Completion, None]) -> Completion:
    async for event in events:
        if isinstance(event, Completion):
            return event
    raise RuntimeError("the stream ended without its completion")

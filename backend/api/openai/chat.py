"""``/v1/chat/completions`` answered by ourselves: through a ``Generator`` whose server must not
be sent OpenAI requests (Ollama's own ``/v1`` cuts prompts in silence), or from a space."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import uuid4

from backend.api.openai.schemas import messages_of, read_chat, sampling_of
from backend.core.ports import Generator
from backend.core.types import (
    Completion,
    FinishReason,
    Queued,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TokenUsage,
)

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an answer. ``message`` is added to the message (or last delta), ``extra`` to
    the object around it."""

    finish_reason: FinishReason
    usage: TokenUsage
    message: JsonObject = field(default_factory=dict)
    extra: JsonObject = field(default_factory=dict)


ReplyEvent = Queued | TextDelta | ReasoningDelta | Ended


@dataclass(slots=True)
class Reply:
    """Events, exactly one ``Ended`` last, in OpenAI's shape: whole, or as Server-Sent Events."""

    model: str
    stream: bool
    include_usage: bool
    events: AsyncGenerator[ReplyEvent, None]
    identity: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> JsonObject:
        text, reasoning, ended = "", "", None
        async with aclosing(self.events) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    text += event.text
                elif isinstance(event, ReasoningDelta):
                    reasoning += event.text
                elif isinstance(event, Ended):
                    ended = event
        if ended is None:
            raise RuntimeError("an answer had no end")
        message: JsonObject = {"role": "assistant", "content": text}
        if reasoning:
            message["reasoning_content"] = reasoning
        choice = {
            "index": 0,
            "message": message | ended.message,
            "logprobs": None,
            "finish_reason": ended.finish_reason,
        }
        shell = self._shell("chat.completion", choices=[choice], usage=_usage(ended.usage))
        return shell | ended.extra

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        role_said = False
        async with aclosing(self.events) as events:
            async for event in events:
                if isinstance(event, Queued):
                    yield f": queued {event.position}\n\n".encode()
                    continue
                if not role_said:
                    role_said = True
                    yield self._delta({"role": "assistant", "content": ""})
                if isinstance(event, TextDelta):
                    yield self._delta({"content": event.text})
                elif isinstance(event, ReasoningDelta):
                    yield self._delta({"reasoning_content": event.text})
                else:
                    yield self._delta(event.message, event.finish_reason, event.extra)
                    if self.include_usage:
                        yield _event(self._chunk(choices=[], usage=_usage(event.usage)))
        yield b"data: [DONE]\n\n"

    def _delta(
        self,
        delta: JsonObject,
        finish_reason: FinishReason | None = None,
        extra: JsonObject | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        # OpenAI: with include_usage every chunk has the field, and it is null in all but one.
        usage: JsonObject = {"usage": None} if self.include_usage else {}
        return _event(self._chunk(choices=[choice], **usage) | (extra or {}))

    def _chunk(self, **content: object) -> JsonObject:
        return self._shell("chat.completion.chunk", **content)

    def _shell(self, kind: str, **content: object) -> JsonObject:
        return {
            "id": self.identity,
            "object": kind,
            "created": self.created,
            "model": self.model,
            **content,
        }


def complete_chat(
    generator: Generator, fields: JsonObject, defaults: Sampling, model: str
) -> Reply:
    """The request ``fields`` through the ``Generator`` port.

    Raises:
        BadParameter: a field is wrong or cannot be translated (tools, images, ``n``, logprobs).
    """
    body = read_chat(fields)
    sampling = sampling_of(body, defaults)
    events = generator.stream(messages_of(body), sampling)
    return Reply(model, bool(body.stream), body.include_usage, _generated(events))


async def _generated(events: AsyncIterator[object]) -> AsyncGenerator[ReplyEvent, None]:
    async with aclosing(events) as source:  # type: ignore[type-var]
        async for event in source:
            if isinstance(event, Completion):
                yield Ended(event.finish_reason, event.usage)
            elif isinstance(event, Queued | TextDelta | ReasoningDelta):
                yield event


def _usage(usage: TokenUsage) -> JsonObject:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _event(content: JsonObject) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"

"""A chat model that says what the test wrote down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backend.core.errors import ContextOverflow, RagError
from backend.core.types import (
    Completion,
    FinishReason,
    GeneratorEvent,
    Message,
    ReasoningDelta,
    ReasoningMode,
    Sampling,
    ServedModel,
    TextDelta,
    TokenCount,
    TokenUsage,
)


@dataclass(frozen=True, slots=True)
class Call:
    messages: tuple[Message, ...]
    sampling: Sampling


class ScriptedGenerator:
    """Gives ``answers`` in turn, the last one for ever after, each after the same ``reasoning``;
    a token is a word.

    ``error`` is raised instead of an answer, in a stream after ``deltas_before_error`` deltas.
    ``hangs`` makes it say its deltas and then wait for ever, until it is cancelled or closed;
    ``running`` counts answers under way, so a test sees that the model was stopped.
    """

    def __init__(
        self,
        *answers: str,
        finish_reason: FinishReason = "stop",
        window: int = 4096,
        error: RagError | None = None,
        deltas_before_error: int = 0,
        hangs: bool = False,
        reasoning: str = "",
    ) -> None:
        self.reasoning = reasoning
        self.answers = list(answers) or ["An answer [1]."]
        self.finish_reason: FinishReason = finish_reason
        self.window = window
        self.error = error
        self.deltas_before_error = deltas_before_error
        self.hangs = hangs
        self.calls: list[Call] = []
        self.running = 0
        self.started = asyncio.Event()

    @property
    def model(self) -> str:
        return "scripted"

    @property
    def prompts(self) -> list[str]:
        """What was asked, as one text per call."""
        return ["\n".join(message.content for message in call.messages) for call in self.calls]

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return ServedModel(self.model, self.window, "the script")

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        async with aclosing(self.stream(messages, sampling)) as events:
            async for event in events:
                if isinstance(event, Completion):
                    return event
        raise AssertionError("the stream had no completion")

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        text = self.answers[min(len(self.calls), len(self.answers) - 1)]
        self.calls.append(Call(tuple(messages), sampling))
        usage = self._usage(messages, sampling, text)
        self.running += 1
        self.started.set()
        try:
            for word in _words(self.reasoning):
                yield ReasoningDelta(word)
                await asyncio.sleep(0)
            for index, word in enumerate(_words(text)):
                if self.error is not None and index >= self.deltas_before_error:
                    break
                yield TextDelta(word)
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            self.running -= 1
        yield Completion(text, self.finish_reason, usage, self.reasoning)

    async def check(self) -> str:
        if self.error is not None:
            raise self.error
        return "scripted answers"

    def _usage(self, messages: Sequence[Message], sampling: Sampling, text: str) -> TokenUsage:
        prompt = sum(len(message.content.split()) for message in messages)
        if prompt + sampling.max_tokens > self.window:
            raise ContextOverflow(
                needed_tokens=prompt + sampling.max_tokens, window_tokens=self.window
            )
        return TokenUsage(prompt, len(self.reasoning.split()) + len(text.split()))


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


class WordCounter:
    """The token counter that belongs to ``ScriptedGenerator``."""

    async def count(self, text: str) -> TokenCount:
        return TokenCount(len(text.split()))

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        return TokenCount(sum(len(message.content.split()) for message in messages))

    def learn(self, counted: TokenCount, reported: int) -> None:
        """It counts as its generator does, so there is nothing to learn."""

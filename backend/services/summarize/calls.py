"""One usable text of the model: asked for, waited for, checked, asked for again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    Overloaded,
    PromptTruncated,
    ReasoningSpentAll,
    UnusableCompletion,
)
from backend.core.summaries import FinishedPart, Stage, SummaryEvent
from backend.core.types import (
    Completion,
    FinishReason,
    Message,
    Queued,
    ReasoningDelta,
    ReasoningMode,
    Sampling,
    TextDelta,
    TokenCount,
    TokenUsage,
)
from backend.services.chat_model import ChatModel, compare_counts
from backend.services.gate import Yielded
from backend.services.summarize.counting import PromptCounts, sha256_of
from backend.services.summarize.pace import Pace, Timed
from backend.services.summarize.ports import Judges
from backend.services.summarize.room import LEAST_ANSWER, Room
from backend.services.summarize.together import Lanes
from backend.telemetry.events import expect_prompt_tokens

log = logging.getLogger(__name__)

_TRIES = 3
_WARMER = 0.15  # temperature that each further try adds
_LARGER = 2.0  # the room for an answer after one that was cut
_WORTH_IT = 1.25  # times the room that was too small: with less, the same would happen
_SHORTER = 0.6  # of the words, after an answer that was cut or too long
_GAVE_WAY_S = 0.05
_PATIENCE_S = (
    300.0  # of somebody who waits, with a server that is full; background work has all day
)

IfCut = Literal["shorten", "split", "raise"]
Keep = Callable[[FinishedPart], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ask:
    """``build(words, again)`` makes the messages; ``answer`` is the room for the text in tokens.

    ``if_cut``: after an answer that was cut a shorter one is asked for, or it is an error, at once
    ("raise") or the second time ("split"), when a shorter one was given more room.
    ``longest``: characters the text may have, whatever the model says of its tokens.
    ``urgent``: before the calls that wait.
    """

    stage: Stage
    level: int
    index: int
    build: Callable[[int, bool], list[Message]]
    words: int
    answer: int
    check: Callable[[str, FinishReason], Awaitable[object]]
    if_cut: IfCut = "shorten"
    longest: int | None = None
    json_schema: str | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class _Try:
    words: int
    answer: int
    number: int = 0
    server_failures: int = 0

    def may_take(self, available: int) -> int | None:
        """More room for the answer, where there is enough more to be of use."""
        larger = min(int(self.answer * _LARGER), available)
        return larger if larger >= self.answer * _WORTH_IT else None


@dataclass(slots=True)
class Spent:
    """What the calls of a run took, kept ones included."""

    prompt: int = 0
    completion: int = 0

    def add(self, usage: TokenUsage) -> None:
        self.prompt += usage.prompt_tokens
        self.completion += usage.completion_tokens


@dataclass(frozen=True, slots=True)
class Means:
    """What a run makes its calls with. ``background`` is asked before each call."""

    chat: ChatModel
    counts: PromptCounts
    lanes: Lanes
    pace: Pace
    judges: Judges
    emit: Callable[[SummaryEvent], None]
    background: Callable[[], bool]
    keep: Keep | None
    key_id: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    spent: Spent = field(default_factory=Spent)


class Caller:
    """``finished`` are calls made before: the same prompt is not sent twice."""

    def __init__(self, means: Means, finished: Sequence[FinishedPart], room: Room) -> None:
        self._means = means
        self._finished = {part.input_sha256: part for part in finished}
        self._position = 0
        self._overflow: ContextOverflow | None = None
        self._room = room

    @property
    def room(self) -> Room:
        return self._room

    def resize(self, room: Room) -> None:
        """Go on with another window."""
        self._room, self._overflow = room, None

    async def answer(self, ask: Ask) -> FinishedPart:
        """
        Raises:
            UnusableCompletion: no try gave a text that can be used.
            ContextOverflow: the server's window is smaller than it said.
            Overloaded: the server stayed full, and somebody waits for the answer.
            DependencyError: the server failed, and failed again.
        """
        messages = ask.build(ask.words, False)
        sha256 = sha256_of(messages)
        kept = self._finished.get(sha256)
        if kept is not None:
            self._means.spent.add(kept.usage)
            self._means.pace.skipped(ask)
            return kept
        completion = await self._until_usable(ask)
        part = FinishedPart(
            self._means.key_id,
            ask.stage,
            ask.level,
            ask.index,
            sha256,
            completion.text.strip(),
            completion.usage,
        )
        self._finished[sha256] = part
        if self._means.keep is not None:
            await self._means.keep(part)
        return part

    async def _until_usable(self, ask: Ask) -> Completion:
        attempt = _Try(ask.words, ask.answer)
        waited = 0.0
        while True:
            messages = ask.build(attempt.words, attempt.number > 0)
            counted = await self._means.counts.prompt(messages)
            available = self._available(counted)
            try:
                completion = await self._once(ask, attempt, messages, counted)
                await self._check(ask, attempt, completion)
                return completion
            except ContextOverflow as error:
                self._overflow = error
                raise
            except Yielded:
                await self._means.sleep(_GAVE_WAY_S)
            except Overloaded as error:
                waited += error.retry_after_s
                if waited > _PATIENCE_S and not self._means.background():
                    raise
                await self._means.sleep(error.retry_after_s)
            except DependencyError as error:
                log.warning(
                    "a text of the model cannot be used: %s",
                    error,
                    extra={"stage": ask.stage, "index": ask.index, "attempt": attempt.number + 1},
                )
                attempt = _next(ask, attempt, available, error)

    async def _once(
        self, ask: Ask, attempt: _Try, messages: list[Message], counted: TokenCount
    ) -> Completion:
        most = min(self._available(counted), attempt.answer) + self._room.thinking
        sampling = self._sampling(ask, attempt, most)
        # A lane for the call alone: counting and checking leave it to the next one.
        async with self._means.lanes.lane(urgent=ask.urgent or attempt.number > 0):
            if self._overflow is not None:  # the calls that waited would be refused as well
                raise self._overflow
            with self._means.pace.call(ask, counted.tokens) as timed:
                completion = await self._complete(messages, sampling, counted, timed)
                timed.ended(completion.usage)
        self._means.spent.add(completion.usage)
        compare_counts(self._means.chat, counted, completion.usage.prompt_tokens)
        return completion

    def _available(self, counted: TokenCount) -> int:
        """For the answer. Raises ``ContextOverflow`` where that is too little for a sentence."""
        available = self._room.prompt(counted.tokens)
        if available < LEAST_ANSWER:
            needed = self._room.window + LEAST_ANSWER - available
            raise ContextOverflow(needed_tokens=needed, window_tokens=self._room.window)
        return available

    def _sampling(self, ask: Ask, attempt: _Try, max_tokens: int) -> Sampling:
        usual = self._means.chat.sampling
        return replace(
            usual,
            max_tokens=max_tokens,
            temperature=usual.temperature + _WARMER * attempt.number,
            seed=(usual.seed or 0) + attempt.number if attempt.number else usual.seed,
            json_schema=ask.json_schema,
            reasoning=self._means.counts.reasoning,
        )

    async def _complete(
        self, messages: list[Message], sampling: Sampling, counted: TokenCount, timed: Timed
    ) -> Completion:
        chat = self._means.chat
        with expect_prompt_tokens(counted.tokens):
            if self._means.background():
                return await chat.background.complete(messages, sampling)
            async with aclosing(chat.generator.stream(messages, sampling)) as events:
                async for event in events:
                    if isinstance(event, Completion):
                        return event
                    if isinstance(event, Queued):
                        self._queued(event)
                    elif isinstance(event, TextDelta | ReasoningDelta):
                        self._means.pace.wrote(timed, event.text)
        raise RuntimeError("the stream ended without its completion")

    def _queued(self, event: Queued) -> None:
        """Many calls wait at once; only getting nearer is news."""
        if not self._position or event.position < self._position:
            self._position = event.position
            self._means.emit(event)

    async def _check(self, ask: Ask, attempt: _Try, completion: Completion) -> None:
        if completion.finish_reason == "length":
            raise self._unusable(f"The text was cut at {attempt.answer} tokens.", "cut")
        if ask.longest is not None and len(completion.text.strip()) > ask.longest:
            raise self._unusable("The summary is longer than what it summarizes.", "format")
        if (
            ask.if_cut == "shorten"
            and completion.usage.completion_tokens > ask.answer + self._room.thinking
            and await self._means.counts.text(completion.text) > ask.answer
        ):
            raise self._unusable(f"The text is longer than {ask.answer} tokens.", "format")
        await ask.check(completion.text, completion.finish_reason)

    def _unusable(self, message: str, reason: str) -> UnusableCompletion:
        return UnusableCompletion(message, dependency=self._means.chat.provider, reason=reason)


def is_cut(error: DependencyError) -> bool:
    if isinstance(error, UnusableCompletion):
        return error.reason == "cut"
    return isinstance(error, ReasoningSpentAll)


def _next(ask: Ask, attempt: _Try, available: int, error: DependencyError) -> _Try:
    """How to ask again. Raises ``error`` where there is no point in it."""
    number = attempt.number + 1
    if ask.if_cut != "shorten" and is_cut(error):
        if ask.if_cut == "raise" or number > 1:
            raise error
        answer = attempt.may_take(available) or attempt.answer
        return replace(attempt, number=number, answer=answer, words=_shorter(attempt.words))
    if isinstance(error, UnusableCompletion | ReasoningSpentAll):
        if number >= _TRIES:
            raise error
        return replace(attempt, number=number, words=_shorter(attempt.words))
    if attempt.server_failures or isinstance(error, PromptTruncated):
        raise error
    return replace(attempt, server_failures=1)


def _shorter(words: int) -> int:
    return max(1, int(words * _SHORTER))


def reasoning_for(chat: ChatModel) -> ReasoningMode:
    """Reasoning about every part takes longer than writing: only where the operator wants it."""
    return "on" if chat.sampling.reasoning == "on" else "off"

"""What was retrieved, in as few words as the question allows, each statement with the number of
the chunk it is taken from.

Chunks are read in groups that fit the window, several at once. What the model writes is held
against the chunks it cites before anything is made of it: an invention ends here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.core.errors import (
    DependencyDown,
    DependencyError,
    Overloaded,
    PromptTruncated,
    SummaryPartFailed,
    UnusableCompletion,
)
from backend.core.language import AnswerLanguage
from backend.core.prompts import NumberedSource, numbered_sources
from backend.core.types import ScoredChunk
from backend.services.answers import Compressing
from backend.services.chat_model import ChatModel, compare_counts
from backend.services.compress_check import Noted, StatementChecker
from backend.services.compress_groups import Group, Grouper, halves
from backend.services.prompt_fitting import FittedPrompt
from backend.services.summarize.together import Lanes, together, told
from backend.telemetry.events import expect_prompt_tokens

_MOST_LEVELS = 4
_MOST_SPLITS = 3  # of a group whose compression was cut: into eighths, then it is an error
_WARMER = 0.15  # temperature of the second try
_LONGEST_WAIT_S = 30


@dataclass(frozen=True, slots=True)
class Compressed:
    """``prompt`` asks for the answer; None where nothing bears on the question. ``relevant`` counts
    the chunks it has statements of, ``irrelevant`` are those that nothing was noted of, and
    ``dropped`` the statements that no chunk holds."""

    prompt: FittedPrompt | None
    relevant: int
    irrelevant: tuple[ScoredChunk, ...]
    dropped: tuple[str, ...]


class Compressor:
    def __init__(self, chat: ChatModel, checker: StatementChecker) -> None:
        self._chat = chat
        self._checker = checker

    async def run(
        self, question: str, language: AnswerLanguage, found: Sequence[ScoredChunk]
    ) -> AsyncGenerator[Compressing | Compressed, None]:
        """Progress, then exactly one ``Compressed``. Closing the iterator stops every call, and
        returns when they have stopped.

        Raises:
            SummaryPartFailed: a group of chunks could not be compressed, twice.
            ContextOverflow: the window is too small.
            Overloaded: too many requests wait for the model.
            UnusableCompletion: what is compressed does not get short enough.
        """

        def compressed(
            emit: Callable[[Compressing | Compressed], None],
        ) -> Coroutine[None, None, Compressing | Compressed]:
            lanes = Lanes(self._chat.parallel)
            task = _Task(self._chat, self._checker, lanes, question, language, emit)
            return task.compressed(found)

        async with aclosing(told(compressed)) as events:
            async for event in events:
                yield event


@dataclass(slots=True)
class _Task:
    chat: ChatModel
    checker: StatementChecker
    lanes: Lanes
    question: str
    language: AnswerLanguage
    emit: Callable[[Compressing], None]
    done: int = 0
    total: int = 0

    async def compressed(self, found: Sequence[ScoredChunk]) -> Compressed:
        grouper = Grouper(self.chat, await self.chat.room(), self.question, self.language)
        originals = [scored.stored for scored in found]
        sources, mentioned, dropped = numbered_sources(originals), set[int](), list[str]()
        for level in range(_MOST_LEVELS):
            noted = await self._level(await grouper.groups(sources, again=level > 0), grouper)
            mentioned |= noted.mentioned
            dropped += noted.dropped
            shorter = noted.as_sources(originals)
            irrelevant = tuple(s for n, s in enumerate(found, 1) if n not in mentioned)
            if not shorter:
                return Compressed(None, 0, irrelevant, tuple(dropped))
            prompt = await self._fitted(shorter)
            if prompt is not None:
                prompt = replace(prompt, used=tuple(found))
                return Compressed(prompt, len(shorter), irrelevant, tuple(dropped))
            if _length(shorter) >= _length(sources):
                break
            sources = shorter
        raise self._unusable("What was retrieved could not be made short enough.", "format")

    async def _fitted(self, sources: Sequence[NumberedSource]) -> FittedPrompt | None:
        """The names of the documents give way before anything is compressed again."""
        prompt = await self.chat.fit_whole(self.question, sources, self.language)
        if prompt is not None:
            return prompt
        bare = [replace(source, bare=True) for source in sources]
        return await self.chat.fit_whole(self.question, bare, self.language)

    async def _level(self, groups: Sequence[Group], grouper: Grouper) -> Noted:
        self._more(len(groups))
        work = (
            self._one(group, grouper, part=part, parts=len(groups))
            for part, group in enumerate(groups, start=1)
        )
        return Noted.joined(await together(work))

    async def _one(self, group: Group, grouper: Grouper, *, part: int, parts: int) -> Noted:
        try:
            return await self._whole(group, grouper, splits=0)
        except DependencyDown:
            raise
        except DependencyError as error:
            numbers = [source.number for source in group.sources]
            raise SummaryPartFailed(
                f"Group {part} of {parts} of the retrieved chunks (sources {numbers[0]} to "
                f"{numbers[-1]}) could not be compressed: {error}",
                dependency=error.dependency,
                part=part,
                parts=parts,
                cause=error.code,
            ) from error

    async def _whole(self, group: Group, grouper: Grouper, *, splits: int) -> Noted:
        """A compression that was cut has lost something: then the halves of the group are made."""
        try:
            async with self.lanes.lane():
                noted = await self._noted(group)
        except UnusableCompletion as error:
            pieces = halves(group.sources)
            if error.reason != "cut" or splits == _MOST_SPLITS or len(pieces) < 2:
                raise
            self._more(len(pieces))
            smaller = [await grouper.group(piece) for piece in pieces]
            work = (self._whole(one, grouper, splits=splits + 1) for one in smaller)
            noted = Noted.joined(await together(work))
        self._one_done()
        return noted

    async def _noted(self, group: Group) -> Noted:
        """The second of two tries stands as it is: that nothing of it holds is told then."""
        try:
            noted = await self._try(group, 0)
            if noted.statements or not noted.dropped:
                return noted
        except Overloaded as busy:
            await asyncio.sleep(min(busy.retry_after_s, _LONGEST_WAIT_S))
        except (PromptTruncated, DependencyDown):
            raise
        except DependencyError as error:
            if isinstance(error, UnusableCompletion) and error.reason == "cut":
                raise
        return await self._try(group, 1)

    async def _try(self, group: Group, number: int) -> Noted:
        usual = self.chat.sampling
        sampling = replace(
            usual,
            max_tokens=group.max_tokens,
            temperature=usual.temperature + _WARMER * number,
            seed=(usual.seed or 0) + number if number else usual.seed,
            reasoning=group.reasoning,
        )
        with expect_prompt_tokens(group.counted.tokens):
            completion = await self.chat.generator.complete(group.messages, sampling)
        compare_counts(self.chat, group.counted, completion.usage.prompt_tokens)
        if completion.finish_reason == "length":
            raise self._unusable(f"The text was cut at {group.max_tokens} tokens.", "cut")
        if not completion.text.strip():
            raise self._unusable("The model wrote nothing.", "empty")
        return await self.checker.check(completion.text, self.question, group.sources)

    def _more(self, groups: int) -> None:
        self.total += groups
        self.emit(Compressing(self.done, self.total))

    def _one_done(self) -> None:
        self.done += 1
        self.emit(Compressing(self.done, self.total))

    def _unusable(self, message: str, reason: str) -> UnusableCompletion:
        return UnusableCompletion(message, dependency=self.chat.provider, reason=reason)


def _length(sources: Sequence[NumberedSource]) -> int:
    return sum(len(source.text) for source in sources)

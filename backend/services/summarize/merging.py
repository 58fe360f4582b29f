"""Summaries of parts to one summary, level by level.

Each level leaves at most half as many texts as it was given, since a group is at least two and
every text but the last is kept short enough for three to fit one prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import accumulate

from backend.core.errors import ContextOverflow, DependencyError, SummaryPartFailed
from backend.core.summaries import MergeStarted, SummaryEvent, SummaryProgress
from backend.core.types import FinishReason, Message
from backend.services.summarize.calls import Ask, Caller, Means
from backend.services.summarize.eta import Cost
from backend.services.summarize.pace import CallId, Pace
from backend.services.summarize.partials import Partial, merged
from backend.services.summarize.prompting import Prompting
from backend.services.summarize.room import LEAST_ANSWER, Overheads, Sizes
from backend.services.summarize.together import together

_SHORT_ANSWER = 4 * LEAST_ANSWER
_SHORTEST_MERGE = 600  # characters: two sentences in one may be a little longer than the two


class Merger:
    def __init__(self, caller: Caller, prompting: Prompting, means: Means) -> None:
        self._caller = caller
        self._prompting = prompting
        self._check = means.judges.check
        self._pace = means.pace
        self._counts = means.counts
        self._emit = means.emit
        self._provider = means.chat.provider
        self._parts = 0

    async def run(
        self, partials: Sequence[Partial], sizes: Sizes, overheads: Overheads
    ) -> tuple[Partial, int]:
        """The one that remains, and how many levels it took.

        Raises:
            SummaryPartFailed: a merge gave nothing that can be used.
            ContextOverflow: the window is smaller than the server said.
        """
        level = 0
        self._parts = partials[-1].parts[1] + 1
        left = list(partials)
        while level == 0 or len(left) > 1:
            level += 1
            groups = await self._groups(left, sizes, overheads)
            if len(groups) >= len(left) > 1:
                window = self._caller.room.window
                raise ContextOverflow(needed_tokens=window + 1, window_tokens=window)
            answer = self._answer(len(groups), sizes)
            self._emit(MergeStarted(level, len(left), len(groups)))
            self._plan(level, groups, answer, sizes, overheads)
            merging = _Level(self._emit, self._pace, level, len(groups))
            left = await together(
                self._merge(group, index, answer, sizes, merging)
                for index, group in enumerate(groups)
            )
        return left[0], level

    async def _merge(
        self,
        group: Sequence[Partial],
        index: int,
        answer: int,
        sizes: Sizes,
        merging: _Level,
    ) -> Partial:
        if len(group) == 1 and merging.total > 1:
            merging.progressed()
            return group[0]
        try:
            finished = await self._caller.answer(
                self._ask(group, (merging.level, index), answer, sizes, final=merging.total == 1)
            )
        except DependencyError as error:
            raise self._failed(group, error) from error
        merging.progressed()
        return merged(group, finished.text, max(1, finished.usage.completion_tokens))

    def _ask(
        self,
        group: Sequence[Partial],
        place: tuple[int, int],
        answer: int,
        sizes: Sizes,
        *,
        final: bool,
    ) -> Ask:
        """``place``: level and index. Asked for is a text that is not longer than its inputs;
        only where another level follows must it be, or the levels would not come to an end."""
        prompting = self._prompting
        excerpts = [partial.excerpt(prompting.document) for partial in group]

        def build(words: int, again: bool) -> list[Message]:
            return prompting.summary("merge", excerpts, words, again=again)

        source = "\n\n".join(partial.text for partial in group)
        room = _room_for(sum(partial.tokens for partial in group), answer)
        words = prompting.words(room, sizes.per_word)
        longest = None if final else max(_SHORTEST_MERGE, len(source))

        async def check(text: str, finish_reason: FinishReason) -> None:
            await asyncio.to_thread(
                self._check,
                text,
                of=source,
                language=prompting.language,
                finish_reason=finish_reason,
            )

        room = answer if final else room
        return Ask("merge", *place, build, words, room, check, longest=longest)

    def _answer(self, groups: int, sizes: Sizes) -> int:
        return self._caller.room.final if groups == 1 else sizes.shares.level_answer

    async def _groups(
        self, left: Sequence[Partial], sizes: Sizes, overheads: Overheads
    ) -> list[list[Partial]]:
        tokens = [partial.tokens + overheads.merge_input for partial in left]
        planned = [list(left[low:high]) for low, high in group_evenly(tokens, sizes.shares.merge)]
        fitting = await together(self._fitting(group, sizes) for group in planned)
        return [group for groups in fitting for group in groups]

    async def _fitting(self, group: list[Partial], sizes: Sizes) -> list[list[Partial]]:
        """The group itself, or halves of it, where its prompt is longer than it seemed."""
        room = self._caller.room
        excerpts = [partial.excerpt(self._prompting.document) for partial in group]
        words = self._prompting.words(room.final, sizes.per_word)
        prompt = self._prompting.summary("merge", excerpts, words)
        counted = await self._counts.prompt(prompt)
        if len(group) == 1 or counted.tokens + sizes.again <= room.prompt(room.final):
            return [group]
        middle = len(group) // 2
        low = await self._fitting(group[:middle], sizes)
        return low + await self._fitting(group[middle:], sizes)

    def _plan(
        self,
        level: int,
        groups: Sequence[Sequence[Partial]],
        answer: int,
        sizes: Sizes,
        overheads: Overheads,
    ) -> None:
        waiting: dict[CallId, Cost] = {
            ("merge", level, index): Cost(
                _prompt_tokens(group, overheads),
                _room_for(sum(partial.tokens for partial in group), answer),
            )
            for index, group in enumerate(groups)
        }
        final = self._caller.room.final

        def later(_: float, fill: float) -> Sequence[Sequence[Cost]]:
            if len(groups) == 1:
                return ()
            return forecast([answer * fill] * len(groups), sizes, overheads, final, fill=fill)

        self._pace.plan(waiting, later)

    def _failed(self, group: Sequence[Partial], error: DependencyError) -> SummaryPartFailed:
        first, last = group[0].parts[0] + 1, group[-1].parts[1] + 1
        return SummaryPartFailed(
            f"The summaries of parts {first} to {last} of {self._parts} of "
            f"{self._prompting.document.name} could not be merged: {error}",
            dependency=self._provider,
            part=first,
            parts=self._parts,
            cause=error.code,
        )


class _Level:
    def __init__(
        self, emit: Callable[[SummaryEvent], None], pace: Pace, level: int, total: int
    ) -> None:
        self._emit = emit
        self._pace = pace
        self._done = 0
        self.level = level
        self.total = total

    def progressed(self) -> None:
        self._done += 1
        eta = self._pace.eta()
        self._emit(SummaryProgress("merge", self.level, self._done, self.total, eta))


def group_evenly(tokens: Sequence[int | float], limit: float) -> list[tuple[int, int]]:
    """Neighbours, of about the same size together and at most ``limit``; two at least, since a
    group of one would never become shorter."""
    if len(tokens) < 2:
        return [(0, len(tokens))]
    sums = [0.0, *accumulate(tokens)]
    most = max(1, len(tokens) // 2)
    for count in range(1, most + 1):
        bounds = _even_bounds(sums, count)
        if all(sums[high] - sums[low] <= limit for low, high in bounds):
            return bounds
    return _even_bounds(sums, most)


def forecast(
    texts: Sequence[float], sizes: Sizes, overheads: Overheads, final: int, *, fill: float
) -> list[list[Cost]]:
    """The merge levels for texts of these lengths. The answers are the room for them, of which
    ``fill`` is the share that is used."""
    levels: list[list[Cost]] = []
    left = list(texts)
    while not levels or len(left) > 1:
        bounds = group_evenly([text + overheads.merge_input for text in left], sizes.shares.merge)
        answer = final if len(bounds) == 1 else sizes.shares.level_answer
        levels.append(
            [
                Cost(
                    overheads.merge + sum(left[low:high]) + overheads.merge_input * (high - low),
                    _room_for(sum(left[low:high]), answer),
                )
                for low, high in bounds
            ]
        )
        fuller = sum(left) / max(1, len(bounds))
        left = [min(answer * fill, fuller)] * len(bounds)
    return levels


def _room_for(inputs: float, answer: int) -> int:
    """For the text that inputs of so many tokens are merged into: not longer than they are."""
    return min(answer, max(_SHORT_ANSWER, round(inputs)))


def _even_bounds(sums: Sequence[float], count: int) -> list[tuple[int, int]]:
    bounds: list[tuple[int, int]] = []
    low, items = 0, len(sums) - 1
    for left in range(count, 1, -1):
        target = sums[low] + (sums[-1] - sums[low]) / left
        choices = range(low + 2, items - 2 * (left - 1) + 1)
        high = min(choices, key=lambda end: abs(sums[end] - target))
        bounds.append((low, high))
        low = high
    return [*bounds, (low, items)]


def _prompt_tokens(group: Sequence[Partial], overheads: Overheads) -> int:
    return overheads.merge + sum(partial.tokens + overheads.merge_input for partial in group)

"""How a run gets on: the calls it makes, timed, and what that says of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from backend.core.summaries import Eta, Stage
from backend.core.types import TokenUsage
from backend.services.summarize.eta import (
    Cost,
    Left,
    Observation,
    Running,
    Speed,
    estimate,
    likely,
    measure,
)
from backend.services.summarize.room import ASKED_OF_MERGE, ASKED_OF_PART
from backend.services.summarize.together import Lanes

_USUAL_FILL = 0.75  # of what was asked for
_ASKED = {"map": ASKED_OF_PART, "merge": ASKED_OF_MERGE, "structure": 0.5}
_REMEMBERED = 48  # calls
_TELLING = 8  # tokens of a call under way, before it tells something of the speed

CallId = tuple[Stage, int, int]
Levels = Callable[[float, float], Sequence[Sequence[Cost]]]  # given how full parts and merges are


class Known(Protocol):
    """The part of a call that its costs hang on. ``answer``: the room it has, in tokens."""

    @property
    def stage(self) -> Stage: ...
    @property
    def level(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def answer(self) -> int: ...


def _no_levels(part_fill: float, merge_fill: float) -> Sequence[Sequence[Cost]]:
    return ()


@dataclass(frozen=True, slots=True)
class Habit:
    """What is known from earlier runs: their last calls, and ``fill``, the share of its room an
    answer takes, by kind of call."""

    seen: tuple[Observation, ...] = ()
    fill: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Timed:
    """A call under way; ``cost.answer`` is the room for its answer. ``crowd`` is for how long, by
    then, how many calls had been under way."""

    kind: str
    cost: Cost
    since: float
    crowd: float
    chars: int = 0
    first: int = 0  # characters of the piece that ended the reading of the prompt
    writing_since: float | None = None
    usage: TokenUsage | None = None

    def wrote(self, text: str, now: float) -> None:
        if self.writing_since is None:
            self.writing_since, self.first = now, len(text)
        self.chars += len(text)

    def ended(self, usage: TokenUsage) -> None:
        self.usage = usage


class Pace:
    """``chars_per_token``: of the answers, as far as none is finished yet."""

    def __init__(
        self,
        lanes: Lanes,
        habit: Habit,
        *,
        chars_per_token: float = 3.0,
    ) -> None:
        self._lanes = lanes
        self._habit = habit
        self._clock = asyncio.get_running_loop().time
        self._seen: list[Observation] = []
        self._fills: dict[str, list[float]] = {}
        self._running: dict[int, Timed] = {}
        self._waiting: dict[CallId, Cost] = {}
        self._levels: Levels = _no_levels
        self._begun: set[CallId] = set()
        self._calls = 0
        self._crowd, self._crowd_since = 0.0, self._clock()
        self._chars, self._tokens = chars_per_token, 1.0

    def plan(
        self,
        waiting: Mapping[CallId, Cost],
        levels: Levels = _no_levels,
    ) -> None:
        """The calls of a stage, and the merge levels after it. The answers in the costs are the
        room for them."""
        self._waiting = dict(waiting)
        self._levels = levels

    def skipped(self, call: Known) -> None:
        """It was made in an earlier run."""
        self._waiting.pop((call.stage, call.level, call.index), None)

    @contextmanager
    def call(self, call: Known, prompt_tokens: int) -> Iterator[Timed]:
        self.skipped(call)
        self._begun.add((call.stage, call.level, call.index))
        self._calls += 1
        crowd = self._crowd_now()
        timed = Timed(_kind(call), Cost(prompt_tokens, call.answer), self._clock(), crowd)
        self._running[id(timed)] = timed
        try:
            yield timed
        finally:
            self._crowd_now()
            del self._running[id(timed)]
            if timed.usage is not None:
                self._note(timed, timed.usage)

    def wrote(self, timed: Timed, text: str) -> None:
        timed.wrote(text, self._clock())

    def eta(self) -> Eta | None:
        speed = measure([*self._seen, *self._so_far()], self._habit.seen)
        if speed is None:
            return None
        fills = {kind: self._fill(kind, speed) for kind in ("map", "merge", "structure")}

        def expected(cost: Cost, kind: str) -> Cost:
            mean, deviation = fills[kind]
            return Cost(cost.prompt, cost.answer * mean, deviation / mean)

        again = self._calls / max(1, len(self._begun))
        running = [
            Running(expected(one.cost, one.kind), self._elapsed(one), self._written(one))
            for one in self._running.values()
        ]
        waiting = [
            _times(expected(cost, _kind_of(*name)), again) for name, cost in self._waiting.items()
        ]
        levels = [
            [_times(expected(cost, "merge"), again) for cost in level]
            for level in self._levels(fills["map"][0], fills["merge"][0])
        ]
        return estimate(speed, Left(running, waiting, levels, self._lanes.count))

    def habit(self) -> Habit:
        """What the next run may know from this one."""
        fills = {kind: sum(seen) / len(seen) for kind, seen in self._fills.items()}
        seen = (*self._habit.seen, *self._seen)[-_REMEMBERED:]
        return Habit(seen, {**self._habit.fill, **fills})

    # --- inside ------------------------------------------------------------------------------

    def _note(self, timed: Timed, usage: TokenUsage) -> None:
        cost = Cost(usage.prompt_tokens, usage.completion_tokens)
        self._seen += self._writing(timed)
        self._seen.append(Observation(cost, self._parallel(timed), self._elapsed(timed)))
        fill = usage.completion_tokens / max(1.0, timed.cost.answer)
        self._fills.setdefault(timed.kind, []).append(fill)
        if timed.chars:
            self._chars += timed.chars
            self._tokens += usage.completion_tokens

    def _so_far(self) -> Iterator[Observation]:
        """Calls under way show the speed of writing, and before the first is done only they do."""
        for one in self._running.values():
            yield from self._writing(one)

    def _writing(self, timed: Timed) -> Iterator[Observation]:
        """What it has written since its first piece of text, if that is enough to tell."""
        tokens = (timed.chars - timed.first) * self._tokens / self._chars
        if timed.writing_since is not None and tokens >= _TELLING:
            seconds = self._clock() - timed.writing_since
            yield Observation(Cost(0.0, tokens), self._parallel(timed), seconds)

    def _written(self, timed: Timed) -> float:
        return timed.chars * self._tokens / self._chars

    def _elapsed(self, timed: Timed) -> float:
        return self._clock() - timed.since

    def _parallel(self, timed: Timed) -> float:
        elapsed = self._elapsed(timed)
        return (self._crowd_now() - timed.crowd) / elapsed if elapsed > 0 else 1.0

    def _crowd_now(self) -> float:
        """The calls under way, summed over time: to be asked whenever their number changes."""
        now = self._clock()
        self._crowd += len(self._running) * (now - self._crowd_since)
        self._crowd_since = now
        return self._crowd

    def _fill(self, kind: str, speed: Speed) -> tuple[float, float]:
        """Mean and deviation of how full answers are. Long ones are still under way when short
        ones are done, and count by what they have reached."""
        guess = self._habit.fill.get(kind) or self._guess(kind, speed)
        reached = [
            self._reached(one, speed) / max(1.0, one.cost.answer)
            for one in self._running.values()
            if one.kind == kind
        ]
        return likely(self._fills.get(kind, []), reached, guess)

    def _guess(self, kind: str, speed: Speed) -> float:
        """As the parts are, by how much of its room each is asked to fill."""
        if kind == "map":
            return _USUAL_FILL * _ASKED[kind]
        return self._fill("map", speed)[0] * _ASKED[kind] / _ASKED["map"]

    def _reached(self, timed: Timed, speed: Speed) -> float:
        """Tokens it has written; where the server sends them all at once, by the time it took."""
        if timed.chars or not speed.per_answer:
            return self._written(timed)
        alone = self._elapsed(timed) / speed.slowed(self._parallel(timed))
        return max(0.0, alone - timed.cost.prompt * speed.per_prompt) / speed.per_answer


def _times(cost: Cost, times: float) -> Cost:
    """Some calls are made more than once."""
    return Cost(cost.prompt * times, cost.answer * times, cost.spread)


def _kind(call: Known) -> str:
    return _kind_of(call.stage, call.level, call.index)


def _kind_of(stage: Stage, level: int, _: int) -> str:
    return "structure" if level < 0 else stage

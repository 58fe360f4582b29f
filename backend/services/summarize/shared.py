"""One piece of work for all who ask for the same thing at the same time.

The work goes on as long as somebody follows it and stops with the last one. What it has told is
kept, so that a follower who comes late, or comes back, misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import uuid4

from cachetools import TTLCache

Event = TypeVar("Event")

_KEPT_RUNS = 100


@dataclass(frozen=True, slots=True)
class Numbered(Generic[Event]):
    """``number`` counts the events of run ``run_id`` from 1."""

    run_id: str
    number: int
    event: Event


@dataclass(slots=True, eq=False)
class Run(Generic[Event]):
    """``wanted_now``: somebody waits for it, so it is no longer work for quiet times."""

    key: str
    run_id: str
    wanted_now: bool = False
    told: list[Event] = field(default_factory=list)
    failure: BaseException | None = None
    ended: bool = False
    followers: int = 0
    task: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, event: Event) -> None:
        self.told.append(event)
        self._wake()

    def end(self, failure: BaseException | None) -> None:
        self.failure, self.ended = failure, True
        self._wake()

    async def news(self) -> None:
        await self._news.wait()

    def told_before(self, after: tuple[str, int] | None) -> int:
        """How many events a follower need not be told again; never all of a run that is over."""
        if after is None or after[0] != self.run_id:
            return 0
        return min(after[1], max(0, len(self.told) - self.ended))

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


Work = Callable[[Run[Event]], AsyncGenerator[Event, None]]


class SharedRuns(Generic[Event]):
    """Runs by key. ``keep_s`` is how long a run that succeeded can still be read from."""

    def __init__(self, *, keep_s: float) -> None:
        self._active: dict[str, Run[Event]] = {}
        self._over: TTLCache[str, Run[Event]] = TTLCache(_KEPT_RUNS, keep_s)

    @property
    def count(self) -> int:
        return len(self._active)

    def active(self, key: str) -> bool:
        return key in self._active

    def known(self, key: str, run_id: str) -> bool:
        """Whether it is a run of ``key`` that is over and can still be read from."""
        over = self._over.get(run_id)
        return over is not None and over.key == key

    async def follow(
        self, key: str, work: Work[Event], *, now: bool, after: tuple[str, int] | None = None
    ) -> AsyncGenerator[Numbered[Event], None]:
        """The events of the run of ``key``, which is begun when there is none.

        ``after``: the run and the number of the last event the follower has; of another run
        than today's it means nothing, and who has all events is told the last one again. ``now``
        is for who waits for the result. Leaving early stops the work if nobody else follows it,
        and returns when it has stopped.

        Raises:
            Exception: what the work ended with.
        """
        run = self._run(key, work, after)
        run.followers += 1
        run.wanted_now |= now
        seen = run.told_before(after)
        try:
            while True:
                while seen < len(run.told):
                    seen += 1
                    yield Numbered(run.run_id, seen, run.told[seen - 1])
                if run.ended:
                    break
                await run.news()
        finally:
            run.followers -= 1
            if not run.followers and not run.ended:
                await self._stop(key, run)
        if run.failure is not None:
            raise run.failure

    async def close(self) -> None:
        for key, run in list(self._active.items()):
            await self._stop(key, run)

    def _run(self, key: str, work: Work[Event], after: tuple[str, int] | None) -> Run[Event]:
        if key in self._active:
            return self._active[key]
        if after is not None and self.known(key, after[0]):
            return self._over[after[0]]
        run: Run[Event] = Run(key, f"{key}-{uuid4().hex[:8]}")
        self._active[key] = run
        run.task = asyncio.create_task(self._do(key, run, work), name="shared-run")
        return run

    async def _do(self, key: str, run: Run[Event], work: Work[Event]) -> None:
        failure: BaseException | None = None
        try:
            async with aclosing(work(run)) as events:
                async for event in events:
                    run.tell(event)
        except BaseException as error:
            failure = error
            if not isinstance(error, Exception):
                raise
        finally:
            if self._active.get(key) is run:
                del self._active[key]
            if failure is None:
                self._over[run.run_id] = run
            run.end(failure)

    async def _stop(self, key: str, run: Run[Event]) -> None:
        """Nobody joins a run that is being stopped: the next one to ask begins anew."""
        if self._active.get(key) is run:
            del self._active[key]
        if run.task is not None:
            run.task.cancel()
            await asyncio.wait([run.task])

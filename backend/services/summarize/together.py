"""Many calls at once: all of them, or none; so many at a time as the model server works on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """The results in order. The first failure cancels the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures.exceptions[0].__cause__
    return [task.result() for task in tasks]


async def told(
    work: Callable[[Callable[[T], None]], Coroutine[Any, Any, T]],
) -> AsyncGenerator[T, None]:
    """What ``work`` tells on the way, then its result. Closing the iterator stops the work and
    returns when it has stopped.

    The work is a task of its own: a task group around a yield would cancel whoever reads the
    events when a call fails.
    """
    events: asyncio.Queue[T | None] = asyncio.Queue()
    task = asyncio.create_task(work(events.put_nowait), name="told")
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        yield task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


class Lanes:
    """At most ``bound()`` at once, first come first served. The bound may change at any time."""

    def __init__(self, bound: Callable[[], int]) -> None:
        self._bound = bound
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.busy = 0

    @property
    def count(self) -> int:
        return max(1, self._bound())

    @asynccontextmanager
    async def lane(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """``urgent``: before those who wait."""
        while self.busy >= self.count:
            turn = asyncio.get_running_loop().create_future()
            (self._waiting.appendleft if urgent else self._waiting.append)(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._call_next()
                raise
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self._call_next()

    def _call_next(self) -> None:
        free = self.count - self.busy
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

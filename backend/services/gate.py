"""Who may use a model now, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from types import TracebackType
from typing import Literal, TypeVar, get_args

from backend.core.errors import Overloaded

Priority = Literal["interactive", "background"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # who is served first comes first

T = TypeVar("T")

_UNMEASURED_HOLD_S = 5.0  # taken for the holding time of a slot until one was measured
_WEIGHT = 0.2  # of the newest holding time in the mean
_LONGEST_RETRY_S = 300


class Yielded(Overloaded):
    """Background work gave its slot to somebody who waits for an answer; start it again later."""

    def __init__(self) -> None:
        super().__init__("The background work made room for a request that somebody waits for.")


class Place:
    """A place in the queue of a gate, and then a slot. Made by ``Gate.place``."""

    def __init__(self, priority: Priority, since: float) -> None:
        self.priority = priority
        self.since = since  # when the waiting began, then when the holding began
        self.granted = False
        self._position = 0
        self._told = 0
        self._changed = asyncio.Event()

    async def moved(self) -> int | None:
        """The position in the queue, each time it is another one (1 is the next to be served);
        None once the slot is held."""
        while not self.granted:
            if self._position != self._told:
                self._told = self._position
                return self._told
            self._changed.clear()
            await self._changed.wait()
        return None

    def grant(self, now: float) -> None:
        self.granted, self.since = True, now
        self._changed.set()

    def move_to(self, position: int) -> None:
        if position != self._position:
            self._position = position
            self._changed.set()


class Gate:
    """At most ``capacity`` holders at once, at most half of them background work.

    Interactive work is served first, and within a priority who came first. At most
    ``queue_limit`` wait, background work in at most half of these places. ``on_start`` is told
    how many seconds each holder has waited.

    Every method runs in one event loop and changes the state without awaiting in between, so
    the state is whole at every await and a waiter may be cancelled at any of them.
    """

    def __init__(
        self,
        *,
        capacity: int,
        queue_limit: int,
        clock: Callable[[], float] = time.monotonic,
        on_start: Callable[[Priority, float], None] = lambda priority, seconds: None,
    ) -> None:
        self._capacity = _at_least_one(capacity)
        self._queue_limit = queue_limit
        self._clock = clock
        self._on_start = on_start
        self._held_s: float | None = None
        self._queues: dict[Priority, dict[Place, None]] = {name: {} for name in PRIORITIES}
        self._running: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self._yielding: list[_Yielding] = []

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def running(self) -> dict[Priority, int]:
        return dict(self._running)

    @property
    def waiting(self) -> dict[Priority, int]:
        return {priority: len(queue) for priority, queue in self._queues.items()}

    def set_capacity(self, capacity: int) -> None:
        """Who holds a slot keeps it, also where there are fewer slots now."""
        self._capacity = _at_least_one(capacity)
        self._settle()

    @asynccontextmanager
    async def slot(self, priority: Priority, *, yields: bool = False) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        ``yields`` (background only): when somebody interactive has to wait, the holder is
        cancelled. It must be one task from entering to leaving, as with ``asyncio.timeout``.

        Raises:
            Overloaded: the queue is full.
            Yielded: the holder had to make room.
        """
        if yields and priority != "background":
            raise ValueError("only background work yields")
        with self.place(priority) as place:
            while await place.moved() is not None:
                pass
            if yields and self._lacking():  # somebody came since the slot was granted
                raise Yielded
            with _Yielding(self._yielding) if yields else nullcontext():
                yield

    @contextmanager
    def place(self, priority: Priority) -> Iterator[Place]:
        """A place in the queue, for who wants to know where it stands: await ``moved`` until it
        is None. Leaving gives up the place or the slot.

        Raises:
            Overloaded: the queue is full.
        """
        place = Place(priority, self._clock())
        if not self._may_start(priority) or self._queues[priority]:
            self._refuse_if_full(priority)
        self._queues[priority][place] = None
        self._settle()
        try:
            yield place
        finally:
            self._leave(place)

    def _leave(self, place: Place) -> None:
        if place.granted:
            self._running[place.priority] -= 1
            held_s = self._clock() - place.since
            before_s = held_s if self._held_s is None else self._held_s
            self._held_s = before_s + _WEIGHT * (held_s - before_s)
        else:
            del self._queues[place.priority][place]
        self._settle()

    def _settle(self) -> None:
        """Bring the state to rest after any change: every slot that may be held is held, every
        waiter knows its position."""
        for priority in PRIORITIES:
            while self._queues[priority] and self._may_start(priority):
                self._start(priority)
        waiting = (place for priority in PRIORITIES for place in self._queues[priority])
        for position, place in enumerate(waiting, start=1):
            place.move_to(position)
        self._make_room()

    def _start(self, priority: Priority) -> None:
        place = _first(self._queues[priority])
        del self._queues[priority][place]
        self._running[priority] += 1
        now = self._clock()
        waited_s = now - place.since
        place.grant(now)
        self._on_start(priority, waited_s)

    def _may_start(self, priority: Priority) -> bool:
        if sum(self._running.values()) >= self._capacity:
            return False
        share = max(1, self._capacity // 2)
        return priority == "interactive" or self._running["background"] < share

    def _lacking(self) -> int:
        """Interactive requests that wait and for whom nobody is leaving yet."""
        leaving = sum(holder.called_back for holder in self._yielding)
        return max(0, len(self._queues["interactive"]) - leaving)

    def _make_room(self) -> None:
        """Call back a yielding holder for each, newest first: they lose the least."""
        staying = [holder for holder in reversed(self._yielding) if not holder.called_back]
        for holder in staying[: self._lacking()]:
            holder.call_back()

    def _refuse_if_full(self, priority: Priority) -> None:
        waiting = sum(self.waiting.values())
        full = waiting >= self._queue_limit
        if priority == "background":
            # Otherwise a long background job would have every question refused.
            full |= self.waiting["background"] >= (self._queue_limit + 1) // 2
        if full:
            raise Overloaded(
                f"{sum(self._running.values())} requests are being answered and {waiting} wait. "
                "Try again later.",
                retry_after_s=self._retry_after_s(waiting),
            )

    def _retry_after_s(self, waiting: int) -> int:
        held_s = _UNMEASURED_HOLD_S if self._held_s is None else self._held_s
        seconds = math.ceil(held_s * (waiting + 1) / self._capacity)
        return min(max(1, seconds), _LONGEST_RETRY_S)


class _Yielding:
    """The current task as one that can be called back. The cancellation that this takes ends
    here as ``Yielded``, unless somebody else has cancelled the task too."""

    def __init__(self, holders: list[_Yielding]) -> None:
        self._holders = holders
        self._task = _current_task()
        self._cancelled_before = self._task.cancelling()
        self.called_back = False

    def call_back(self) -> None:
        self.called_back = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._holders.append(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holders.remove(self)
        if not self.called_back or self._task.uncancel() > self._cancelled_before:
            return
        if isinstance(error, asyncio.CancelledError):
            raise Yielded from error


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a slot that yields is held by a task")
    return task


def _first(queue: dict[T, None]) -> T:
    return next(iter(queue))


def _at_least_one(capacity: int) -> int:
    if capacity < 1:
        raise ValueError("a gate lets at least one through")
    return capacity

"""Who is let through, in which order, and that no slot is ever lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import Overloaded
from backend.services.gate import Gate, Priority, Yielded


async def turns(count: int = 20) -> None:
    """Lets every task that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class Holders:
    """Tasks that hold slots until they are told to leave."""

    gate: Gate
    started: list[str] = field(default_factory=list)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    leave: dict[str, asyncio.Event] = field(default_factory=dict)

    async def come(self, *names: str, yields: bool = False) -> None:
        """A name that begins with b is background work."""
        for name in names:
            self.leave[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._hold(name, yields))
            await turns()

    async def go(self, *names: str) -> None:
        for name in names:
            self.leave[name].set()
            await turns()

    async def _hold(self, name: str, yields: bool) -> None:
        priority: Priority = "background" if name.startswith("b") else "interactive"
        async with self.gate.slot(priority, yields=yields):
            self.started.append(name)
            await self.leave[name].wait()


@asynccontextmanager
async def holders(capacity: int, queue_limit: int = 100) -> AsyncIterator[Holders]:
    group = Holders(Gate(capacity=capacity, queue_limit=queue_limit))
    yield group
    for task in group.tasks.values():
        task.cancel()
    await asyncio.gather(*group.tasks.values(), return_exceptions=True)
    assert idle(group.gate)


def idle(gate: Gate) -> bool:
    return not any([*gate.running.values(), *gate.waiting.values()])


# --- order -------------------------------------------------------------------------------------


async def test_no_more_than_the_capacity_hold_a_slot() -> None:
    async with holders(2) as group:
        await group.come("i1", "i2", "i3")

        assert group.started == ["i1", "i2"]
        assert group.gate.running == {"interactive": 2, "background": 0}
        assert group.gate.waiting == {"interactive": 1, "background": 0}


async def test_who_came_first_is_served_first() -> None:
    async with holders(1) as group:
        await group.come("i1", "i2", "i3", "i4")
        await group.go("i1", "i2", "i3")

        assert group.started == ["i1", "i2", "i3", "i4"]


async def test_interactive_is_served_before_background_that_came_earlier() -> None:
    async with holders(1) as group:
        await group.come("i1", "b1", "i2")
        await group.go("i1", "i2")

        assert group.started == ["i1", "i2", "b1"]


@pytest.mark.parametrize(("capacity", "share"), [(1, 1), (2, 1), (3, 1), (4, 2), (9, 4)])
async def test_background_holds_at_most_half_of_the_slots(capacity: int, share: int) -> None:
    async with holders(capacity) as group:
        await group.come(*(f"b{number}" for number in range(capacity)))

        assert group.gate.running["background"] == share


async def test_slots_that_background_may_not_have_stay_free_for_interactive() -> None:
    async with holders(2) as group:
        await group.come("b1", "b2", "i1")

        assert group.started == ["b1", "i1"]


async def test_more_capacity_lets_waiters_in_and_less_lets_holders_finish() -> None:
    async with holders(1) as group:
        await group.come("i1", "i2", "i3", "i4")
        group.gate.set_capacity(3)
        await turns()
        with_more = list(group.started)
        group.gate.set_capacity(1)
        await group.go("i1", "i2")

        assert with_more == ["i1", "i2", "i3"]
        assert group.started == with_more
        await group.go("i3")
        assert group.started[-1] == "i4"


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_gate_that_lets_nobody_through_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Gate(capacity=capacity, queue_limit=1)
    with pytest.raises(ValueError, match="at least one"):
        Gate(capacity=1, queue_limit=1).set_capacity(capacity)


# --- positions ---------------------------------------------------------------------------------


async def test_a_waiter_is_told_each_new_position_and_then_that_it_is_served() -> None:
    gate, told = Gate(capacity=1, queue_limit=9), []
    leaving = [ExitStack() for _ in range(3)]
    for stack in leaving:
        stack.enter_context(gate.place("interactive"))

    async def listen() -> None:
        with gate.place("interactive") as place:
            while (position := await place.moved()) is not None:
                told.append(position)
            told.append(0)

    listener = asyncio.create_task(listen())
    await turns()
    for stack in leaving:
        stack.close()
        await turns()
    await listener

    assert told == [3, 2, 1, 0]


async def test_background_is_told_of_the_interactive_requests_that_overtake_it() -> None:
    gate = Gate(capacity=1, queue_limit=9)
    with gate.place("interactive"), gate.place("background") as background:
        alone = await background.moved()
        with gate.place("interactive"):
            overtaken = await background.moved()

        assert (alone, overtaken) == (1, 2)


async def test_when_somebody_ahead_leaves_the_others_move_up() -> None:
    gate = Gate(capacity=1, queue_limit=9)
    with ExitStack() as ahead, gate.place("interactive"):
        ahead.enter_context(gate.place("interactive"))
        with gate.place("interactive") as place:
            before = await place.moved()
            ahead.close()
            async with asyncio.timeout(5):
                after = await place.moved()

        assert (before, after) == (2, 1)


async def test_who_is_served_at_once_is_told_no_position() -> None:
    with Gate(capacity=1, queue_limit=9).place("background") as place:
        assert await place.moved() is None


# --- the bound ---------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def retry_after_s(gate: Gate, priority: Priority = "interactive") -> int:
    with pytest.raises(Overloaded) as caught, gate.place(priority):
        pass
    return caught.value.retry_after_s


async def test_a_full_queue_refuses_the_next_one() -> None:
    async with holders(1, queue_limit=2) as group:
        await group.come("i1", "i2", "b1")

        with pytest.raises(Overloaded, match="2 wait"):
            async with group.gate.slot("interactive"):
                pass
        assert group.gate.waiting == {"interactive": 1, "background": 1}


async def test_background_takes_at_most_half_of_the_queue() -> None:
    gate = Gate(capacity=1, queue_limit=4)
    with (
        gate.place("background"),
        gate.place("background"),
        gate.place("background"),
        gate.place("interactive"),
    ):
        assert retry_after_s(gate, "background") >= 1
        with gate.place("interactive"):
            assert sum(gate.waiting.values()) == 4


async def test_without_a_queue_only_holders_come_in() -> None:
    gate = Gate(capacity=1, queue_limit=0)
    with gate.place("background"):
        assert retry_after_s(gate) >= 1
    with gate.place("interactive") as place:
        assert place.granted


@pytest.mark.parametrize(
    ("held_s", "capacity", "waiting", "expected"),
    [(8.0, 2, 2, 12), (0.01, 1, 1, 1), (3.1, 1, 0, 4), (1000.0, 1, 3, 300)],
)
async def test_the_time_to_wait_follows_from_how_long_slots_are_held(
    held_s: float, capacity: int, waiting: int, expected: int
) -> None:
    clock = Clock()
    gate = Gate(capacity=capacity, queue_limit=waiting, clock=clock)
    with gate.place("interactive"):
        clock.now += held_s
    with ExitStack() as crowd:
        for _ in range(capacity + waiting):
            crowd.enter_context(gate.place("interactive"))

        assert retry_after_s(gate) == expected


async def test_newer_holding_times_count_more() -> None:
    clock = Clock()
    gate = Gate(capacity=1, queue_limit=0, clock=clock)
    for held_s in [100.0] + [10.0] * 30:
        with gate.place("interactive"):
            clock.now += held_s
    with gate.place("interactive"):
        assert retry_after_s(gate) == 11


async def test_before_anything_was_measured_a_time_is_guessed() -> None:
    gate = Gate(capacity=1, queue_limit=0)
    with gate.place("interactive"):
        assert 1 <= retry_after_s(gate) <= 30


async def test_how_long_each_has_waited_is_told() -> None:
    clock, waits = Clock(), []
    gate = Gate(
        capacity=1,
        queue_limit=1,
        clock=clock,
        on_start=lambda priority, seconds: waits.append((priority, seconds)),
    )
    with ExitStack() as second, gate.place("interactive"):
        second.enter_context(gate.place("background"))
        clock.now += 7

    assert waits == [("interactive", 0.0), ("background", 7.0)]


# --- leaving -----------------------------------------------------------------------------------


async def test_a_waiter_that_leaves_is_out_of_the_queue_at_once() -> None:
    async with holders(1) as group:
        await group.come("i1", "i2", "i3")
        group.tasks["i2"].cancel()
        await turns()
        waiting = group.gate.waiting["interactive"]
        await group.go("i1")

        assert waiting == 1
        assert group.started == ["i1", "i3"]


async def test_a_slot_granted_to_who_is_leaving_goes_to_the_next() -> None:
    async with holders(1) as group:
        await group.come("i1", "i2", "i3")
        group.leave["i1"].set()
        while group.gate.waiting["interactive"] == 2:
            await asyncio.sleep(0)
        group.tasks["i2"].cancel()  # it has the slot, but has not run since
        await turns()

        assert group.started == ["i1", "i3"]


async def test_a_holder_that_fails_frees_its_slot() -> None:
    gate = Gate(capacity=1, queue_limit=0)
    with pytest.raises(KeyError):
        async with gate.slot("interactive"):
            raise KeyError

    assert idle(gate)


# --- yielding ----------------------------------------------------------------------------------


async def test_background_that_yields_makes_room_for_who_waits() -> None:
    async with holders(1) as group:
        await group.come("b1", yields=True)
        await group.come("i1")

        with pytest.raises(Yielded):
            await group.tasks["b1"]
        assert group.started == ["b1", "i1"]
        assert group.tasks["b1"].cancelling() == 0


async def test_the_newest_background_yields_and_only_as_many_as_are_needed() -> None:
    async with holders(4) as group:
        await group.come("i1", "i2")
        await group.come("b1", "b2", yields=True)
        await group.come("i3")

        assert isinstance(group.tasks["b2"].exception(), Yielded)
        assert not group.tasks["b1"].done()
        assert group.started[-1] == "i3"


async def test_one_that_is_already_leaving_is_enough_for_one_that_waits() -> None:
    async with holders(4) as group:
        await group.come("i1", "i2")
        await group.come("b1", "b2", yields=True)
        with group.gate.place("interactive"):
            group.gate.set_capacity(4)  # the gate looks again before the holder has left
            await turns()

        assert group.tasks["b2"].done()
        assert not group.tasks["b1"].done()


async def test_background_does_not_yield_while_a_slot_is_free() -> None:
    async with holders(2) as group:
        await group.come("b1", yields=True)
        await group.come("i1")

        assert not group.tasks["b1"].done()


async def test_background_that_does_not_yield_keeps_its_slot() -> None:
    async with holders(1) as group:
        await group.come("b1")
        await group.come("i1")

        assert group.started == ["b1"]


async def test_background_yields_to_who_came_between_grant_and_start() -> None:
    async with holders(1) as group:
        await group.come("i1")
        await group.come("b1", yields=True)
        group.leave["i1"].set()
        while group.gate.running["background"] == 0:
            await asyncio.sleep(0)
        with group.gate.place("interactive") as place:
            await turns()

            assert place.granted
            assert isinstance(group.tasks["b1"].exception(), Yielded)


async def test_a_cancellation_of_somebody_else_stays_a_cancellation() -> None:
    async with holders(1) as group:
        await group.come("b1", yields=True)
        with group.gate.place("interactive"):
            group.tasks["b1"].cancel()

            with pytest.raises(asyncio.CancelledError):
                await group.tasks["b1"]


async def test_work_finished_in_spite_of_being_called_back_is_finished() -> None:
    gate, done = Gate(capacity=1, queue_limit=1), asyncio.Event()

    async def stubborn() -> str:
        async with gate.slot("background", yields=True):
            try:
                await done.wait()
            except asyncio.CancelledError:
                result = "saved"
        await asyncio.sleep(0)
        return result

    task = asyncio.create_task(stubborn())
    await turns()
    with gate.place("interactive"):
        assert await task == "saved"


async def test_only_background_yields() -> None:
    with pytest.raises(ValueError, match="background"):
        async with Gate(capacity=1, queue_limit=1).slot("interactive", yields=True):
            pass


# --- properties --------------------------------------------------------------------------------


def check_bounds(gate: Gate, queue_limit: int) -> None:
    running, waiting = gate.running, gate.waiting
    assert sum(running.values()) <= gate.capacity
    assert running["background"] <= max(1, gate.capacity // 2)
    assert sum(waiting.values()) <= queue_limit
    free = sum(running.values()) < gate.capacity
    assert not (free and waiting["interactive"]), "somebody waits in front of a free slot"
    share_free = running["background"] < max(1, gate.capacity // 2)
    assert not (free and share_free and waiting["background"])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "background", "yielding", "go", "cancel", "turn"]),
        st.integers(0, 50),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(steps=STEPS, capacity=st.integers(1, 5), queue_limit=st.integers(0, 8))
def test_no_slot_is_lost_whoever_comes_goes_or_is_cancelled(
    steps: list[tuple[str, int]], capacity: int, queue_limit: int
) -> None:
    asyncio.run(play(steps, capacity, queue_limit))


async def play(steps: Iterable[tuple[str, int]], capacity: int, queue_limit: int) -> None:
    gate = Gate(capacity=capacity, queue_limit=queue_limit)
    group = Holders(gate)
    for number, (step, which) in enumerate(steps):
        names = list(group.tasks)
        if step in {"come", "background", "yielding"}:
            name = f"{'i' if step == 'come' else 'b'}{number}"
            group.leave[name] = asyncio.Event()
            group.tasks[name] = asyncio.create_task(group._hold(name, step == "yielding"))
        elif step == "turn":
            await turns(which % 3)
        elif names and step == "go":
            group.leave[names[which % len(names)]].set()
        elif names:
            group.tasks[names[which % len(names)]].cancel()
        check_bounds(gate, queue_limit)
    for event in group.leave.values():
        event.set()
    ends = await asyncio.gather(*group.tasks.values(), return_exceptions=True)

    allowed = (Overloaded, asyncio.CancelledError)
    assert all(end is None or isinstance(end, allowed) for end in ends)
    assert idle(gate)
    with gate.place("interactive") as place:
        assert place.granted


async def test_a_crowd_that_comes_and_goes_leaves_nothing_behind() -> None:
    chance = random.Random(7)  # noqa: S311
    gate = Gate(capacity=4, queue_limit=500)
    most = 0

    async def visit(priority: Priority) -> None:
        nonlocal most
        async with gate.slot(priority, yields=priority == "background" and chance.random() < 0.5):
            most = max(most, sum(gate.running.values()))
            await turns(chance.randrange(6))

    tasks = [
        asyncio.create_task(visit(chance.choice(["interactive", "background"]))) for _ in range(400)
    ]
    for _ in range(300):
        await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert most == 4
    assert idle(gate)
    allowed = (Overloaded, asyncio.CancelledError)
    assert all(end is None or isinstance(end, allowed) for end in ends)
    assert any(end is None for end in ends)

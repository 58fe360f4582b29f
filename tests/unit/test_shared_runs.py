from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from backend.core.errors import NotFound
from backend.services.summarize.shared import Numbered, Run, SharedRuns


class Counting:
    """Tells 1, 2, 3, one at each ``step``; knows how often it was begun and whether it stopped."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.begun = 0
        self.stopped = 0
        self.now: list[bool] = []
        self._steps: asyncio.Queue[None] = asyncio.Queue()
        self._fails_after = fails_after

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self._steps.put_nowait(None)

    async def work(self, run: Run[int]) -> AsyncGenerator[int, None]:
        self.begun += 1
        try:
            for number in (1, 2, 3):
                await self._steps.get()
                self.now.append(run.wanted_now)
                if self._fails_after == number - 1:
                    raise NotFound("gone")
                yield number
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise


async def follow(
    runs: SharedRuns[int], counting: Counting, after: tuple[str, int] | None = None
) -> list[Numbered[int]]:
    events = runs.follow("k", counting.work, now=True, after=after)
    async with aclosing(events):
        return [numbered async for numbered in events]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def runs() -> SharedRuns[int]:
    return SharedRuns(keep_s=60)


async def test_ten_callers_share_one_run_and_all_hear_everything(runs: SharedRuns[int]) -> None:
    counting = Counting()
    callers = [asyncio.create_task(follow(runs, counting)) for _ in range(10)]
    await settle()
    counting.step(3)

    heard = await asyncio.gather(*callers)

    assert counting.begun == 1
    assert [[numbered.event for numbered in told] for told in heard] == [[1, 2, 3]] * 10


async def test_a_late_caller_hears_what_was_told_before(runs: SharedRuns[int]) -> None:
    counting = Counting()
    first = asyncio.create_task(follow(runs, counting))
    counting.step(2)
    await settle()
    second = asyncio.create_task(follow(runs, counting))
    await settle()
    counting.step()

    assert [n.event for n in await second] == [1, 2, 3]
    await first


async def test_the_run_goes_on_for_the_last_of_ten_and_stops_without_them(
    runs: SharedRuns[int],
) -> None:
    counting = Counting()
    callers = [asyncio.create_task(follow(runs, counting)) for _ in range(10)]
    await settle()
    for caller in callers[:9]:
        caller.cancel()
    await asyncio.gather(*callers[:9], return_exceptions=True)
    assert counting.stopped == 0
    assert runs.active("k")

    callers[9].cancel()
    await asyncio.gather(callers[9], return_exceptions=True)

    assert counting.stopped == 1
    assert not runs.active("k")


async def test_who_asks_after_a_stopped_run_begins_anew(runs: SharedRuns[int]) -> None:
    counting = Counting()
    first = asyncio.create_task(follow(runs, counting))
    await settle()
    first.cancel()
    second = asyncio.create_task(follow(runs, counting))
    await asyncio.gather(first, return_exceptions=True)
    await settle()
    counting.step(3)

    assert [n.event for n in await second] == [1, 2, 3]


async def test_everybody_hears_of_a_failure_and_the_next_one_tries_again(
    runs: SharedRuns[int],
) -> None:
    failing = Counting(fails_after=1)
    callers = [asyncio.create_task(follow(runs, failing)) for _ in range(3)]
    await settle()
    failing.step(2)
    heard = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(told) for told in heard] == [NotFound] * 3

    healthy = Counting()
    healthy.step(3)

    assert [n.event for n in await follow(runs, healthy)] == [1, 2, 3]


async def test_a_caller_that_comes_back_hears_only_what_it_missed(runs: SharedRuns[int]) -> None:
    counting = Counting()
    stays = asyncio.create_task(follow(runs, counting))
    leaves = runs.follow("k", counting.work, now=True)
    counting.step()
    first = await anext(leaves)
    await leaves.aclose()
    counting.step(2)
    await stays

    again = await follow(runs, counting, after=(first.run_id, first.number))

    assert [n.event for n in again] == [2, 3]
    assert counting.begun == 1


async def test_a_caller_that_comes_back_to_another_run_hears_all_of_it(
    runs: SharedRuns[int],
) -> None:
    counting = Counting()
    counting.step(3)

    told = await follow(runs, counting, after=("another", 2))

    assert [n.event for n in told] == [1, 2, 3]


async def test_work_for_quiet_times_is_told_when_somebody_waits_for_it(
    runs: SharedRuns[int],
) -> None:
    counting = Counting()

    async def in_the_background() -> None:
        async for _ in runs.follow("k", counting.work, now=False):
            pass

    background = asyncio.create_task(in_the_background())
    counting.step()
    await settle()
    waiting = asyncio.create_task(follow(runs, counting))
    await settle()
    counting.step(2)
    await asyncio.gather(background, waiting)

    assert counting.now == [False, True, True]


async def test_closing_stops_every_run(runs: SharedRuns[int]) -> None:
    counting = Counting()
    caller = asyncio.create_task(follow(runs, counting))
    await settle()

    await runs.close()

    assert counting.stopped == 1
    assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], BaseException)

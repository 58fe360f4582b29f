from __future__ import annotations

import random
from contextlib import aclosing
from itertools import pairwise
from statistics import median

import pytest

from backend.core.summaries import SummaryProgress
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
from tests.fakes.summaries import summarizer, tokens_of
from tests.fakes.summary_clock import Machine, SimulatedServer, in_virtual_time, virtual_now
from tests.fakes.summary_tasks import key, task

ALONE = Speed(per_prompt=0.001, per_answer=0.02, crowding=0.0, error=0.0, seen=20)


def call(prompt: float, answer: float, parallel: float = 1, crowding: float = 0) -> Observation:
    speed = Speed(0.001, 0.02, crowding, 0, 1)
    cost = Cost(prompt, answer)
    return Observation(cost, parallel, speed.seconds(cost, parallel))


def test_nothing_is_said_while_nothing_is_known() -> None:
    assert measure([]) is None
    assert estimate(None, Left((), (Cost(100, 10),), (), 1)) is None


def test_the_speed_of_reading_and_of_writing_are_told_apart() -> None:
    speed = measure([call(4000, 100), call(1000, 200), call(2500, 50), call(3000, 300)])

    assert speed is not None
    assert speed.per_prompt == pytest.approx(0.001, rel=0.15)
    assert speed.per_answer == pytest.approx(0.02, rel=0.15)


def test_calls_all_alike_predict_calls_like_them() -> None:
    speed = measure([call(2000, 100)] * 5)

    assert speed is not None
    assert speed.seconds(Cost(2000, 100), 1) == pytest.approx(4.0, rel=0.02)


def test_how_much_calls_hinder_each_other_is_measured() -> None:
    crowded = [call(2000, 100, 4, crowding=1), call(1500, 130, 4, crowding=1)]
    alone = [call(2000, 100, 1, crowding=1), call(1800, 90, 1, crowding=1)]

    speed = measure(crowded + alone)

    assert speed is not None
    assert speed.crowding == pytest.approx(1.0, abs=0.11)


def test_calls_of_earlier_runs_stand_in_and_then_count_for_less() -> None:
    earlier = [call(2000, 100)] * 8
    slower = Observation(Cost(2000, 100), 1, 8.0)

    first = measure([], earlier)
    later = measure([slower] * 8, earlier)

    assert first is not None
    assert later is not None
    assert first.seconds(Cost(2000, 100), 1) == pytest.approx(4.0, rel=0.02)
    assert later.seconds(Cost(2000, 100), 1) > 5.5


def test_waiting_calls_are_begun_as_lanes_become_free_and_levels_follow() -> None:
    one = Cost(0, 100)  # two seconds
    left = Left(
        running=(Running(one, 1.0), Running(one, 0.0)),
        waiting=(one, one, one),
        levels=((one, one, one), (one,)),
        lanes=2,
    )

    eta = estimate(ALONE, left)

    # Free at 1 and 2; the waiting end at 3, 4 and 5; three merges in two lanes, then one.
    assert eta is not None
    assert eta.seconds == pytest.approx(5 + 4 + 2)
    assert eta.low < eta.seconds < eta.high


def test_a_call_that_is_late_is_still_expected_to_take_a_moment() -> None:
    eta = estimate(ALONE, Left((Running(Cost(0, 100), 60.0),), (), (), 1))

    assert eta is not None
    assert 0 < eta.seconds < 1


def test_the_range_narrows_on_the_way_and_half_way_the_error_is_small() -> None:
    chance = random.Random(11)  # noqa: S311 - a choice of test data
    costs = [Cost(chance.uniform(500, 4000), chance.uniform(40, 400)) for _ in range(40)]
    seconds = [ALONE.seconds(cost, 1) * chance.uniform(0.8, 1.2) for cost in costs]
    mean = sum(cost.answer for cost in costs) / len(costs)
    spans: list[float] = []
    errors: list[float] = []
    for done in range(1, 40):
        seen = [Observation(costs[n], 1, seconds[n]) for n in range(done)]
        waiting = [Cost(cost.prompt, mean) for cost in costs[done:]]
        eta = estimate(measure(seen), Left((), waiting, (), 1))
        assert eta is not None
        spans.append(eta.high - eta.low)
        errors.append(abs(eta.seconds - sum(seconds[done:])) / sum(seconds[done:]))

    assert errors[19] < 0.2
    assert all(later < earlier * 1.15 for earlier, later in pairwise(spans))
    assert spans[30] < spans[5] / 2


def test_values_that_are_not_known_yet_are_the_large_ones() -> None:
    mean, deviation = likely([10, 11, 12], at_least=[14, 14, 14], guess=11)
    without, _ = likely([10, 11, 12], at_least=[], guess=11)

    assert without == pytest.approx(11)
    assert mean > 12.5
    assert deviation > 1


def test_what_has_written_more_than_expected_is_not_done_yet() -> None:
    late = Left((Running(Cost(0, 100, 0.3), 6.0, written=300),), (), (), 1)

    eta = estimate(ALONE, late)

    assert eta is not None
    assert eta.seconds > 0.5


def test_the_last_one_of_many_uneven_calls_is_waited_for() -> None:
    calls = [Cost(0, 100, 0.4)] * 8
    alike = [Cost(0, 100)] * 8

    uneven, even = (estimate(ALONE, Left((), waiting, (), 8)) for waiting in (calls, alike))

    assert uneven is not None
    assert even is not None
    assert uneven.seconds > 1.3 * even.seconds


# --- whole runs, in virtual time -----------------------------------------------------------------

GPU = Machine(reads=1 / 20_000, writes=1 / 80, slowed=0.04, slots=8)
CPU = Machine(reads=1 / 300, writes=1 / 15, slowed=0, slots=1)
SHARED_CPU = Machine(reads=1 / 300, writes=1 / 15, slowed=0.8, slots=2)
WORDS = "слово насос поставка договор the pump testing delivery".split()


def uneven_document(chance: random.Random, tokens: int) -> str:
    """Tables, short and long paragraphs in any order."""
    out: list[str] = []
    while sum(map(tokens_of, out)) < tokens:
        if chance.random() < 0.25:
            rows = chance.randrange(20, 200)
            out.append("\n".join(f"| {chance.randrange(10**6)} | 7 |" for _ in range(rows)))
        else:
            out.append(f"# Chapter {len(out)}")
            for _ in range(chance.randrange(1, 20)):
                length = chance.randrange(5, 150)
                out.append(" ".join(chance.choice(WORDS) for _ in range(length)) + ".")
    return "\n\n".join(out)


async def error_half_way(machine: Machine, seed: int, *, background: bool) -> float:
    """Of the last estimate before half of the time was over, as a share of the other half."""
    chance = random.Random(seed)  # noqa: S311 - a choice of test data
    text = uneven_document(chance, chance.choice([12_000, 25_000, 50_000]))
    model = SimulatedServer(machine, chance, window=chance.choice([2048, 4096, 8192]))
    since = virtual_now()
    work = task(text, wanted=key(max_tokens=600), background=background)
    async with aclosing(summarizer(model, parallel=machine.slots).run(work)) as events:
        told = [
            (virtual_now(), event.eta)
            async for event in events
            if isinstance(event, SummaryProgress) and event.eta is not None
        ]
    half = (virtual_now() - since) / 2
    at, eta = [one for one in told if one[0] - since <= half][-1]
    return abs(at - since + eta.seconds - 2 * half) / half


@pytest.mark.parametrize(
    ("machine", "background", "most"),
    [
        pytest.param(GPU, False, 0.2, id="gpu"),
        pytest.param(CPU, False, 0.2, id="cpu"),
        pytest.param(SHARED_CPU, False, 0.2, id="shared cpu"),
        # Nothing is heard of these calls before they end.
        pytest.param(GPU, True, 0.3, id="in the background"),
    ],
)
def test_half_way_through_uneven_documents_the_estimate_is_nearly_right(
    machine: Machine, background: bool, most: float
) -> None:
    async def errors() -> list[float]:
        return [await error_half_way(machine, seed, background=background) for seed in range(9)]

    assert median(in_virtual_time(errors())) <= most

"""How long a summary still takes, by the measured speed of its model and the tokens left.

A call alone takes ``prompt * a + answer * b`` seconds. Of ``n`` calls at once each takes
``n ** crowding`` times as long: 0 where they cost each other nothing (a GPU far from full), 1 where
they share one machine's speed (a CPU).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, median, pstdev

from backend.core.summaries import Eta

# Taken for the speed of reading a prompt against that of writing, as far as the calls, which are
# much alike, do not show it.
_READS_FASTER = 20.0
_PRIOR_WEIGHT = 0.1
_USUAL_CROWDING = 0.1
_CROWDING_DOUBT = 0.05
_EARLIER = 0.25  # weight of a call of an earlier run
_CROWDINGS = tuple(n / 10 for n in range(11))
_VARIED = 1.5  # times as many at once: enough to see what that costs
_DOUBT = 0.5  # share of the estimate the range spans to either side after one call
_LEAST_DOUBT = 0.05
_DRAWS = 16
_DRAWN_PER_LANE = 3  # of the calls that wait, the last ones: before them it evens out
_GOLDEN = (math.sqrt(5) - 1) / 2
_LEAST_FACTOR = 0.1
_ROUNDS = 4
_USUAL_SPREAD = 0.25  # of the lengths of answers
_FEW = 4
_NORMAL = NormalDist()
_FAR_OUT = 4.0  # deviations
_LEAST_LEFT = 0.1  # of its expected time, of a call that is late


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens of a call, expected or counted. ``spread``: the usual relative error of an expected
    answer."""

    prompt: float
    answer: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """``parallel``: how many calls were under way with it on average, itself included. Of a call
    under way the cost is what it has done so far."""

    cost: Cost
    parallel: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds per token of one call alone; ``error`` is the usual relative error of ``seconds``
    and ``seen`` how many calls it comes from."""

    per_prompt: float
    per_answer: float
    crowding: float
    error: float
    seen: int

    def alone(self, cost: Cost) -> float:
        return cost.prompt * self.per_prompt + cost.answer * self.per_answer

    def slowed(self, parallel: float) -> float:
        return float(max(1.0, parallel) ** self.crowding)

    def seconds(self, cost: Cost, parallel: float) -> float:
        return self.alone(cost) * self.slowed(parallel)


@dataclass(frozen=True, slots=True)
class Running:
    """``written``: tokens of the answer that are there."""

    cost: Cost
    elapsed_s: float
    written: float = 0.0


@dataclass(frozen=True, slots=True)
class Left:
    """What is to be done: calls under way, calls of this stage that wait, then the merge levels
    one after the other."""

    running: Sequence[Running]
    waiting: Sequence[Cost]
    levels: Sequence[Sequence[Cost]]
    lanes: int


def measure(seen: Sequence[Observation], earlier: Sequence[Observation] = ()) -> Speed | None:
    """The speed that explains the calls best; those of earlier runs count for less. None without
    any."""
    weighed = [(one, 1.0) for one in seen] + [(one, _EARLIER) for one in earlier]
    usable = [(one, w) for one, w in weighed if one.seconds > 0 and one.cost.answer > 0]
    if not usable:
        return None
    at_once = [max(1.0, one.parallel) for one, _ in usable]
    varied = max(at_once) > _VARIED * min(at_once)
    fits = [_fit(usable, crowding) for crowding in (_CROWDINGS if varied else (_USUAL_CROWDING,))]
    best = min(
        fits, key=lambda fit: fit.error + _CROWDING_DOUBT * abs(fit.crowding - _USUAL_CROWDING)
    )
    return replace(best, seen=max(1, len(seen)))


def estimate(speed: Speed | None, left: Left) -> Eta | None:
    """None while nothing is known of the speed. CPU work of milliseconds."""
    if speed is None:
        return None
    left, ahead = _without_the_many(speed, left)
    drawn = [_drawn_s(speed, left, draw) for draw in range(_DRAWS)]
    stage = median(stage for stage, _ in drawn) + ahead
    merging = median(merging for _, merging in drawn)
    total = stage + merging
    doubt = max(_LEAST_DOUBT, speed.error / math.sqrt(speed.seen), _DOUBT / math.sqrt(speed.seen))
    # Of the merges nothing has been seen but the speed.
    systematic = doubt * (stage + 2 * merging)
    span = min(0.9 * total, math.hypot(systematic, 2 * pstdev(sum(one) for one in drawn)))
    return Eta(total, total - span, total + span)


def likely(seen: Sequence[float], at_least: Sequence[float], guess: float) -> tuple[float, float]:
    """Mean and deviation of values of which some are ``seen`` and of the others only a lower bound
    is known yet: those seen first are the small ones.

    Args:
        guess: the mean as it was thought to be; it counts as one value seen.
    """
    mean = fmean([guess, *seen])
    deviation = _deviation(seen, mean)
    for _ in range(_ROUNDS):
        expected = [_above(mean, deviation, bound) for bound in at_least]
        mean = fmean([guess, *seen, *expected])
        deviation = _deviation(seen, mean)
    return mean, deviation


def _deviation(values: Sequence[float], mean: float) -> float:
    """Of few values the usual one counts as well."""
    squares = sum((value - mean) ** 2 for value in values) + _FEW * (_USUAL_SPREAD * mean) ** 2
    return math.sqrt(squares / (len(values) + _FEW))


def _above(mean: float, deviation: float, bound: float) -> float:
    """What a value is expected to be that is more than ``bound``."""
    z = (bound - mean) / deviation
    if z > _FAR_OUT:
        return bound + deviation / z
    rest = 1 - _NORMAL.cdf(z)
    return mean + deviation * _NORMAL.pdf(z) / rest


# --- drawing what may happen ---------------------------------------------------------------------


def _without_the_many(speed: Speed, left: Left) -> tuple[Left, float]:
    """Many calls take together what they take on average: only the last ones, whose stragglers
    all wait for, have to be drawn."""
    lanes = max(1, left.lanes)
    many = len(left.waiting) - _DRAWN_PER_LANE * lanes
    if many <= 0:
        return left, 0.0
    ahead = sum(speed.alone(cost) for cost in left.waiting[:many])
    seconds = ahead / lanes * speed.slowed(lanes)
    return replace(left, waiting=left.waiting[many:]), seconds


def _drawn_s(speed: Speed, left: Left, draw: int) -> tuple[float, float]:
    """Seconds of this stage and of the levels after it, where the answers come out one way."""
    luck = _luck(draw)
    at_once = min(max(1, left.lanes), len(left.running) + len(left.waiting))
    running = [_still(speed, one, at_once, next(luck)) for one in left.running]
    waiting = [speed.alone(_drawn(cost, next(luck))) for cost in left.waiting]
    stage = _together_s(speed, running, waiting, left.lanes)
    merging = sum(
        _together_s(
            speed, (), [speed.alone(_drawn(cost, next(luck))) for cost in level], left.lanes
        )
        for level in left.levels
    )
    return stage, merging


def _luck(draw: int) -> Iterator[float]:
    """Numbers between 0 and 1, evenly spread over the draws and over the calls of each."""
    at = (draw + 0.5) / _DRAWS
    while True:
        yield min(max(at, 0.001), 0.999)
        at = (at + _GOLDEN) % 1


def _drawn(cost: Cost, luck: float) -> Cost:
    if not cost.spread:
        return cost
    factor = 1 + cost.spread * _NORMAL.inv_cdf(luck)
    return replace(cost, answer=cost.answer * max(_LEAST_FACTOR, factor))


def _still(speed: Speed, one: Running, parallel: int, luck: float) -> float:
    """Seconds of the call alone that are left, given how much it has written."""
    cost, expected = one.cost, speed.alone(one.cost)
    if one.written:
        beyond = one.written / max(1.0, cost.answer) - 1
        spread = max(cost.spread, 0.02)
        least = min(0.98, _NORMAL.cdf(beyond / spread))
        factor = 1 + spread * _NORMAL.inv_cdf(least + (1 - least) * luck)
        answer = max(cost.answer * factor, (1 + _LEAST_LEFT) * one.written)
        return (answer - one.written) * speed.per_answer
    left = speed.alone(_drawn(cost, luck)) - one.elapsed_s / speed.slowed(parallel)
    return max(left, _LEAST_LEFT * expected)


def _together_s(
    speed: Speed, running: Sequence[float], waiting: Sequence[float], lanes: int
) -> float:
    """Until the last of the calls is done, each begun as soon as a lane is free. The calls are
    given in seconds alone; all that run at once go on at the same rate."""
    ends = list(running)
    heapq.heapify(ends)
    begun = 0
    seconds = done = 0.0
    while ends or begun < len(waiting):
        while begun < len(waiting) and len(ends) < max(1, lanes):
            heapq.heappush(ends, done + waiting[begun])
            begun += 1
        end = ends[0]
        seconds += (end - done) * speed.slowed(len(ends))
        done = end
        heapq.heappop(ends)
    return seconds


# --- the speed -----------------------------------------------------------------------------------


def _fit(seen: Sequence[tuple[Observation, float]], crowding: float) -> Speed:
    """Least squares of the relative error, with ``b = 20 a`` as a weak prior."""
    rows = list(_rows(seen, crowding))
    xx = sum(w * x * x for x, _, w in rows)
    xy = sum(w * x * y for x, y, w in rows)
    yy = sum(w * y * y for _, y, w in rows)
    x1 = sum(w * x for x, _, w in rows)
    y1 = sum(w * y for _, y, w in rows)
    weight = _PRIOR_WEIGHT**2 * yy
    a, b = _solve(xx + weight * _READS_FASTER**2, xy - weight * _READS_FASTER, yy + weight, x1, y1)
    if a < 0:
        a, b = 0.0, y1 / yy
    elif b < 0:
        a, b = (x1 / xx if xx else 0.0), 0.0
    squares = sum(w * (a * x + b * y - 1) ** 2 for x, y, w in rows)
    error = math.sqrt(squares / sum(w for *_, w in rows))
    # The least relative error is that of a speed too high: together the calls took what they took.
    took = sum(w * one.seconds for one, w in seen)
    said = sum(
        w * one.seconds * (a * x + b * y) for (x, y, _), (one, w) in zip(rows, seen, strict=True)
    )
    scale = took / said if said else 1.0
    return Speed(a * scale, b * scale, crowding, error, len(rows))


def _rows(
    seen: Sequence[tuple[Observation, float]], crowding: float
) -> Iterator[tuple[float, float, float]]:
    for one, weight in seen:
        scale = max(1.0, one.parallel) ** crowding / one.seconds
        yield one.cost.prompt * scale, one.cost.answer * scale, weight


def _solve(xx: float, xy: float, yy: float, x1: float, y1: float) -> tuple[float, float]:
    determinant = xx * yy - xy * xy
    return (x1 * yy - y1 * xy) / determinant, (y1 * xx - x1 * xy) / determinant

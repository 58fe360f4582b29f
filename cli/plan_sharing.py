"""Several models on one card: on MIG slices side by side, or on shares of the whole card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from backend.core.gpus import Gpu, MigProfile, layouts
from backend.core.memory_model import Architecture
from backend.core.memory_plan import Plan, PlanOptions, Verdict, plan

_STEP = 0.01
_MOST = 0.95  # of all shares together

_ORDER = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.DOES_NOT_FIT: 2}


@dataclass(frozen=True, slots=True)
class Sharing:
    """One outcome for each model, in their order; ``slices`` is empty for shares."""

    outcomes: tuple[Plan, ...]
    slices: tuple[MigProfile, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return worst(self.outcomes)


def worst(outcomes: Sequence[Plan]) -> Verdict:
    return max((one.verdict for one in outcomes), key=_ORDER.__getitem__)


def on_slices(models: Sequence[Architecture], card: Gpu, options: PlanOptions) -> Sharing | None:
    """The smallest slices that are good enough for all; None where the card has none."""
    seen: dict[tuple[int, str], Plan] = {}

    def outcome(place: int, profile: MigProfile) -> Plan:
        key = (place, profile.name)
        if key not in seen:
            seen[key] = plan(models[place], card.slice(profile), options)
        return seen[key]

    candidates = [
        Sharing(tuple(outcome(place, one) for place, one in enumerate(order)), order)
        for chosen in layouts(card, len(models))
        for order in dict.fromkeys(permutations(chosen))
    ]
    if not candidates:
        return None
    return min(candidates, key=_preference)


def on_named_slices(
    models: Sequence[Architecture], card: Gpu, slices: Sequence[MigProfile], options: PlanOptions
) -> Sharing:
    outcomes = (
        plan(model, card.slice(profile), options)
        for model, profile in zip(models, slices, strict=True)
    )
    return Sharing(tuple(outcomes), tuple(slices))


def on_shares(models: Sequence[Architecture], card: Gpu, options: PlanOptions) -> Sharing:
    """The smallest share for each that fits; where they do not all, equal shares."""
    shares = [_smallest_share(model, card, options) for model in models]
    if all(shares) and sum(one or 0 for one in shares) <= _MOST:
        given = [one or 0.0 for one in shares]
    else:
        given = [int(_MOST / len(models) / _STEP) * _STEP] * len(models)
    return Sharing(
        tuple(
            plan(model, card, replace(options, utilization=round(share, 2)))
            for model, share in zip(models, given, strict=True)
        )
    )


def _smallest_share(model: Architecture, card: Gpu, options: PlanOptions) -> float | None:
    for percent in range(2, int(_MOST / _STEP) + 1):
        share = percent * _STEP
        if plan(model, card, replace(options, utilization=share)).verdict is Verdict.FITS:
            return share
    return None


def _preference(sharing: Sharing) -> tuple[int, float, float]:
    """Best verdict, then the smallest slices that get it, then the most left over."""
    taken = sum(one.memory for one in sharing.slices)
    if sharing.verdict is not Verdict.FITS:
        taken = 0
    return _ORDER[sharing.verdict], taken, max(one.missing_gib for one in sharing.outcomes)

"""Figures and names that a text has, but not together.

"Ivanov got 5" is not what "Ivanov got 3, Petrov got 5" says, though every word is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from backend.core.dates import Date
from backend.core.facts import Fact, is_held
from backend.core.names import has_name


@dataclass(frozen=True, slots=True)
class Clause:
    """The facts and names that stand together."""

    facts: tuple[Fact, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """One fact or one name of a statement, and the clauses that hold it."""

    kind: str
    clauses: frozenset[int]


def is_crossed(facts: Sequence[Fact], names: Sequence[str], clauses: Sequence[Clause]) -> bool:
    """True when two of the facts and names never meet in a clause, and each stands with a
    rival of the other instead."""
    items = [_fact_item(fact, clauses) for fact in facts]
    items += [_name_item(name, clauses) for name in names]
    rivals = [_rival_kinds(clause, facts, names) for clause in clauses]
    return any(
        _apart(a, b) and _beside_rivals(a, b.kind, rivals) and _beside_rivals(b, a.kind, rivals)
        for a, b in combinations([item for item in items if item.clauses], 2)
        if a.kind != b.kind
    )


def _apart(a: _Item, b: _Item) -> bool:
    return not a.clauses & b.clauses


def _beside_rivals(item: _Item, kind: str, rivals: Sequence[frozenset[str]]) -> bool:
    return all(kind in rivals[i] for i in item.clauses)


def _fact_item(fact: Fact, clauses: Sequence[Clause]) -> _Item:
    held = (i for i, clause in enumerate(clauses) if is_held(fact, clause.facts))
    return _Item(_kind(fact), frozenset(held))


def _name_item(name: str, clauses: Sequence[Clause]) -> _Item:
    held = (i for i, clause in enumerate(clauses) if has_name(name, clause.names))
    return _Item("name", frozenset(held))


def _rival_kinds(clause: Clause, facts: Sequence[Fact], names: Sequence[str]) -> frozenset[str]:
    kinds = {_kind(f) for f in clause.facts if not any(is_held(own, [f]) for own in facts)}
    if any(not has_name(name, names) for name in clause.names):
        kinds.add("name")
    return frozenset(kinds)


def _kind(fact: Fact) -> str:
    reading = fact.readings[0]
    if isinstance(reading, Date):
        return "date"
    if isinstance(reading, Decimal):
        return "number"
    return reading.partition(":")[0] if ":" in reading else "code"

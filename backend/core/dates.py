"""Dates in the notations of Russian and English documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MONTHS: tuple[str, ...] = (
    r"январ[ьяюе]|янв\b\.?|january|jan\b\.?",
    r"феврал[ьяюе]|фев\b\.?|february|feb\b\.?",
    r"марта?|марте|марту|march|mar\b\.?",
    r"апрел[ьяюе]|апр\b\.?|april|apr\b\.?",
    r"ма[йяею]\b|may",
    r"июн[ьяюе]|june|jun\b\.?",
    r"июл[ьяюе]|july|jul\b\.?",
    r"августа?|августе|августу|авг\b\.?|august|aug\b\.?",
    r"сентябр[ьяюе]|сен(?:т)?\b\.?|september|sept?\b\.?",
    r"октябр[ьяюе]|окт\b\.?|october|oct\b\.?",
    r"ноябр[ьяюе]|ноя(?:б)?\b\.?|november|nov\b\.?",
    r"декабр[ьяюе]|дек\b\.?|december|dec\b\.?",
)
_MONTH_WORD = re.compile("|".join(f"(?P<m{i}>{p})" for i, p in enumerate(_MONTHS, start=1)))
_MONTH = r"(?:" + "|".join(_MONTHS) + r")(?!\w)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:19|20|21)\d\d"
# A dash with spaces is not a range: «Этап 1 — 15 января».
_TO = r"(?:[-–—]|\s+(?:по|до|и|to|and|until|through)\s+)"
_RU_YEAR = r"(?:\s*г(?:ода|оду|\.)?(?!\w))?"

# Tried in this order at each place; the first that matches takes the text.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(r"(?<![\w.,/])" + pattern))
    for name, pattern in (
        ("iso", rf"(?P<y>{_YEAR})-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-3]\d)(?!\d)"),
        ("dotted", rf"(?P<d>{_DAY})\.(?P<m>0?[1-9]|1[0-2])\.(?P<y>{_YEAR}|\d\d)(?![\d]|\.\d)"),
        ("slashed", rf"(?P<a>\d\d?)/(?P<b>\d\d?)/(?P<y>{_YEAR}|\d\d)(?!\d)"),
        (
            "day_month",
            rf"(?:(?P<d0>{_DAY})(?:-?(?:го|е|st|nd|rd|th))?{_TO})?(?P<d>{_DAY})"
            rf"(?:-?(?:го|е|st|nd|rd|th))?(?:\s+of)?\s+(?P<month>{_MONTH})"
            rf"(?:,?\s+(?P<y>{_YEAR}){_RU_YEAR})?",
        ),
        (
            "month_day",
            rf"(?P<month>{_MONTH})\s+(?P<d0>{_DAY})(?:st|nd|rd|th)?(?:{_TO}(?P<d>{_DAY})"
            rf"(?:st|nd|rd|th)?)?(?![\d.,]?\d)(?:,?\s+(?P<y>{_YEAR}))?",
        ),
        ("month_year", rf"(?P<month>{_MONTH}),?\s+(?:of\s+)?(?P<y>{_YEAR}){_RU_YEAR}"),
        ("numeric_month", rf"(?P<m>0[1-9]|1[0-2])[./](?P<y>{_YEAR})(?!\d)"),
        ("day_dot_month", r"(?P<d>0[1-9]|[12]\d|3[01])\.(?P<m>0[1-9]|1[0-2])(?![\d%]|\.\d|\s*%)"),
        ("month", rf"(?P<month>{_MONTH})"),
    )
)
# "may" and "march" are verbs too; alone they are months only after a preposition.
_VERB_MONTHS = frozenset({"may", "march", "mar"})
_BEFORE_MONTH = re.compile(r"\b(?:in|by|of|until|till|since|during|from|this|next|last|to)\s+$")


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date of which parts may be unsaid."""

    year: int | None
    month: int
    day: int | None

    def is_in(self, other: Date) -> bool:
        """True when ``other`` says at least this much, except for a year it leaves unsaid."""
        same_year = self.year is None or other.year in (None, self.year)
        if other.year is None and self.year is not None and other.day is None:
            same_year = False
        return (
            same_year and self.month == other.month and (self.day is None or self.day == other.day)
        )


@dataclass(frozen=True, slots=True)
class FoundDate:
    """``readings``: what it can mean; 03/04/2027 means two days. ``also_number`` for 15.01."""

    start: int
    end: int
    readings: tuple[Date, ...]
    also_number: bool = False


def find_dates(folded: str) -> Iterator[FoundDate]:
    """Dates of case-folded text (ё as е) from left to right, without overlaps."""
    position = 0
    upcoming: dict[str, re.Match[str]] = {}
    exhausted: set[str] = set()
    while True:
        for name, pattern in _PATTERNS:
            if name in exhausted or (name in upcoming and upcoming[name].start() >= position):
                continue
            match = pattern.search(folded, position)
            if match is None:
                exhausted.add(name)
                upcoming.pop(name, None)
            else:
                upcoming[name] = match
        if not upcoming:
            return
        # Of matches at one place, the pattern that is listed first.
        name = min((n for n, _ in _PATTERNS if n in upcoming), key=lambda n: upcoming[n].start())
        position = upcoming[name].end()
        yield from _read(name, upcoming[name], folded)


def _read(name: str, match: re.Match[str], folded: str) -> Iterator[FoundDate]:
    groups = match.groupdict()
    year = _year(groups.get("y"))
    start, end = match.span()
    if name == "slashed":
        readings = _slashed(int(match["a"]), int(match["b"]), year)
        if readings:
            yield FoundDate(start, end, readings)
        return
    is_verb = name == "month" and match["month"].rstrip(".") in _VERB_MONTHS
    if is_verb and not _BEFORE_MONTH.search(folded[max(0, start - 12) : start]):
        return
    month = _month(groups["month"]) if groups.get("month") else int(groups["m"])
    days: list[int | None] = [int(d) for key in ("d0", "d") if (d := groups.get(key))]
    for day in days or [None]:
        yield FoundDate(start, end, (Date(year, month, day),), also_number=name == "day_dot_month")


def _slashed(first: int, second: int, year: int | None) -> tuple[Date, ...]:
    orders = ((first, second), (second, first))
    return tuple(
        dict.fromkeys(Date(year, m, d) for d, m in orders if 1 <= m <= 12 and 1 <= d <= 31)
    )


def _year(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text) if len(text) == 4 else 2000 + int(text)


def _month(word: str) -> int:
    match = _MONTH_WORD.match(word)
    if match is None or match.lastgroup is None:
        raise ValueError(word)
    return int(match.lastgroup[1:])

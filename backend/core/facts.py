"""Numbers, dates, times, addresses and codes of a text, comparable across notations.

``15.01.2027``, ``15 января 2027`` and ``January 15, 2027`` are one fact, and so are
``1 200 000``, ``1,200,000`` and ``1.2 млн``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from backend.core.dates import Date, find_dates
from backend.core.numerals import NUMERAL_PHRASE, Unit, multiplier_at, numeral_value, unit_at

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://[^\s<>\"»)]+|www\.[^\s<>\"»)]+")
_PHONE = re.compile(r"(?<![\w.])\+?\d[\d \u00a0]*[(-][\d \u00a0()-]{4,}\d(?!\w)")
_CLOCK = re.compile(
    r"(?<![\d:.])([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?(?:\s?([ap])\.?m\b\.?)?(?![\d:])"
)
_HOUR_AM_PM = re.compile(r"(?<![\d:.])(1[0-2]|[1-9])\s?([ap])\.?m\b\.?")
_QUARTER = re.compile(
    r"\b(?:q([1-4])|(i{1,3}|iv|[1-4])(?:-?(?:й|м|го|st|nd|rd|th))?\s+(?:квартал\w*|кв\.|quarter))"
    r"(?:\s+(?:of\s+)?((?:19|20)\d\d))?(?!\w)"
)
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4}
_DOTTED_CODE = re.compile(r"(?<![\w.,])\d+(?:\.\d+){2,}(?![\w])")
_CODE = re.compile(r"(?<!\w)[^\W\d_]+[-–/_]?\d\w*(?:[-–/.:_]\w+)*")
_NUMBER = re.compile(
    r"(?<!\d)(?<!\d[.,])(?:\d{1,3}(?:[ \u00a0\u2009\u202f']\d{3})+(?![\d])(?:[.,]\d+)?"
    r"|\d{1,3}(?:,\d{3}){2,}(?:\.\d+)?(?!\d)|\d+(?:[.,]\d+)?)"
)
_AMBIGUOUS_THOUSANDS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_COUNTED = re.compile(r"[ \u00a0]([^\W\d_]{4})")
_MINUS = re.compile(r"(?:^|[\s(])[-−]$")
_LATIN_LOOKALIKES = str.maketrans("авекмнорстух", "abekmhopctyx")
_YEARS = range(1900, 2101)

Reading = Date | Decimal | str


@dataclass(frozen=True, slots=True)
class Fact:
    """One number, date, time, address or code at ``text[start:end]``.

    ``readings`` are the things it can mean; two facts agree when one reading does.
    ``counted`` is how the word after a number begins («5 насо|сов»), empty without one.
    ``loose`` facts may support a statement but are not demanded of a source ("one of them").
    """

    start: int
    end: int
    readings: tuple[Reading, ...]
    unit: Unit | None = None
    loose: bool = False
    counted: str = ""


def fold(text: str) -> str:
    """Lower case with ё as е, character for character, so that offsets stay valid."""
    return "".join(_fold_character(c) for c in text)


def find_facts(text: str) -> tuple[Fact, ...]:
    """All facts of ``text`` in order of their place."""
    rest = fold(text)
    facts: list[Fact] = []
    for finder in (_addresses, _clock_times, _dates, _quarters, _codes, _numbers, _numerals):
        found = list(finder(rest))
        facts.extend(found)
        rest = _blank(rest, found)
    return tuple(sorted(facts, key=lambda fact: (fact.start, fact.end)))


def is_held(fact: Fact, present: Iterable[Fact]) -> bool:
    """True when one of ``present`` says at least what ``fact`` says."""
    return any(_agree(fact, other) for other in present)


def is_miscounted(fact: Fact, present: Iterable[Fact]) -> bool:
    """True when the number stands beside other things, and another number beside its own."""
    if not fact.counted:
        return False
    facts = list(present)
    same_value = [other for other in facts if _agree(fact, other)]
    return (
        all(other.counted not in ("", fact.counted) for other in same_value)
        and any(other.counted == fact.counted for other in facts)
        and bool(same_value)
    )


def _agree(fact: Fact, other: Fact) -> bool:
    return any(_same(a, b, fact, other) for a in fact.readings for b in other.readings)


def _same(needed: Reading, given: Reading, fact: Fact, other: Fact) -> bool:
    if isinstance(needed, Date):
        return isinstance(given, Date) and needed.is_in(given)
    if isinstance(needed, Decimal):
        if isinstance(given, Date):
            return needed == given.year and (fact.unit is None or fact.unit.name == "year")
        return needed == given and _units_agree(fact.unit, other.unit)
    return needed == given


def _units_agree(needed: Unit | None, given: Unit | None) -> bool:
    """A bare number in a table may carry its unit in the header; a percent sign never does
    stand for a bare number."""
    if needed is None:
        return given is None or given.name != "percent"
    return given is None or needed.agrees(given)


def _fold_character(character: str) -> str:
    lower = character.lower()
    return "е" if lower == "ё" else lower if len(lower) == 1 else character


def _blank(text: str, facts: Iterable[Fact]) -> str:
    kept: list[str] = []
    position = 0
    for fact in sorted(facts, key=lambda f: f.start):
        kept.append(text[position : fact.start])
        kept.append("\x00" * (fact.end - max(fact.start, position)))
        position = max(position, fact.end)
    return "".join(kept) + text[position:]


def _addresses(text: str) -> Iterator[Fact]:
    for match in _ADDRESS.finditer(text):
        address = match[0].rstrip(".,;:!?")
        yield Fact(match.start(), match.start() + len(address), (address.rstrip("/"),))
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 10 <= len(digits) <= 15:
            national = digits[1:] if len(digits) == 11 and digits[0] in "78" else digits
            yield Fact(match.start(), match.end(), (f"tel:{national}",))


def _clock_times(text: str) -> Iterator[Fact]:
    for match in _CLOCK.finditer(text):
        yield Fact(*match.span(), (_time(int(match[1]), int(match[2]), match[3]),))
    for match in _HOUR_AM_PM.finditer(text):
        yield Fact(*match.span(), (_time(int(match[1]), 0, match[2]),))


def _time(hour: int, minute: int, half: str | None) -> str:
    if half and hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"time:{hour:02}:{minute:02}"


def _dates(text: str) -> Iterator[Fact]:
    for found in find_dates(text):
        readings: tuple[Reading, ...] = found.readings
        if found.also_number:
            readings += (Decimal(text[found.start : found.end]),)
        yield Fact(found.start, found.end, readings)


def _quarters(text: str) -> Iterator[Fact]:
    for match in _QUARTER.finditer(text):
        number = int(match[1]) if match[1] else _ROMAN.get(match[2]) or int(match[2])
        yield Fact(match.start(), match.end(3) if match[3] else match.end(), (f"quarter:{number}",))
        if match[3]:
            yield Fact(*match.span(3), (Decimal(match[3]),))


def _codes(text: str) -> Iterator[Fact]:
    for pattern in (_DOTTED_CODE, _CODE):
        for match in pattern.finditer(text):
            if pattern is _DOTTED_CODE and all(len(p) == 3 for p in match[0].split(".")[1:]):
                yield Fact(*match.span(), (Decimal(match[0].replace(".", "")),))
                continue
            code = re.sub(r"[-–_]", "", match[0]).translate(_LATIN_LOOKALIKES)
            yield Fact(*match.span(), (code,))


def _numbers(text: str) -> Iterator[Fact]:
    for match in _NUMBER.finditer(text):
        factor, end = multiplier_at(text, match.end())
        unit, end = unit_at(text, match.start(), end)
        sign = -1 if _MINUS.search(text[max(0, match.start() - 2) : match.start()]) else 1
        readings = tuple(sign * value * factor for value in _values(match[0]))
        counted = "" if unit else _counted_at(text, end)
        yield Fact(match.start(), end, readings, unit, counted=counted)


def _counted_at(text: str, end: int) -> str:
    match = _COUNTED.match(text, end)
    return match[1] if match else ""


def _values(digits: str) -> tuple[Decimal, ...]:
    compact = re.sub(r"[ \u00a0\u2009\u202f']", "", digits)
    if compact.count(",") > 1:
        return (Decimal(compact.replace(",", "")),)
    value = Decimal(compact.replace(",", "."))
    if _AMBIGUOUS_THOUSANDS.fullmatch(digits):  # "1,200" is 1200 in English and 1.2 in Russian
        return (value, Decimal(re.sub(r"[.,]", "", digits)))
    return (value,)


def _numerals(text: str) -> Iterator[Fact]:
    for match in NUMERAL_PHRASE.finditer(text):
        value = numeral_value(match[0])
        factor, end = multiplier_at(text, match.end())
        unit, end = unit_at(text, match.start(), end)
        is_article = value == 1 and unit is None
        counted = "" if unit else _counted_at(text, end)
        yield Fact(match.start(), end, (value * factor,), unit, is_article, counted)

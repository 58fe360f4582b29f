"""Numbers written as words, and the units that stand beside numbers, in Russian and English."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_RUSSIAN_NUMERALS: tuple[tuple[str, int], ...] = (
    ("один|одна|одно|одного|одной|одному|одним|одну", 1),
    ("два|две|двух|двум|двумя", 2),
    ("три|трех|трем|тремя", 3),
    ("четыре|четырех|четырем|четырьмя", 4),
    ("пять|пяти|пятью", 5),
    ("шесть|шести|шестью", 6),
    ("семь|семи|семью", 7),
    ("восемь|восьми|восемью", 8),
    ("девять|девяти|девятью", 9),
    ("десять|десяти|десятью", 10),
    ("одиннадцать|одиннадцати|одиннадцатью", 11),
    ("двенадцать|двенадцати|двенадцатью", 12),
    ("тринадцать|тринадцати|тринадцатью", 13),
    ("четырнадцать|четырнадцати|четырнадцатью", 14),
    ("пятнадцать|пятнадцати|пятнадцатью", 15),
    ("шестнадцать|шестнадцати|шестнадцатью", 16),
    ("семнадцать|семнадцати|семнадцатью", 17),
    ("восемнадцать|восемнадцати|восемнадцатью", 18),
    ("девятнадцать|девятнадцати|девятнадцатью", 19),
    ("двадцать|двадцати|двадцатью", 20),
    ("тридцать|тридцати|тридцатью", 30),
    ("сорок|сорока", 40),
    ("пятьдесят|пятидесяти", 50),
    ("шестьдесят|шестидесяти", 60),
    ("семьдесят|семидесяти", 70),
    ("восемьдесят|восьмидесяти", 80),
    ("девяносто|девяноста", 90),
    ("сто|ста", 100),
    ("двести|двухсот", 200),
    ("триста|трехсот", 300),
    ("пятьсот|пятисот", 500),
)
_ENGLISH_NUMERALS: tuple[tuple[str, int], ...] = (
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
)
_NUMERALS = {
    form: value
    for forms, value in _RUSSIAN_NUMERALS + _ENGLISH_NUMERALS
    for form in forms.split("|")
}
_NUMERAL = "|".join(sorted(_NUMERALS, key=len, reverse=True))

# Parts of Russian compounds: трёхнедельный, двухлетний, пятидневный.
_COMPOUND = re.compile(
    r"\b(двух|трех|четырех|пяти|шести|семи|восьми|девяти|десяти|двенадцати|тридцати)"
    r"(?=(?:дневн|недельн|месячн|летн|годичн|часов|минутн|процентн|кратн|этажн))"
)

NUMERAL_PHRASE = re.compile(
    rf"\b(?:{_NUMERAL})(?:[\s-]+(?:and\s+)?(?:{_NUMERAL}))*\b|{_COMPOUND.pattern}"
)

_MULTIPLIERS: tuple[tuple[str, int], ...] = (
    (r"тыс(?:яч\w*|\b\.?)|thousand\b", 1_000),
    (r"миллион\w*|млн\b\.?|million\b|mln\b|mio\b", 1_000_000),
    (r"миллиард\w*|млрд\b\.?|billion\b|bn\b|bln\b", 1_000_000_000),
    (r"триллион\w*|трлн\b\.?|trillion\b", 1_000_000_000_000),
)
_MULTIPLIER = re.compile(
    r"\s?(?:" + "|".join(f"(?P<m{i}>{p})" for i, (p, _) in enumerate(_MULTIPLIERS)) + ")"
)
# Attached to the digits and never after a space: "5 m" are metres, "$5m" are millions.
_SHORT_MULTIPLIER = re.compile(r"(?:(k)|(m))\b(?!\w)")

_UNITS: tuple[tuple[str, str], ...] = (
    ("percent", r"%|процент\w*|percent\b|per cent\b"),
    ("rub", r"руб\w*|₽|р\.(?!\w)|rub\b|rubles?\b|roubles?\b"),
    ("usd", r"\$|долл\w*|usd\b|(?:us )?dollars?\b"),
    ("eur", r"€|евро\b|eur\b|euros?\b"),
    ("day", r"дн(?:я|ей|ю|ям|ями|ях|и|евн\w*)?\b|день\b|днем\b|сут(?:ки|ок|кам|ками)\b|days?\b"),
    ("week", r"недел\w*|weeks?\b"),
    ("month", r"месяц\w*|месячн\w*|мес\b|months?\b"),
    ("year", r"год\w*|лет\b|летн\w*|г\.|г\b|years?\b"),
    ("hour", r"час\w*|ч\b|hours?\b|hrs?\b"),
    ("minute", r"минут\w*|мин\b|minutes?\b|min\b"),
    ("second", r"секунд\w*|сек\b|seconds?\b|sec\b"),
)
_UNIT = re.compile(
    r"[\s-]{0,2}(?:(?P<working>рабоч\w*|банковск\w*|business|working)\s|"
    r"(?P<calendar>календарн\w*|calendar)\s|полн\w*\s|full\s)?(?:"
    + "|".join(f"(?P<{name}>{pattern})" for name, pattern in _UNITS)
    + ")"
)
_CURRENCY_BEFORE = {"$": "usd", "€": "eur", "₽": "rub"}


@dataclass(frozen=True, slots=True)
class Unit:
    """``qualifier`` is "working" or "calendar" where the text says which days are meant."""

    name: str
    qualifier: str = ""

    def agrees(self, other: Unit) -> bool:
        same_days = not (self.qualifier and other.qualifier) or self.qualifier == other.qualifier
        return self.name == other.name and same_days


def numeral_value(phrase: str) -> int:
    """The value of a matched ``NUMERAL_PHRASE``, which is folded text."""
    compound = _COMPOUND.match(phrase + "дневн")
    if phrase not in _NUMERALS and compound:
        return _NUMERALS[compound[1]]
    total = 0
    for word in re.split(r"[\s-]+", phrase):
        value = _NUMERALS.get(word, 0)
        total = max(total, 1) * 100 if word == "hundred" else total + value
    return total


def multiplier_at(text: str, position: int) -> tuple[Decimal, int]:
    """The factor written at ``position`` of folded text ("млн", "thousand") and where it ends."""
    match = _MULTIPLIER.match(text, position)
    if match and match.lastgroup:
        return Decimal(_MULTIPLIERS[int(match.lastgroup[1:])][1]), match.end()
    short = _SHORT_MULTIPLIER.match(text, position)
    if short:
        return Decimal(1_000 if short[1] else 1_000_000), short.end()
    return Decimal(1), position


def unit_at(text: str, start: int, end: int) -> tuple[Unit | None, int]:
    """The unit of a number at ``text[start:end]`` of folded text, and where the unit ends."""
    match = _UNIT.match(text, end)
    if match:
        name = next(name for name, _ in _UNITS if match[name])
        qualifier = "working" if match["working"] else "calendar" if match["calendar"] else ""
        return Unit(name, qualifier), match.end()
    before = text[max(0, start - 2) : start].rstrip()[-1:]
    return (Unit(_CURRENCY_BEFORE[before]), end) if before in _CURRENCY_BEFORE else (None, end)

"""What a whole document says in figures, dates and names, indexed once and asked often."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from backend.core.dates import Date
from backend.core.facts import Fact, find_facts, fold, is_held
from backend.core.names import find_names, is_same_name

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_ORDINAL = re.compile(
    r"\b(?:(?P<n1>перв|first\b)|(?P<n2>втор(?!ник)|second\b)|(?P<n3>трет|third\b)"
    r"|(?P<n4>четверт(?!ь)|fourth\b)|(?P<n5>пят(?=ы|о|ая|ую)|fifth\b)|(?P<n6>шест(?=о|ая|ую|ы)|sixth\b)"
    r"|(?P<n7>седьм|seventh\b)|(?P<n8>восьм(?!и|ью)|eighth\b)|(?P<n9>девят(?=ы|о|ая|ую)|ninth\b)"
    r"|(?P<n10>десят(?=ы|о|ая|ую)|tenth\b))"
)
_ROMAN = re.compile(r"\b(?=[IVXLC]{1,8}\b)(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\b")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}

# Units that ``facts`` does not know: they decide only where every mention has another one.
_MEASURES = (
    ("km", r"км|km|километр\w*|kilomet\w+"),
    ("kg", r"кг|kg|килограмм\w*|kilogram\w*"),
    ("mm", r"мм|mm|миллиметр\w*|millimet\w+"),
    ("cm", r"см|cm|сантиметр\w*|centimet\w+"),
    ("m2", r"кв\.?\s?м\w*|м²|м2|m²|m2|sq\.?\s?m|square met\w+"),
    ("m", r"м|m|метр\w*|met(?:er|re)s?"),
    ("t", r"т|тонн\w*|tons?|tonnes?"),
    ("g", r"грамм\w*|grams?"),
    ("kw", r"квт|kw|киловатт\w*|kilowatts?"),
    ("mw", r"мвт|mw|мегаватт\w*|megawatts?"),
    ("mb", r"мб|mb|мегабайт\w*|megabytes?"),
    ("gb", r"гб|gb|гигабайт\w*|gigabytes?"),
    ("tb", r"тб|tb|терабайт\w*|terabytes?"),
    ("celsius", r"°\s?[cс]|градус\w* цельсия|degrees celsius"),
    ("fahrenheit", r"°\s?f|градус\w* фаренгейта|degrees fahrenheit"),
    ("db", r"дбм?|dbm?"),
    ("gbp", r"£|фунт\w* стерлинг\w*|gbp|pounds? sterling"),
    ("cny", r"юан\w*|cny|yuan"),
    ("kzt", r"тенге|kzt|tenge"),
    ("mile", r"мил[яьией]\w*|miles?"),
    ("litre", r"л|литр\w*|lit(?:er|re)s?"),
)
_MEASURE = re.compile(
    r"[ \u00a0\u202f-]{0,2}(?:" + "|".join(f"(?P<{n}>{p})" for n, p in _MEASURES) + r")(?!\w)"
)
# What a name may begin with in the two alphabets.
_FIRST_LETTERS = (
    ("а", "a"), ("б", "b"), ("в", "vw"), ("г", "gh"), ("д", "djg"), ("е", "eyj"), ("ж", "zjg"),
    ("з", "zs"), ("и", "iyej"), ("й", "yji"), ("к", "kcqx"), ("л", "l"), ("м", "m"), ("н", "n"),
    ("о", "oa"), ("п", "p"), ("р", "r"), ("с", "sc"), ("т", "t"), ("у", "uwo"), ("ф", "fpt"),
    ("х", "hkx"), ("ц", "tcz"), ("ч", "ct"), ("ш", "s"), ("щ", "s"), ("э", "eah"), ("ю", "yuj"),
    ("я", "yji"),
)  # fmt: skip
_SOFT_J = re.compile(r"j|g(?=[eiy])")
_KNOWN_CURRENCIES = {"gbp", "cny", "kzt"}
_WORD_AND_NUMBER = re.compile(r"[^\W\d_]{5,}(\d+)")
_ANY_WORD = "word-"
_SIMILAR_LENGTHS = 0.6


@dataclass(frozen=True, slots=True)
class MeasuredFact:
    """``measure`` is the unit behind a number where ``facts`` has none for it, else empty."""

    fact: Fact
    measure: str = ""


def fold_quickly(text: str) -> str:
    """The same as ``fold``, for a whole document."""
    lower = text.lower()
    return lower.replace("ё", "е") if len(lower) == len(text) else fold(text)


def measured_facts(text: str) -> Iterator[MeasuredFact]:
    folded = fold_quickly(text)
    for fact in find_facts(text):
        measure = ""
        if fact.unit is None and any(isinstance(r, Decimal) for r in fact.readings):
            match = _MEASURE.match(folded, fact.end)
            measure = next((n for n, _ in _MEASURES if match and match[n]), "")
        yield MeasuredFact(fact, measure)


class DocumentFacts:
    """Facts and names of a document. Making one takes about a second per million characters."""

    def __init__(self, text: str) -> None:
        self._by_reading: dict[object, set[MeasuredFact]] = defaultdict(set)
        for found in measured_facts(text):
            general = MeasuredFact(replace(found.fact, start=0, end=0), found.measure)
            for reading in found.fact.readings:
                for key in _keys(reading):
                    self._by_reading[key].add(general)
        folded = fold_quickly(text)
        self._extra = _ordinals(folded) | set(_romans(text))
        self._numbers = sorted(k for k in self._by_reading if isinstance(k, Decimal))
        self._words = frozenset(_WORD.findall(folded))
        self._names: dict[tuple[bool, str], list[str]] = defaultdict(list)
        for name in dict.fromkeys(fold(n.text) for n in find_names(text)):
            self._names[_is_cyrillic(name), name[0]].append(name)

    @property
    def words(self) -> frozenset[str]:
        """Every word of the document, folded."""
        return self._words

    def holds(self, found: MeasuredFact, *, slack: Decimal = Decimal(0)) -> bool:
        """``slack``: how far from one that is there a number may be, for roundings."""
        fact = found.fact
        present = [
            other
            for reading in fact.readings
            for key in _keys(reading)
            for other in self._by_reading.get(key, ())
        ]
        agreeing = [other for other in present if _is_same(fact, other.fact)]
        if agreeing:
            return _measures_agree(found.measure, agreeing)
        if fact.unit is None and any(r in self._extra for r in fact.readings):
            return True
        return slack > 0 and any(self._near(found, r, slack) for r in _decimals(fact))

    def holds_name(self, name: str) -> bool:
        folded = fold(name)
        if folded in self._words or folded.removesuffix("'s").removesuffix("’s") in self._words:
            return True
        cyrillic = _is_cyrillic(folded)
        if any(is_same_name(folded, other) for other in self._names.get((cyrillic, folded[0]), ())):
            return True
        parts = re.split(r"[-–]", folded)
        if len(parts) > 1 and all(len(p) < 2 or self.holds_name(p) for p in parts):
            return True
        return any(
            _may_sound_alike(folded, other)
            for letter in _first_letters(folded)
            for other in self._names.get((not cyrillic, letter), ())
        )

    def _near(self, found: MeasuredFact, value: Decimal, slack: Decimal) -> bool:
        at = bisect_left(self._numbers, value - slack)
        while at < len(self._numbers) and self._numbers[at] <= value + slack:
            known = self._numbers[at]
            for other in self._by_reading[known]:
                alike = replace(found.fact, readings=(known,))
                if is_held(alike, (other.fact,)) and _measures_agree(found.measure, [other]):
                    return True
            at += 1
        return False


def _measures_agree(measure: str, others: Iterable[MeasuredFact]) -> bool:
    """A number without a unit may have it in the header of its table."""
    known = list(others)
    if not measure:
        return True
    if measure in _KNOWN_CURRENCIES and any(o.fact.unit for o in known):
        known = [o for o in known if not o.fact.unit]
    return any(o.measure in ("", measure) for o in known)


def _keys(reading: object) -> Iterator[object]:
    """«кислород-18» and "oxygen-18" meet in 18; shorter letters are a code («GOR-212»)."""
    yield (reading.month,) if isinstance(reading, Date) else reading
    if isinstance(reading, str) and (match := _WORD_AND_NUMBER.fullmatch(reading)):
        yield f"{_ANY_WORD}{match[1]}"
    if isinstance(reading, Date) and reading.year is not None:
        yield Decimal(reading.year)


def _is_same(fact: Fact, other: Fact) -> bool:
    if is_held(fact, (other,)):
        return True
    worded = {key for f in (fact, other) for r in f.readings for key in _keys(r)}
    return any(isinstance(k, str) and k.startswith(_ANY_WORD) for k in worded)


def _decimals(fact: Fact) -> Iterator[Decimal]:
    return (r for r in fact.readings if isinstance(r, Decimal))


def _ordinals(folded: str) -> set[Decimal]:
    return {Decimal(m.lastgroup[1:]) for m in _ORDINAL.finditer(folded) if m.lastgroup}


def _romans(text: str) -> Iterator[Decimal]:
    for match in _ROMAN.finditer(text):
        digits = [_ROMAN_DIGITS[c] for c in match[0]]
        if digits:
            following = [*digits[1:], 0]
            yield Decimal(sum(-d if d < n else d for d, n in zip(digits, following, strict=True)))


def _is_cyrillic(word: str) -> bool:
    return "\u0400" <= word[0] <= "\u04ff"


def _first_letters(word: str) -> Iterator[str]:
    """How the word may begin in the other alphabet."""
    for cyrillic, latin in _FIRST_LETTERS:
        if word[0] == cyrillic:
            yield from latin
        elif word[0] in latin:
            yield cyrillic


def _may_sound_alike(a: str, b: str) -> bool:
    """The comparison of two alphabets is slow; lengths rule most pairs out."""
    shorter, longer = sorted((len(a), len(b)))
    if shorter < _SIMILAR_LENGTHS * longer:
        return False
    if is_same_name(a, b):
        return True
    latin, cyrillic = (b, a) if _is_cyrillic(a) else (a, b)
    return "дж" in cyrillic and is_same_name(_SOFT_J.sub("dzh", latin), cyrillic)

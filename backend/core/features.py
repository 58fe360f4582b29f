"""What two texts are compared by: content words, facts, names and polarity."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from backend.core.crossing import Clause
from backend.core.facts import Fact, find_facts, fold
from backend.core.names import Name, find_names
from backend.core.polarity import NEUTRAL, Polarity, polarity

Terms = Callable[[str], frozenset[int]]

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)
_LATIN = re.compile(r"[a-z]", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[,;](?=\s)|\s(?:и|а|and|while)\s|\n")
_KINDRED_PREFIX = 6
_KINDRED_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Word:
    """A content word: folded, with its term ids (never empty)."""

    text: str
    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Features:
    words: tuple[Word, ...] = ()  # without those inside facts
    facts: tuple[Fact, ...] = ()
    names: tuple[Name, ...] = ()
    clauses: tuple[Clause, ...] = ()
    polarity: Polarity = NEUTRAL
    ids: frozenset[int] = frozenset()  # of all words, those inside facts too
    prefixes: frozenset[str] = frozenset()

    def joined(self, other: Features) -> Features:
        return Features(
            self.words + other.words,
            self.facts + other.facts,
            self.names + other.names,
            self.clauses + other.clauses,
            self.polarity.joined(other.polarity),
            self.ids | other.ids,
            self.prefixes | other.prefixes,
        )

    def has_word(self, word: Word) -> bool:
        """True for the same stem, or a kindred one (поставка, поставщик)."""
        if word.ids & self.ids:
            return True
        if len(word.text) < _KINDRED_PREFIX or word.text[:_KINDRED_PREFIX] not in self.prefixes:
            return False
        return any(_kindred(word.text, other.text) for other in self.words)


class Analyst:
    """Reads features of texts; remembers the stems of words it has seen."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._ids: dict[str, frozenset[int]] = {}

    def features(self, text: str) -> Features:
        facts = find_facts(text)
        taken = _taken(facts)
        names = tuple(n for n in find_names(text) if n.start not in taken)
        folded = fold(text)
        words: list[Word] = []
        ids: set[int] = set()
        for match in _WORD.finditer(folded):
            found = self.word(match[0])
            ids |= found.ids
            if found.ids and match.start() not in taken:
                words.append(found)
        return Features(
            tuple(words),
            facts,
            names,
            tuple(_clauses(folded, facts, names)),
            polarity(folded),
            frozenset(ids),
            frozenset(w.text[:_KINDRED_PREFIX] for w in words if len(w.text) >= _KINDRED_PREFIX),
        )

    def word(self, folded: str) -> Word:
        if folded not in self._ids:
            self._ids[folded] = self._terms(folded)
        return Word(folded, self._ids[folded])


def join(parts: Iterable[Features]) -> Features:
    return reduce(Features.joined, parts, Features())


def same_script(a: str, b: str) -> bool:
    """False when one text is mostly Cyrillic and the other mostly Latin."""
    return _is_cyrillic(a) == _is_cyrillic(b)


def _is_cyrillic(text: str) -> bool:
    return len(_CYRILLIC.findall(text)) >= len(_LATIN.findall(text))


def _taken(facts: Sequence[Fact]) -> frozenset[int]:
    return frozenset(i for fact in facts for i in range(fact.start, fact.end))


def _clauses(folded: str, facts: Sequence[Fact], names: Sequence[Name]) -> Iterator[Clause]:
    taken = _taken(facts)
    ends = [m.start() for m in _CLAUSE_END.finditer(folded) if m.start() not in taken]
    facts_in: dict[int, list[Fact]] = {}
    names_in: dict[int, list[str]] = {}
    for fact in facts:
        facts_in.setdefault(bisect_right(ends, fact.start), []).append(fact)
    for name in names:
        names_in.setdefault(bisect_right(ends, name.start), []).append(name.text)
    for clause in sorted(facts_in.keys() | names_in.keys()):
        yield Clause(tuple(facts_in.get(clause, ())), tuple(names_in.get(clause, ())))


def _kindred(a: str, b: str) -> bool:
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1
    return shared >= _KINDRED_PREFIX and shared >= _KINDRED_SHARE * max(len(a), len(b))

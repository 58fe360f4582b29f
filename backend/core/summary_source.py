"""A text that summaries are compared with, and how much of a summary is found in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from backend.core.document_facts import DocumentFacts, measured_facts
from backend.core.facts import Fact, fold
from backend.core.features import Terms
from backend.core.language import AnswerLanguage
from backend.core.names import find_names
from backend.core.sentences import sentence_spans

Relation = Literal["same", "other", "unsure"]

_LETTERS = {
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "en": re.compile(r"[A-Za-z]"),
}
_WITH_DIGITS = re.compile(r"\S*\d\S*")  # every text has a 20
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+|https?://\S+")
_BLOCK_CHARS = 1000
_LONGEST_WORD = 40
_LEAST_TERMS = 2  # of a sentence; fewer say nothing

# Share of a sentence's stems in the window that has most of them, by sentence length. Measured:
# right summaries 0.41 and more (people's, of stories) or 0.55 (models'); those of other documents
# up to 0.24 of one window, 0.29 of twenty, 0.45 of forty.
_FOUND = 0.5
_FOUND_ALONE = 0.36  # where there are no figures and names to tell
_FOUND_FEW = 0.28
_FOUND_FEW_PER_WINDOW = 0.0018
_FOUND_FEW_MOST = 0.42
_FOUND_TRACES = 0.7  # of what is few: enough where nearly all figures and names are there
_SOME_OF_LANGUAGE = 0.2
_ONE_LANGUAGE = 0.75
_OWN_LANGUAGE = 0.5  # share of the source's letters that makes words decide
# Figures and names are the same in both languages.
_ENOUGH_ANCHORS = 3
_HELD = 0.6
_HELD_FEW = 0.34
_HELD_NEARLY_ALL = 0.75
# Names may be translated («Лондон», "Picardy"), so only many that are missing say something.
_MANY_NAMES = 8
_SMALL_NUMBER = 10


@dataclass(frozen=True, slots=True)
class Anchors:
    """Figures (dates too) and names of a summary, and how many of them the source has."""

    figures: int
    figures_held: int
    names: int
    names_held: int

    @property
    def total(self) -> int:
        return self.figures + self.names

    @property
    def held(self) -> int:
        return self.figures_held + self.names_held

    @property
    def share(self) -> float:
        return self.held / self.total if self.total else 0.0


class SourceText:
    """Made once per text, in a thread: about a second and a half per million characters."""

    def __init__(self, text: str, terms: Terms) -> None:
        self.text = text
        self.facts = DocumentFacts(text)
        letters = Counter(text)
        self.letters = frozenset(letters)
        self._terms = terms
        blocks = [terms(block) for block in _blocks(text)]
        # Two blocks each, so that a passage is whole in one of them.
        self._windows = tuple(a | b for a, b in pairwise(blocks)) or tuple(blocks)
        self._ids = frozenset[int]().union(*blocks)
        counted = {
            code: sum(n for c, n in letters.items() if alphabet.match(c))
            for code, alphabet in _LETTERS.items()
        }
        addresses = Counter("".join(_ADDRESS.findall(text)))
        counted["en"] -= sum(n for c, n in addresses.items() if _LETTERS["en"].match(c))
        every = sum(counted.values()) or 1
        self._shares = {code: n / every for code, n in counted.items()}

    def share_of(self, language: AnswerLanguage) -> float:
        """The share of the source's letters that are of the language's alphabet."""
        return self._shares[language]

    def has_word(self, folded: str) -> bool:
        return folded in self.facts.words or bool(self._terms(folded) & self._ids)

    def found(self, summary: str) -> float | None:
        """The share of its stems that stand together in the source; None: it has none."""
        total = found = 0
        for start, end in sentence_spans(summary):
            ids = self._terms(_WITH_DIGITS.sub(" ", summary[start:end]))
            if len(ids) >= _LEAST_TERMS:
                total += len(ids)
                found += max((len(ids & window) for window in self._windows), default=0)
        return found / total if total else None

    def anchors(self, summary: str) -> Anchors:
        figures: dict[str, bool] = {}
        names: dict[str, bool] = {}
        taken: set[int] = set()
        for found in measured_facts(summary):
            fact = found.fact
            taken.update(range(fact.start, fact.end))
            if not fact.loose and not _is_small(fact):
                figures[summary[fact.start : fact.end]] = self.facts.holds(found)
        for name in find_names(summary):
            if name.certain and name.start not in taken:
                names[fold(name.text)] = self.facts.holds_name(name.text)
        return Anchors(len(figures), sum(figures.values()), len(names), sum(names.values()))

    def pieces(self, most: int) -> tuple[str, ...]:
        """At most so many pieces of about a thousand characters, spread over the text."""
        starts = range(0, max(len(self.text), 1), _BLOCK_CHARS)
        step = max(1, -(-len(starts) // most))
        return tuple(self.text[start : start + _BLOCK_CHARS] for start in starts[::step])

    def relation(self, summary: str, language: AnswerLanguage) -> Relation:
        """Whether ``summary`` can be of this text.

        In the language of the source its words decide, between two languages only what is written
        alike in both: "unsure" then is for a comparison of meaning.
        """
        anchors = self.anchors(summary)
        share = self.share_of(language)
        found = self.found(summary) or 0.0
        if share >= _OWN_LANGUAGE:
            return self._by_words(found, anchors, share)
        if share >= _SOME_OF_LANGUAGE and found >= _FOUND:
            return "same"
        return _across_languages(anchors)

    def _by_words(self, found: float, anchors: Anchors, share: float) -> Relation:
        few = min(_FOUND_FEW + _FOUND_FEW_PER_WINDOW * len(self._windows), _FOUND_FEW_MOST)
        alone = _FOUND_ALONE
        if share < _ONE_LANGUAGE:  # the rest may be told of as well
            few, alone = few * share, few * share
        enough = anchors.total >= _ENOUGH_ANCHORS
        if found < few:
            known = enough and anchors.share >= _HELD_NEARLY_ALL and found >= _FOUND_TRACES * few
            return "same" if known else "other"
        if (enough and anchors.share < _HELD_FEW) or (not enough and found < alone):
            return "other"
        return "same" if found >= _FOUND or (enough and anchors.share >= _HELD) else "unsure"


def _across_languages(anchors: Anchors) -> Relation:
    if anchors.total >= _ENOUGH_ANCHORS and anchors.share >= _HELD:
        return "same"
    figures, held = anchors.figures, anchors.figures_held
    if figures >= _ENOUGH_ANCHORS:
        if held >= _HELD_NEARLY_ALL * figures:
            return "same"
        return "other" if held < _HELD_FEW * figures else "unsure"
    strangers = anchors.names >= _MANY_NAMES and anchors.names_held == 0
    return "other" if strangers and held == 0 else "unsure"


def _is_small(fact: Fact) -> bool:
    """Every text has a two or a ten."""
    return fact.unit is None and all(
        isinstance(r, Decimal) and abs(r) <= _SMALL_NUMBER for r in fact.readings
    )


def _blocks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _BLOCK_CHARS
        gap = text.find(" ", end)
        end = gap if gap != -1 and gap < end + _LONGEST_WORD else end
        yield text[start:end]
        start = end

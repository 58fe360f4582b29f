"""An answer without a model: the sentences of the sources that answer the question best.

Two steps like ``backend.core.citations``: ``likely_sentences`` chooses by words, ``compose``
weighs with cosines and says None when nothing answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from backend.core.dates import Date
from backend.core.facts import Fact, fold, is_held
from backend.core.features import Analyst, Features, Terms, Word, same_script
from backend.core.names import has_name
from backend.core.types import StoredChunk
from backend.core.windows import Source, Window

MOST_SENTENCES = 3
_CANDIDATES = 16  # each is embedded, 20-60 ms
_MOST_ITEMS = 12  # of a list that a chosen sentence leads into
_ALSO_GOOD = 0.03  # a further sentence may score this much less than the best

# score = cosine + _COVERAGE_WEIGHT * coverage; fitted on XQuAD, see docs/decisions/0005.
_COVERAGE_WEIGHT = 0.15
_ENOUGH_SAME_LANGUAGE = 0.90
_ENOUGH_OTHER_LANGUAGE = 0.79
_ENOUGH_BY_WORDS = 0.6

_ITEM = re.compile(r"\n\s*(?:[-*•–—]|\d{1,2}[.)])\s[^\n]*")

Sought = Literal["date", "number", "name", "any"]
_SOUGHT: tuple[tuple[Sought, re.Pattern[str]], ...] = (
    ("date", re.compile(r"\b(?:когда|в каком году|какого числа|when|what year|what date)\b")),
    (
        "number",
        re.compile(
            r"\b(?:сколько|как много|каков\w* (?:сумм|стоимост|цен)\w*|how (?:many|much|long))\b"
        ),
    ),
    ("name", re.compile(r"\b(?:кто|кого|кому|кем|who|whom|whose)\b")),
)


@dataclass(frozen=True, slots=True)
class LikelySentence:
    """``coverage``: share of the question's content words in the sentence and its heading.
    ``items``: the list that a sentence ending with a colon leads into.
    """

    number: int
    start: int
    text: str
    coverage: float
    same_language: bool
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtractiveAnswer:
    """``text`` holds whole sentences of the sources, each with its marker."""

    text: str
    markers: tuple[int, ...]


def likely_sentences(
    question: str, chunks: Sequence[StoredChunk], terms: Terms
) -> tuple[LikelySentence, ...]:
    """At most sixteen, best first; equals in the order of the chunks.

    CPU work: some milliseconds per chunk.
    """
    analyst = Analyst(terms)
    asked = analyst.features(question)
    sought = _sought(fold(question))
    found = [
        LikelySentence(
            window.number,
            window.start,
            window.text,
            _coverage(asked, window),
            same_script(question, window.text),
            _items_after(chunk.chunk.text, window),
        )
        for number, chunk in enumerate(chunks, start=1)
        for window in Source(number, chunk, analyst).windows(range(1, 2))
        if not _is_heading(window, chunk) and _could_answer(question, asked, sought, window)
    ]
    return tuple(sorted(found, key=lambda s: (-s.coverage, s.number, s.start))[:_CANDIDATES])


def compose(
    sentences: Sequence[LikelySentence], cosines: Sequence[float] | None
) -> ExtractiveAnswer | None:
    """``cosines[i]``: of the question and ``sentences[i]``; None decides by words alone."""
    unknown: Sequence[float | None] = (None,) * len(sentences)
    weights = unknown if cosines is None else cosines
    scored = [(_score(s, c), s) for s, c in zip(sentences, weights, strict=True)]
    good = sorted((p for p in scored if p[0] >= 0), key=lambda p: -p[0])
    if not good:
        return None
    chosen = [s for score, s in good if score >= good[0][0] - _ALSO_GOOD][:MOST_SENTENCES]
    chosen.sort(key=lambda s: (s.number, s.start))
    text = "\n".join(dict.fromkeys(line for sentence in chosen for line in _lines(sentence)))
    return ExtractiveAnswer(text, tuple(dict.fromkeys(s.number for s in chosen)))


def _lines(sentence: LikelySentence) -> list[str]:
    """The sentence with its marker, or what it leads into with one each."""
    text = " ".join(sentence.text.split())
    if not sentence.items:
        return [f"{text} [{sentence.number}]"]
    return [text, *(f"{item} [{sentence.number}]" for item in sentence.items)]


def _items_after(text: str, window: Window) -> tuple[str, ...]:
    if not window.text.rstrip().endswith(":"):
        return ()
    items: list[str] = []
    position = window.start + len(window.text.rstrip())
    while len(items) < _MOST_ITEMS and (item := _ITEM.match(text, position)):
        items.append(" ".join(item[0].split()))
        position = item.end()
    return tuple(items)


def _is_heading(window: Window, stored: StoredChunk) -> bool:
    text = window.text.strip()
    bare = text.strip("#= ").casefold()
    return text.startswith("#") or bare in (title.casefold() for title in stored.chunk.heading_path)


def _score(sentence: LikelySentence, cosine: float | None) -> float:
    """How far over the threshold; negative when not good enough."""
    if cosine is None:
        return (sentence.coverage - _ENOUGH_BY_WORDS) / 10
    enough = _ENOUGH_SAME_LANGUAGE if sentence.same_language else _ENOUGH_OTHER_LANGUAGE
    return cosine + _COVERAGE_WEIGHT * sentence.coverage - enough


def _sought(question: str) -> Sought:
    return next((kind for kind, pattern in _SOUGHT if pattern.search(question)), "any")


def _could_answer(question: str, asked: Features, sought: Sought, window: Window) -> bool:
    """The sentence has what is asked for, and what the question itself names."""
    text = window.text.strip()
    if len(text.split()) < 3 or text.endswith("?"):
        return False
    piece = window.features
    new_facts = [f for f in piece.facts if not is_held(f, asked.facts)]
    if sought == "date" and not any(_dates_something(f) for f in new_facts):
        return False
    if sought == "number" and not any(
        isinstance(r, Decimal) for f in new_facts for r in f.readings
    ):
        return False
    if sought == "name":
        known = [name.text for name in asked.names]
        return any(not has_name(name.text, known) for name in piece.names)
    return True


def _dates_something(fact: Fact) -> bool:
    reading = fact.readings[0]
    year = isinstance(reading, Decimal) and 1000 <= reading <= 2200
    return isinstance(reading, Date) or year or str(reading).startswith(("quarter:", "time:"))


def _coverage(asked: Features, window: Window) -> float:
    wide = window.features.joined(window.around)
    words: list[Word] = list(dict.fromkeys(asked.words))
    held = sum(wide.has_word(word) for word in words)
    held += sum(is_held(fact, wide.facts) for fact in asked.facts)
    return held / max(len(words) + len(asked.facts), 1)

"""Cut a text of any length into parts of even size, where its structure allows it.

A part begins, in order of preference, at a change of heading, a paragraph, a sentence, a word; a
single word that is longer than a part is cut between characters. Every character but blank space
is in exactly one part.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from backend.core.sentences import Span, paragraph_spans, sentence_spans
from backend.core.types import Chunk

# How full the fullest part is planned to be: the rest is what the cuts may move by.
FILL = 0.9
_SWAY = 0.2  # a cut may be this share of a part away from where parts of one size would have it
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class HeadingChange:
    """``depth`` 0: another chapter; 1: another section of the same chapter; and so on."""

    offset: int
    depth: int


class Outline:
    """The structure of a text, as its chunks know it."""

    def __init__(self, text: str, chunks: Sequence[Chunk]) -> None:
        self.text = text
        self._starts = [chunk.start for chunk in chunks]
        self._paths = [chunk.heading_path for chunk in chunks]
        self._changes = _heading_changes(chunks)
        self._offsets = [change.offset for change in self._changes]

    @property
    def chunks(self) -> int:
        return len(self._starts)

    def heading_path(self, offset: int) -> tuple[str, ...]:
        """Of the chunk that ``offset`` lies in."""
        before = bisect_right(self._starts, offset)
        return self._paths[before - 1] if before else ()

    def chunks_between(self, start: int, end: int) -> int:
        """How many chunks begin there."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def changes(self, low: int, high: int) -> Sequence[HeadingChange]:
        return self._changes[bisect_left(self._offsets, low) : bisect_right(self._offsets, high)]


class Ruler:
    """Tokens along a text that was measured block by block: ``(characters, tokens)`` each."""

    def __init__(self, blocks: Sequence[tuple[int, int]]) -> None:
        self._offsets = [0, *accumulate(chars for chars, _ in blocks)]
        self._tokens = [0, *accumulate(tokens for _, tokens in blocks)]

    @property
    def total(self) -> int:
        return self._tokens[-1]

    def tokens(self, offset: int) -> float:
        """Tokens before ``offset``."""
        return _interpolated(self._offsets, self._tokens, offset)

    def between(self, start: int, end: int) -> float:
        return self.tokens(end) - self.tokens(start)

    def offset(self, tokens: float) -> int:
        """Where so many tokens have passed."""
        return int(_interpolated(self._tokens, self._offsets, tokens))


def lay_out(
    outline: Outline, ruler: Ruler, span: Span, *, limit: float, at_least: int = 1
) -> list[Span]:
    """Cut ``span`` into as few parts of about the same size as take at most ``limit`` tokens by
    the ruler, but ``at_least`` so many where there is text for them."""
    start, end = span
    wanted = max(at_least, math.ceil(ruler.between(start, end) / (FILL * limit)))
    spans: list[Span] = []
    for left in range(wanted, 1, -1):
        if end - start < left:
            break
        cut = _next_cut(outline, ruler, (start, end), left, limit)
        spans.append((start, cut))
        start = cut
    spans.append((start, end))
    trimmed = (_trim(outline.text, *piece) for piece in spans)
    return [piece for piece in trimmed if piece is not None]


def halves(outline: Outline, span: Span) -> list[Span]:
    """Both about as long, or the span itself where there is nothing to cut."""
    return lay_out(outline, Ruler([(len(outline.text), len(outline.text))]), span,
                   limit=span[1] - span[0], at_least=2)  # fmt: skip


def _next_cut(outline: Outline, ruler: Ruler, span: Span, left: int, limit: float) -> int:
    """The end of the first of ``left`` parts; each later one keeps at least a character."""
    start, end = span
    passed = ruler.tokens(start)
    rest = ruler.tokens(end) - passed
    ideal = rest / left
    least = min(ideal, max(ideal * (1 - _SWAY), rest - (left - 1) * limit))
    most = max(ideal, min(ideal * (1 + _SWAY), limit))
    last = end - left + 1
    low = min(last, max(start + 1, ruler.offset(passed + least)))
    high = min(last, max(low, ruler.offset(passed + most)))
    middle = min(high, max(low, ruler.offset(passed + ideal)))
    return _best_cut(outline, low, middle, high)


def _best_cut(outline: Outline, low: int, ideal: int, high: int) -> int:
    changes = outline.changes(low, high)
    if changes:
        return min(changes, key=lambda c: (c.depth, abs(c.offset - ideal))).offset
    window = outline.text[low:high]
    for starts in (_paragraphs, _sentences, _words):
        if found := starts(window):
            return min((low + start for start in found), key=lambda cut: abs(cut - ideal))
    return _between_characters(outline.text, low, ideal)


def _paragraphs(window: str) -> list[int]:
    return [start for start, _ in paragraph_spans(window)[1:]]


def _sentences(window: str) -> list[int]:
    return [start for start, _ in sentence_spans(window)[1:]]


def _words(window: str) -> list[int]:
    return [blank.end() for blank in _BLANK.finditer(window)]


def _between_characters(text: str, low: int, cut: int) -> int:
    while cut > low and cut < len(text) and unicodedata.combining(text[cut]):
        cut -= 1
    return cut


def _heading_changes(chunks: Sequence[Chunk]) -> list[HeadingChange]:
    changes = []
    before: tuple[str, ...] = ()
    for chunk in chunks:
        path = chunk.heading_path
        if path != before and chunk.start > 0:
            same = (a == b for a, b in zip(path, before, strict=False))
            depth = next((n for n, equal in enumerate(same) if not equal), None)
            shorter = min(len(path), len(before))
            changes.append(HeadingChange(chunk.start, shorter if depth is None else depth))
        before = path
    return changes


def _interpolated(xs: Sequence[int], ys: Sequence[int], x: float) -> float:
    if x >= xs[-1]:
        return ys[-1]
    after = bisect_right(xs, x)
    if after == 0:
        return ys[0]
    low, high = xs[after - 1], xs[after]
    return ys[after - 1] + (ys[after] - ys[after - 1]) * (x - low) / (high - low)


def _trim(text: str, start: int, end: int) -> Span | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None

"""Cut a document into chunks that fit the embedding model.

Boundaries are looked for in this order: headings, pages, paragraphs, sentences and table
rows, words, characters. Nothing is lost: every non-space character is in some chunk.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backend.core.sentences import paragraph_spans, sentence_spans
from backend.core.types import Chunk, Heading, ParsedDocument

CountTokens = Callable[[str], int]

_MIN_SIZE = 32
_TINY_SECTION_SHARE = 8  # a section below 1/8 of the size joins its neighbour
_STRAY_TOKENS = 16  # a page holding less (a number, a footer) joins the next page
_PATH_SHARE = 4  # headings take at most 1/4 of a chunk
_TITLE_CHARS = 120
# Bounds the memory of one chunk and of one call to the counter, whatever the text: white
# space and control characters cost no tokens at all.
_MAX_CHARS_PER_TOKEN = 12
_JOINT_TOKENS = 2
_TITLE_LINES = 2
_NUMBERED_TITLE = re.compile(r"\d+(?:\.\d+)*\.?\s[^\W\d_][^.!?:;\n]{0,90}$")
_EARLY_SHARE = 0.7  # how full a chunk must be to be closed at the end of a paragraph


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, a row, or a piece of one that was too long."""

    start: int
    end: int
    tokens: int
    whole: bool
    opens_paragraph: bool


@dataclass(frozen=True, slots=True)
class _Section:
    """Text under one heading path, before it is cut. ``has_body``: more than heading lines."""

    units: tuple[_Unit, ...]
    path: tuple[str, ...]
    has_body: bool

    @property
    def tokens(self) -> int:
        return sum(unit.tokens for unit in self.units)


def chunk_document(
    doc: ParsedDocument, count_tokens: CountTokens, *, size: int, overlap: int
) -> list[Chunk]:
    """Chunks in order; ``embedding_text`` of each takes at most ``size`` tokens.

    Neighbouring chunks of one section and page share up to ``overlap`` tokens of whole
    sentences. ``Chunk.token_count`` counts ``embedding_text`` and the special tokens.
    Headings are shortened in ``heading_path`` only, never in the text.
    """
    if size < _MIN_SIZE or not 0 <= overlap <= size // 2:
        raise ValueError(
            f"size={size} must be at least {_MIN_SIZE}, overlap={overlap} at most half"
        )
    return _Chunker(doc, count_tokens, size, overlap).run()


class _Chunker:
    def __init__(
        self, doc: ParsedDocument, count_tokens: CountTokens, size: int, overlap: int
    ) -> None:
        self._doc = doc
        self._count = count_tokens
        self._size = size
        self._overlap = overlap
        self._special_tokens = _special_tokens(count_tokens)
        self._path_room = (size - self._special_tokens) // _PATH_SHARE
        # What fits whatever the heading path takes; tokens at a joint may not quite add up.
        self._text_room = max(1, size - self._special_tokens - self._path_room - _JOINT_TOKENS)
        self._chunks: list[Chunk] = []

    def run(self) -> list[Chunk]:
        tiny = self._size // _TINY_SECTION_SHARE
        for section in _merge_tiny(list(self._sections()), tiny=tiny, limit=self._text_room):
            path = self._fitting_path(section.path)
            for run in self._page_runs(section.units):
                self._pack(run, path)
        return self._chunks

    # --- text to sections and units --------------------------------------------------------------

    def _sections(self) -> Iterator[_Section]:
        headings = sorted(self._doc.headings, key=lambda h: h.start)
        bounds = [0, *(h.start for h in headings), len(self._doc.text)]
        above: list[Heading] = []
        for i, (start, end) in enumerate(pairwise(bounds)):
            heading = headings[i - 1] if i else None
            if heading is not None:
                above = [h for h in above if h.level < heading.level] + [heading]
            units = tuple(self._units(start, end, min(end, heading.end) if heading else start))
            if units:
                has_body = heading is None or units[-1].end > heading.end
                yield _Section(units, tuple(map(_short_title, above)), has_body)

    def _units(self, start: int, end: int, heading_end: int) -> Iterator[_Unit]:
        """Units of a section; the heading's line is never one sentence with what follows it."""
        text = self._doc.text
        for low, high in ((start, heading_end), (heading_end, end)):
            for p_start, p_end in paragraph_spans(text[low:high]):
                base = low + p_start
                for n, (s, e) in enumerate(sentence_spans(text[base : low + p_end])):
                    yield from self._fitting_units(base + s, base + e, opens=n == 0)

    def _fitting_units(self, start: int, end: int, *, opens: bool) -> Iterator[_Unit]:
        room = self._text_room
        if end - start <= room * _MAX_CHARS_PER_TOKEN // 2:
            tokens = self._tokens(start, end)
            if tokens <= room:
                yield _Unit(start, end, tokens, True, opens)
                return
        for low, high, tokens in self._pieces(start, end, room):
            yield _Unit(low, high, tokens, False, opens and low == start)

    def _pieces(self, start: int, end: int, room: int) -> Iterator[tuple[int, int, int]]:
        """Cut a too long sentence; the counter sees about each character twice at most."""
        guess = room * 3  # characters per piece; corrected by what the pieces turn out to take
        while start < end:
            high = _word_boundary(self._doc.text, start, min(end, start + guess), end)
            tokens = self._tokens(start, high)
            if tokens > room and high - start > 1:
                guess = max(1, int((high - start) * room / tokens * 0.9))
                continue
            yield start, start + len(self._doc.text[start:high].rstrip()), tokens
            if tokens and high < end:
                ideal = int((high - start) * room / tokens * 0.95)
                guess = max(1, min(ideal, guess * 2, room * _MAX_CHARS_PER_TOKEN // 2))
            start = high
            while start < end and self._doc.text[start].isspace():
                start += 1

    def _page_runs(self, units: Sequence[_Unit]) -> Iterator[Sequence[_Unit]]:
        """Units page by page, so that a chunk's page is the page of all its sentences."""
        first = 0
        for i in range(1, len(units)):
            if self._page(units[i].start) == self._page(units[i - 1].start):
                continue
            if sum(unit.tokens for unit in units[first:i]) >= _STRAY_TOKENS:
                yield units[first:i]
                first = i
        yield units[first:]

    # --- units to chunks -------------------------------------------------------------------------

    def _pack(self, units: Sequence[_Unit], path: tuple[str, ...]) -> None:
        room = self._room(path)
        sums = [0]
        for unit in units:
            sums.append(sums[-1] + unit.tokens)
        first = 0  # of the next chunk, overlap included
        fresh = 0  # first unit no chunk holds yet
        while fresh < len(units):
            while first < fresh and sums[fresh + 1] - sums[first] > room:
                first += 1
            stop = self._stop(units, sums, first, fresh, room)
            chunk = self._chunk(units[first].start, units[stop - 1].end, path)
            while chunk.token_count > self._size and (first < fresh or stop - fresh > 1):
                # Tokens across a joint do not always add up; give back overlap, then content.
                first, stop = (first + 1, stop) if first < fresh else (first, stop - 1)
                chunk = self._chunk(units[first].start, units[stop - 1].end, path)
            self._chunks.append(chunk)
            first, fresh = self._overlap_start(units, sums, first, stop), stop

    def _stop(
        self, units: Sequence[_Unit], sums: Sequence[int], first: int, fresh: int, room: int
    ) -> int:
        """Where a chunk ends: balanced, so that no short rest remains, and if it can be at
        the end of a paragraph."""
        most = bisect_right(sums, sums[first] + room) - 1
        furthest = units[first].start + self._size * _MAX_CHARS_PER_TOKEN
        most = max(fresh + 1, min(most, bisect_right(units, furthest, key=lambda u: u.end)))
        if most >= len(units):
            return len(units)
        left = sums[-1] - sums[fresh]
        chunks_left = -(-left // max(1, room - self._overlap))
        target = sums[fresh] + left / chunks_left
        stop = max(fresh + 1, min(most, bisect_left(sums, target)))
        early = sums[fresh] + (target - sums[fresh]) * _EARLY_SHARE
        paragraph_ends = [
            end
            for end in range(max(fresh + 1, bisect_left(sums, early)), most + 1)
            if units[end].opens_paragraph
        ]
        stop = min(paragraph_ends, key=lambda end: abs(end - stop), default=stop)
        return self._before_titles(units, fresh, stop)

    def _before_titles(self, units: Sequence[_Unit], fresh: int, stop: int) -> int:
        """A chunk does not end with «4. Требования / 4.1. Приёмка»: not every format marks
        its headings."""
        for end in range(stop, max(fresh + 1, stop - _TITLE_LINES), -1):
            unit = units[end - 1]
            if not _NUMBERED_TITLE.match(self._doc.text[unit.start : unit.end]):
                return end
        return max(fresh + 1, stop - _TITLE_LINES)

    def _overlap_start(
        self, units: Sequence[_Unit], sums: Sequence[int], first: int, stop: int
    ) -> int:
        start = stop
        while start - 1 > first and sums[stop] - sums[start - 1] <= self._overlap:
            if not units[start - 1].whole:
                break
            start -= 1
        return start

    def _chunk(self, start: int, end: int, path: tuple[str, ...]) -> Chunk:
        text = self._doc.text[start:end]
        draft = Chunk(len(self._chunks), text, start, end, 0, self._page(start), path)
        tokens = self._count(draft.embedding_text)
        return Chunk(draft.index, text, start, end, tokens, draft.page, path)

    # --- measures --------------------------------------------------------------------------------

    def _tokens(self, start: int, end: int) -> int:
        return self._count(self._doc.text[start:end]) - self._special_tokens

    def _room(self, path: tuple[str, ...]) -> int:
        """Tokens left for text beside the special tokens and the heading path."""
        room = self._size - self._special_tokens
        if path:
            room -= self._count(Chunk(0, "", 0, 0, 0, None, path).embedding_text)
            room += self._special_tokens
        return max(1, room)

    def _fitting_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The path within its share of a chunk: outer headings go first, then the last is cut."""
        while path and self._room(()) - self._room(path) > self._path_room:
            if len(path) > 1:
                path = path[1:]
            else:
                half = path[0][: len(path[0]) // 2].rstrip("… ")
                path = (half + "…",) if half else ()
        return path

    def _page(self, offset: int) -> int | None:
        if not self._doc.page_starts:
            return None
        return max(1, bisect_right(self._doc.page_starts, offset))


def _special_tokens(count_tokens: CountTokens) -> int:
    """Tokens a text has beyond its own: specials and prefix. Not simply those of the empty
    text, where the space after the prefix "passage: " counts as a token of its own."""
    return max(0, min(count_tokens(""), 2 * count_tokens("a") - count_tokens("a a")))


def _merge_tiny(sections: Sequence[_Section], *, tiny: int, limit: int) -> list[_Section]:
    """Join sections below ``tiny`` tokens to the next one, where both have one parent."""
    merged: list[_Section] = []
    for section in sections:
        previous = merged[-1] if merged else None
        if previous is not None and previous.tokens < tiny:
            path = _shared_path(previous, section)
            if path is not None and previous.tokens + section.tokens <= limit:
                units = previous.units + section.units
                merged[-1] = _Section(units, path, previous.has_body or section.has_body)
                continue
        merged.append(section)
    return merged


def _shared_path(previous: _Section, section: _Section) -> tuple[str, ...] | None:
    """The path of both together, or None where they belong to different parents."""
    parent = section.path[:-1]
    if previous.path == parent:
        return parent if previous.has_body else section.path
    return parent if section.path and previous.path[:-1] == parent else None


def _short_title(heading: Heading) -> str:
    title = " ".join(heading.title.split())
    return title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1].rstrip() + "…"


def _word_boundary(text: str, start: int, high: int, end: int) -> int:
    """The last place up to ``high`` to cut: after a cell, else a word, else a character."""
    if high >= end:
        return end
    middle = start + (high - start) // 2
    for separator in ("; ", " ", "\n", "\t"):
        found = text.rfind(separator, middle, high)
        if found > start:
            return found + len(separator.rstrip())
    while high - 1 > start and unicodedata.combining(text[high]):
        high -= 1
    return high

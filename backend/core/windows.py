"""The places of a chunk a quote can be cut from: one to three sentences or table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from backend.core.features import Analyst, Features, join
from backend.core.sentences import sentence_spans
from backend.core.types import StoredChunk

LONGEST_WINDOW = 3  # sentences or rows

_NAME_SEPARATORS = re.compile(r"[_\-/]+")


@dataclass(frozen=True, slots=True)
class Window:
    """``chunk.text[start:end]`` of the source with this marker number."""

    number: int
    start: int
    end: int
    text: str
    units: int  # sentences or rows
    features: Features
    around: Features


class Source:
    """One numbered chunk of the prompt, cut into sentences and rows that are read once."""

    def __init__(self, number: int, stored: StoredChunk, analyst: Analyst) -> None:
        self.number = number
        self.stored = stored
        text = stored.chunk.text
        self._spans = sentence_spans(text)
        self._units = [analyst.features(text[a:b]) for a, b in self._spans]
        self._around = analyst.features(_surroundings(stored))

    def windows(self, sizes: range = range(1, LONGEST_WINDOW + 1)) -> Iterator[Window]:
        """Shortest first, in the order of the text."""
        for size in sizes:
            for first in range(len(self._spans) - size + 1):
                yield self._window(first, first + size)

    def covering(self, start: int, end: int) -> Window:
        """The whole sentences around ``text[start:end]``."""
        touched = [i for i, (a, b) in enumerate(self._spans) if a < end and b > start]
        return self._window(touched[0], touched[-1] + 1)

    def names(self) -> Iterator[str]:
        for unit in [*self._units, self._around]:
            yield from (name.text for name in unit.names if name.certain)

    def _window(self, first: int, last: int) -> Window:
        start, end = self._spans[first][0], self._spans[last - 1][1]
        return Window(
            self.number,
            start,
            end,
            self.stored.chunk.text[start:end],
            last - first,
            join(self._units[first:last]),
            self._around.joined(self._header_of(first)),
        )

    def _header_of(self, row: int) -> Features:
        """What the first row of a table says about the columns of the others."""
        first = row
        while first > 0 and self._is_row(first) and self._is_row(first - 1):
            first -= 1
        return self._units[first] if first < row else Features()

    def _is_row(self, unit: int) -> bool:
        start, end = self._spans[unit]
        text = self.stored.chunk.text[start:end]
        return " | " in text or "\t" in text


def _surroundings(stored: StoredChunk) -> str:
    """File name and headings: they say what the text leaves out."""
    name = _NAME_SEPARATORS.sub(" ", str(PurePosixPath(stored.source).with_suffix("")))
    return "\n".join([name, *stored.chunk.heading_path])

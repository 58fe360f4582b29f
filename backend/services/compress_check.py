"""What the model noted of a group of chunks, held against the chunks themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backend.core.citations import CheckedAnswer
from backend.core.no_answer import is_no_answer
from backend.core.prompts import NumberedSource
from backend.core.statements import parse_answer
from backend.core.types import StoredChunk
from backend.services.cite import CitationChecker


@dataclass(frozen=True, slots=True)
class Statement:
    """``numbers`` are those of the chunks that hold it, never empty."""

    text: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """``dropped`` are statements that no chunk of the group holds. ``mentioned`` are the chunks
    that something was noted of, also where that was dropped."""

    statements: tuple[Statement, ...] = ()
    dropped: tuple[str, ...] = ()
    mentioned: frozenset[int] = frozenset()

    @classmethod
    def joined(cls, parts: Iterable[Noted]) -> Noted:
        kept = list(parts)
        return cls(
            tuple(statement for part in kept for statement in part.statements),
            tuple(text for part in kept for text in part.dropped),
            frozenset[int]().union(*(part.mentioned for part in kept)),
        )

    def as_sources(self, originals: Sequence[StoredChunk]) -> list[NumberedSource]:
        """One source for each chunk, in order; a statement of several stands in the first."""
        lines: dict[int, dict[str, None]] = {}
        for statement in self.statements:
            lines.setdefault(min(statement.numbers), {})[f"- {statement.text}"] = None
        return [
            NumberedSource(n, originals[n - 1], "\n".join(lines[n])) for n in sorted(lines)
        ]  # fmt: skip


class StatementChecker:
    """By the check of answers: what could not stand in an answer is of no use for one."""

    def __init__(self, citations: CitationChecker) -> None:
        self._citations = citations

    async def check(self, text: str, question: str, sources: Sequence[NumberedSource]) -> Noted:
        """A statement behind a wrong number is kept with the right one.

        Raises:
            DependencyError: the embedder failed.
        """
        chunks = {source.number: source.stored for source in sources}
        numbers = list(chunks)
        local = {number: place for place, number in enumerate(numbers, start=1)}
        lines = list(dict.fromkeys(_lines(text, local)))
        if not lines:
            return Noted()
        # Short numbers again, since the checker counts the chunks that it is given.
        checked = await self._citations.check("\n".join(lines), question, list(chunks.values()))
        return _noted(checked, numbers)


def _lines(text: str, local: dict[int, int]) -> Iterator[str]:
    """Each statement on a line of its own, so that none leans on its neighbours."""
    parsed = parse_answer(text)
    marked = [
        (one.readings[0], [n for marker in one.markers for n in marker.numbers])
        for one in parsed.marked
    ]
    unmarked = [
        (one.text, list(one.covered_by))
        for one in parsed.unmarked
        if not one.text.rstrip().endswith(":")
    ]
    for statement, numbers in (*marked, *unmarked):
        plain = " ".join(statement.split()).rstrip(":")
        if plain and not is_no_answer(plain):
            known = dict.fromkeys(local[n] for n in numbers if n in local)
            yield f"- {plain} " + "".join(f"[{n}]" for n in known)


def _noted(checked: CheckedAnswer, numbers: Sequence[int]) -> Noted:
    held: dict[str, dict[int, None]] = {}
    refused: dict[str, None] = dict.fromkeys(checked.uncited)
    mentioned: set[int] = set()
    for citation in (*checked.citations, *checked.attributed):
        right = citation.marker
        if citation.status == "unsupported":
            refused[citation.statement] = None
            mentioned.add(numbers[citation.marker - 1])
            if citation.better_marker is None:
                continue
            right = citation.better_marker
        held.setdefault(citation.statement, {})[numbers[right - 1]] = None
    mentioned |= {number for found in held.values() for number in found}
    return Noted(
        tuple(Statement(text, tuple(found)) for text, found in held.items()),
        tuple(text for text in refused if text not in held),
        frozenset(mentioned),
    )

"""An answer shown piece by piece, each with only those markers that were found to hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from backend.core.citations import Citation
from backend.core.no_answer import is_no_answer
from backend.core.sentences import sentence_spans
from backend.core.statements import MARKER
from backend.core.types import StoredChunk
from backend.services.answers import Answer
from backend.services.cite import CitationChecker

_SPACES = " \t\u00a0"


@dataclass(frozen=True, slots=True)
class _Edit:
    """``text[start:end]`` becomes ``text``."""

    start: int
    end: int
    text: str


@dataclass(slots=True)
class CheckedText:
    """Takes what the model writes and gives out what may be shown.

    A sentence is checked once the next one has begun: until then a marker may follow. Nothing
    is given out before a statement that holds. What was given out stands, so what the check of
    the whole answer makes of it afterwards is said in ``disputed``.
    """

    checker: CitationChecker
    question: str
    sources: tuple[StoredChunk, ...] = ()
    shown: str = ""
    _raw: str = ""
    _decided: int = 0
    _released: int = 0
    _holds: bool = False
    _edits: list[_Edit] = field(default_factory=list)
    _kept: set[tuple[int, int]] = field(default_factory=set)  # place of the marker, number

    async def add(self, text: str) -> str:
        """
        Raises:
            DependencyError: the embedder failed.
        """
        self._raw = self._raw + text if self._raw else text.lstrip()
        end = self._decided + _whole_sentences(self._raw[self._decided :])
        if end == self._decided:
            return ""
        piece = self._raw[self._decided : end]
        checked = await self.checker.check(piece, self.question, self.sources)
        self._decide(piece, checked.citations, self._decided, shift=self._decided)
        self._decided = end
        self._holds |= checked.supported
        if not self._holds or is_no_answer(self._raw[:end]):
            return ""
        return self._release(self._raw, end)

    def finish(self, answer: Answer) -> str:
        """What is left to show, decided by the check of the whole answer."""
        if not answer.answer.startswith(self._raw[: self._released].rstrip()):
            raise RuntimeError("an answer is not what was streamed of it")
        self._edits = [edit for edit in self._edits if edit.start < self._released]
        self._kept = {place for place in self._kept if place[0] < self._released}
        own = answer.citations if answer.answered else ()
        self._decide(answer.answer[self._released :], own, self._released)
        return self._release(answer.answer, len(answer.answer))

    def placed(self, citations: Iterable[Citation]) -> tuple[Citation, ...]:
        """The same citations with places in ``shown``."""
        return tuple(
            replace(
                citation,
                answer_start=self._place(citation.answer_start),
                answer_end=self._place(citation.answer_end),
            )
            for citation in citations
        )

    def held(self, answer: Answer) -> tuple[Citation, ...]:
        """The citations that stand in the text, and those of sentences without a marker."""
        if not answer.answered:
            return ()
        marked = [c for c in answer.citations if _holds(c) and _key(c) in self._kept]
        return (*marked, *answer.attributed)

    def disputed(self, answer: Answer) -> tuple[int, ...]:
        """Numbers shown that the check of the whole answer did not confirm."""
        confirmed = {_key(c) for c in answer.citations if _holds(c)}
        return tuple(sorted({number for _, number in self._kept - confirmed}))

    def _decide(
        self, piece: str, citations: Sequence[Citation], offset: int, *, shift: int = 0
    ) -> None:
        """``shift`` makes places of the citations places in the whole text, where they are
        places in the piece."""
        by_place: dict[int, dict[int, bool]] = {}
        for citation in citations:
            numbers = by_place.setdefault(citation.answer_start + shift, {})
            numbers[citation.marker] = numbers.get(citation.marker, False) or _holds(citation)
        for match in MARKER.finditer(piece):
            numbers = by_place.get(offset + match.start(), {})
            kept = [number for number, holds in numbers.items() if holds]
            self._kept.update((offset + match.start(), number) for number in kept)
            if kept and len(kept) == len(numbers):
                continue
            if kept:
                text = "[" + ", ".join(map(str, kept)) + "]"
                self._edits.append(_Edit(offset + match.start(), offset + match.end(), text))
            else:
                self._edits.append(_removal(piece, match.start(), match.end(), offset))

    def _release(self, raw: str, end: int) -> str:
        new, position = "", self._released
        for edit in self._edits:
            if self._released <= edit.start < end:
                new += raw[position : max(edit.start, position)] + edit.text
                position = max(edit.end, position)
        new += raw[position:end]
        self._released = end
        self.shown += new
        return new

    def _place(self, raw: int) -> int:
        moved = 0
        for edit in self._edits:
            if edit.end <= raw:
                moved += len(edit.text) - (edit.end - edit.start)
            elif edit.start < raw:
                moved -= raw - edit.start
        return raw + moved


def _whole_sentences(text: str) -> int:
    """Where the last sentence ends behind which another has begun."""
    first = MARKER.search(text)
    leading = first is not None and not text[: first.start()].strip()
    spans = sentence_spans(text)
    for index in range(len(spans) - 2, -1, -1):
        end = spans[index][1] if leading else _behind_markers(text, spans[index][1])
        if _has_word(text[end:]):
            introduces = any(_is_marked_introduction(text[a:b]) for a, b in spans[: index + 1])
            return 0 if introduces else end
    return 0


def _behind_markers(text: str, end: int) -> int:
    while match := MARKER.match(text, end + len(text[end:]) - len(text[end:].lstrip())):
        end = match.end()
    return end


def _is_marked_introduction(sentence: str) -> bool:
    """Its marker stands for the list that follows, so it waits for all of it."""
    return MARKER.search(sentence) is not None and MARKER.sub("", sentence).rstrip().endswith(":")


def _has_word(text: str) -> bool:
    """A whole word, not a bracket that may become a marker."""
    stripped = text.lstrip(_SPACES + "\n")
    return stripped[:1] not in ("", "[", "【", "［", "(") and any(map(str.isalnum, stripped))


def _removal(piece: str, start: int, end: int, offset: int) -> _Edit:
    """With the space before it, or behind it where the line begins."""
    begin = len(piece[:start].rstrip(_SPACES))
    if begin == 0 or piece[begin - 1] == "\n":
        begin = start
        end += len(piece[end:]) - len(piece[end:].lstrip(_SPACES))
    return _Edit(offset + begin, offset + end, "")


def _holds(citation: Citation) -> bool:
    return citation.status != "unsupported"


def _key(citation: Citation) -> tuple[int, int]:
    return citation.answer_start, citation.marker

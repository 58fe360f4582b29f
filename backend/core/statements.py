"""An answer taken apart: its statements, and which marker stands for which of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backend.core.sentences import sentence_spans

_SOURCE_WORD = (
    r"(?:источник\w*|документ\w*|фрагмент\w*|ист\.|см\.|sources?|documents?|src|doc|ref|№|#)"
)
_LOCATOR = r"(?:стр|с\b|п\b|раздел|гл|лист|pages?|pp?\b|section|sheet|§)"
MARKER = re.compile(
    rf"[\[【［]\s*\^?(?:{_SOURCE_WORD}\s*[:#№]?\s*)?(?P<numbers>\d{{1,9}}"
    rf"(?:\s*(?:[,;&]|и\b|and\b|\.\.|[-–—])\s*\^?(?:{_SOURCE_WORD}\s*[:#№]?\s*)?\d{{1,9}})*)"
    rf"(?:†[^\]】］\n]{{0,60}}|\s*[,:;]\s*{_LOCATOR}[^\]】］\n]{{0,60}})?\s*[\]】］]"
    rf"|\(\s*{_SOURCE_WORD}\s*[:#№]?\s*(?P<spoken>\d{{1,3}}(?:\s*(?:[,;&]|и\b|and\b|[-–—])\s*\d{{1,3}})*)\s*\)",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(\d+)\s*(?:[-–—]|\.\.)\s*\D{0,12}(\d+)|(\d+)")
_LONGEST_RANGE = 20

_ITEM = re.compile(r"^[ \t]*(?:[-*•–—]|\d{1,3}[.)])[ \t]+|^[ \t]*(?=\|)|^[ \t]*#{1,6}[ \t]+")
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t:|-]*-{2,}[ \t:|-]*$")
_EMPHASIS = re.compile(r"\*\*|__|`+")
_WORD = re.compile(r"\w+")
_LEAD_IN = re.compile(
    r"(?:\W|\b(?:согласно|по|данным|как|указано|сказано|следует|из|в|во|см|также|источник\w*|"
    r"документ\w*|ссылк\w*|ответ|according|to|as|stated|noted|in|per|the|from|see|also|based|on|"
    r"sources?|documents?|references?|answer)\b)*",
    re.IGNORECASE,
)
_SEPARATES = re.compile(r"(?!\b(?:и|and)\b)\b\w+")
_CLAUSE_EDGE = re.compile(
    r"^(?:[\s,;:.—–-]|(?:а также|а|и|но|and|but|while)\b)+|[\s,;:—–-]+$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Marker:
    """One bracket at ``answer[start:end]``; ``[1, 3]`` has two numbers."""

    numbers: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class MarkedStatement:
    """``readings``: what the markers can stand for, likeliest first; never empty.

    ``context`` is the text before it in its paragraph, which its pronouns may refer to.
    """

    readings: tuple[str, ...]
    markers: tuple[Marker, ...]
    context: str = ""


@dataclass(frozen=True, slots=True)
class UnmarkedStatement:
    """A sentence without a marker; ``covered_by`` are the numbers that close its paragraph."""

    text: str
    covered_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    marked: tuple[MarkedStatement, ...]
    unmarked: tuple[UnmarkedStatement, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    position: int  # in the clean text of the block
    marker: Marker


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    block: int
    start: int
    placed: tuple[_Placed, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(n for p in self.placed for n in p.marker.numbers))

    @property
    def is_lead_in(self) -> bool:
        return _LEAD_IN.fullmatch(self.text) is not None

    @property
    def is_intro(self) -> bool:
        return self.text.rstrip().endswith(":")


def parse_answer(answer: str) -> ParsedAnswer:
    sentences = [s for i, block in enumerate(_blocks(answer)) for s in _sentences(i, *block)]
    marked: list[MarkedStatement] = []
    unmarked: list[UnmarkedStatement] = []
    for i, sentence in enumerate(sentences):
        if sentence.placed:
            marked.extend(_marked(i, sentences))
        elif not sentence.is_lead_in:
            unmarked.append(UnmarkedStatement(sentence.text, _covering(i, sentences)))
    return ParsedAnswer(tuple(marked), tuple(unmarked))


def _blocks(answer: str) -> Iterator[tuple[str, int]]:
    """Paragraphs, list items and table rows, each with its offset in the answer."""
    start: int | None = None
    position = 0
    for line in answer.splitlines(keepends=True):
        begins_item = _ITEM.match(line) is not None
        ends_block = not line.strip() or _TABLE_RULE.match(line) is not None
        alone = not begins_item and not _EMPHASIS.sub("", MARKER.sub("", line)).strip(" \t\n.,;")
        if start is not None and (ends_block or (begins_item and not alone)):
            yield answer[start:position], start
            start = None
        if start is None and not ends_block:
            start = position
        position += len(line)
    if start is not None:
        yield answer[start:position], start


def _sentences(block: int, text: str, offset: int) -> list[_Sentence]:
    item = _ITEM.match(text)
    clean, placed = _clean(
        text[item.end() :] if item else text, offset + (item.end() if item else 0)
    )
    spans = [(a, b) for a, b in sentence_spans(clean) if clean[a:b].strip()]
    if not spans:
        return [_Sentence("", block, 0, placed)] if placed else []
    leading = bool(placed) and not clean[: placed[0].position].strip(" ,.:;—-")
    leading = leading and bool(clean[placed[-1].position :].strip(" ,.:;—-"))
    found: list[list[_Placed]] = [[] for _ in spans]
    for one in placed:
        found[_owner(one.position, spans, leading=leading)].append(one)
    return [
        _Sentence(clean[a:b].strip(" \t\n|"), block, a, tuple(own))
        for (a, b), own in zip(spans, found, strict=True)
    ]


def _clean(text: str, offset: int) -> tuple[str, tuple[_Placed, ...]]:
    """The text without markers and emphasis; a marker's place is where it was cut out."""
    out = ""
    placed: list[_Placed] = []
    position = 0
    cuts = sorted([*MARKER.finditer(text), *_EMPHASIS.finditer(text)], key=lambda m: m.start())
    for match in cuts:
        if match.start() < position:
            continue
        out += text[position : match.start()]
        position = match.end()
        if match.re is MARKER:
            out = out.rstrip(" \t\u00a0")
            numbers = _numbers(match["numbers"] or match["spoken"])
            placed.append(
                _Placed(len(out), Marker(numbers, offset + match.start(), offset + match.end()))
            )
    return out + text[position:], tuple(placed)


def _numbers(text: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for match in _RANGE.finditer(text):
        if match[3]:
            numbers.append(int(match[3]))
            continue
        first, last = int(match[1]), int(match[2])
        wide = not first <= last <= first + _LONGEST_RANGE
        numbers.extend((first, last) if wide else range(first, last + 1))
    return tuple(dict.fromkeys(numbers))


def _owner(position: int, spans: Sequence[tuple[int, int]], *, leading: bool) -> int:
    """The sentence a marker belongs to: the one it stands in or right behind."""
    for i, (start, end) in enumerate(spans):
        if leading and position < end and (position <= start or i == 0 or position < end - 1):
            return i
        if not leading and position <= end:
            return i if position > start or i == 0 else i - 1
    return len(spans) - 1


def _marked(index: int, sentences: Sequence[_Sentence]) -> Iterator[MarkedStatement]:
    sentence = sentences[index]
    own = [s for s in sentences[:index] if s.block == sentence.block]
    context = " ".join(s.text for s in own)
    markers = tuple(p.marker for p in sentence.placed)
    items = list(_uncited_items(index, sentences)) if sentence.is_intro else []
    if items:
        for item in items:
            yield MarkedStatement((item.text,), markers, sentence.text)
        return
    if sentence.is_lead_in:
        before = [s for s in sentences[:index] if not s.is_lead_in and not s.is_intro]
        chosen = [s.text for s in before if not s.placed] or [s.text for s in before]
        yield MarkedStatement(tuple(reversed(chosen)) or (sentence.text,), markers, context)
        return
    for clause, group in _clauses(sentence):
        readings = tuple(dict.fromkeys(t for t in (clause, sentence.text) if t))
        yield MarkedStatement(readings, group, context)


def _clauses(sentence: _Sentence) -> Iterator[tuple[str, tuple[Marker, ...]]]:
    """The piece of the sentence before each place with markers; all of it where there is one."""
    places: list[tuple[int, list[Marker]]] = []
    for one in sentence.placed:
        if places and not _SEPARATES.search(_between(sentence, places[-1][0], one.position)):
            places[-1][1].append(one.marker)
        else:
            places.append((one.position, [one.marker]))
    if len(places) == 1:
        yield sentence.text, tuple(places[0][1])
        return
    cuts = [min(max(at - sentence.start, 0), len(sentence.text)) for at, _ in places]
    if _LEAD_IN.fullmatch(sentence.text[: cuts[0]]):
        edges = [*cuts, len(sentence.text)]
    else:
        edges = [
            0,
            *cuts[:-1],
            len(sentence.text) if _rest_is_short(sentence.text, cuts[-1]) else cuts[-1],
        ]
    for (start, end), (_, markers) in zip(pairwise(edges), places, strict=True):
        clause = _CLAUSE_EDGE.sub("", sentence.text[start:end]).strip()
        yield (clause if len(_WORD.findall(clause)) > 1 else sentence.text), tuple(markers)


def _between(sentence: _Sentence, first: int, second: int) -> str:
    return sentence.text[max(first - sentence.start, 0) : max(second - sentence.start, 0)]


def _rest_is_short(text: str, cut: int) -> bool:
    return len(_WORD.findall(text[cut:])) <= 2


def _uncited_items(index: int, sentences: Sequence[_Sentence]) -> Iterator[_Sentence]:
    for follower in sentences[index + 1 :]:
        if follower.block == sentences[index].block or follower.placed or follower.is_intro:
            return
        yield follower


def _covering(index: int, sentences: Sequence[_Sentence]) -> tuple[int, ...]:
    """Numbers of the next marked sentence of the paragraph, or of the intro of the list."""
    for follower in sentences[index + 1 :]:
        if follower.block != sentences[index].block and not follower.is_lead_in:
            break
        if follower.placed:
            return follower.numbers
    for leader in reversed(sentences[:index]):
        if leader.is_intro or leader.placed:
            return leader.numbers if leader.is_intro else ()
    return ()

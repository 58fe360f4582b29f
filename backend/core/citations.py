"""Citations checked against the sources: each ``[n]`` of an answer gets the quote that
supports its statement, cut from the stored chunk, or is reported as unsupported.

Two steps, so that nothing here does I/O: ``check_by_words`` decides what words, figures and
names can decide and leaves the rest open; ``conclude`` takes cosines for the open ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from backend.core.features import Analyst, Terms
from backend.core.meaning import Candidate, candidates_elsewhere, candidates_in, holds_by_meaning
from backend.core.no_answer import is_no_answer
from backend.core.statements import Marker, ParsedAnswer, UnmarkedStatement, parse_answer
from backend.core.support import Claim, Setting, make_claim
from backend.core.types import DocType, StoredChunk
from backend.core.verify import Finding, find_joint_support, find_support
from backend.core.windows import Source, Window

_CLAUSES = re.compile(r"[,;]\s+(?:and|but|while|а также|а|и|но)\s+", re.IGNORECASE)
_LEAST_CLAUSE_WORDS = 4

Status = Literal["exact", "normalized", "unsupported"]
Reason = Literal["no_such_source", "misplaced", "not_found"]
Method = Literal["verbatim", "words", "meaning", "none"]


@dataclass(frozen=True, slots=True)
class Citation:
    """One number of one marker. ``answer[answer_start:answer_end]`` is the marker.

    ``quote`` is ``document.text[char_start:char_end]``, empty when unsupported.
    ``score`` is the share of the statement found in the quote, or the cosine when
    ``method`` is "meaning". ``better_marker`` is set for a misplaced marker.
    A marker on the line above a list yields one citation per item, and one behind several clauses
    that the source says in different places one per clause.
    """

    marker: int
    statement: str
    answer_start: int
    answer_end: int
    status: Status
    reason: Reason | None = None
    method: Method = "none"
    score: float = 0.0
    quote: str = ""
    doc_id: str | None = None
    source: str | None = None
    doc_type: DocType | None = None
    chunk_index: int | None = None
    page: int | None = None
    heading: tuple[str, ...] = ()
    char_start: int | None = None
    char_end: int | None = None
    better_marker: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """``attributed``: sentences without a marker that a source holds all the same; ``marker``
    is that source's number and the range is empty, where a marker would stand.

    ``uncited``: sentences that claim something without a marker, and no source holds it.
    ``supported``: at least one statement of the answer is held by its source.
    """

    citations: tuple[Citation, ...]
    attributed: tuple[Citation, ...]
    uncited: tuple[str, ...]
    supported: bool


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A statement words could not decide, and the pieces to compare it with by meaning."""

    text: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether the statement holds in source ``number``; ``marker`` is None for a sentence
    that only stands in a paragraph closed by that number."""

    statement: str
    number: int
    marker: Marker | None
    finding: Finding | None = None
    better: int | None = None
    claim: Claim | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.finding is None and bool(self.candidates)


@dataclass(frozen=True, slots=True)
class Draft:
    """The answer after the first step; ``open_questions`` is what the second step needs."""

    checks: tuple[_Check, ...]
    chunks: tuple[StoredChunk, ...]
    never_cited: tuple[str, ...]
    attributions: tuple[Citation, ...]

    @property
    def open_questions(self) -> tuple[OpenQuestion, ...]:
        return tuple(
            OpenQuestion(check.claim.to_embed, tuple(c.window.text for c in check.candidates))
            for check in self.checks
            if check.is_open and check.claim is not None
        )


def check_by_words(
    answer: str, question: str, chunks: Sequence[StoredChunk], terms: Terms
) -> Draft:
    """``chunks[i]`` is source ``[i + 1]``; ``terms`` gives stemmed term ids without stop words.

    CPU work: some milliseconds per chunk.
    """
    analyst = Analyst(terms)
    sources = {n: Source(n, chunk, analyst) for n, chunk in enumerate(chunks, start=1)}
    known = tuple(dict.fromkeys(name for s in sources.values() for name in s.names()))
    setting = Setting(question, analyst.features(question), known)
    parsed = parse_answer(answer)
    unmarked = [
        (sentence, claim)
        for sentence in parsed.unmarked
        if (claim := _what_it_claims(sentence.text, setting, analyst))
    ]
    checks = [
        *_marker_checks(parsed, sources, setting, analyst),
        *_cover_checks(unmarked, sources, setting),
    ]
    claims = {sentence.text: claim for sentence, claim in unmarked}
    found = [
        _attribution(answer, text, claim, sources, setting, chunks)
        for text, claim in claims.items()
    ]
    never = [sentence.text for sentence, _ in unmarked if not sentence.covered_by]
    return Draft(tuple(checks), tuple(chunks), tuple(never), tuple(c for c in found if c))


def conclude(draft: Draft, cosines: Sequence[Sequence[float]]) -> CheckedAnswer:
    """``cosines[i][j]``: of ``draft.open_questions[i]`` and its piece ``j``."""
    rows = iter(cosines)
    checks = [_decide(check, next(rows)) if check.is_open else check for check in draft.checks]
    citations = tuple(
        _citation(check, check.marker, draft.chunks) for check in checks if check.marker is not None
    )
    covered = {check.statement for check in checks if check.finding is not None}
    without_marker = [*draft.never_cited, *(c.statement for c in checks if c.marker is None)]
    missing = dict.fromkeys(s for s in without_marker if s not in covered)
    attributed = tuple(c for c in draft.attributions if c.statement in missing)
    held = {citation.statement for citation in attributed}
    return CheckedAnswer(
        citations=tuple(sorted(citations, key=lambda c: c.answer_start)),
        attributed=attributed,
        uncited=tuple(s for s in missing if s not in held),
        supported=bool(covered or attributed),
    )


def _marker_checks(
    parsed: ParsedAnswer, sources: dict[int, Source], setting: Setting, analyst: Analyst
) -> list[_Check]:
    checks: list[_Check] = []
    for statement in parsed.marked:
        claims = [make_claim(text, setting, analyst) for text in statement.readings]
        numbers = [(n, marker) for marker in statement.markers for n in marker.numbers]
        group = [
            _check(n, marker, statement.readings, claims, sources, setting) for n, marker in numbers
        ]
        group = _with_joint_support(group, claims[0], sources, setting)
        for check in group:
            checks.extend(_by_clauses(check, sources, setting, analyst))
    return checks


def _by_clauses(
    check: _Check, sources: dict[int, Source], setting: Setting, analyst: Analyst
) -> list[_Check]:
    """``A, and B [1]`` where the source says one here and the other elsewhere, or only one."""
    clauses = [clause.strip(" .") for clause in _CLAUSES.split(check.statement)]
    if check.finding is not None or check.number not in sources or len(clauses) < 2:
        return [check]
    if min(len(clause.split()) for clause in clauses) < _LEAST_CLAUSE_WORDS:
        return [check]
    parts = [
        _check(
            check.number,
            check.marker,
            [clause],
            [make_claim(clause, setting, analyst)],
            sources,
            setting,
        )
        for clause in clauses
    ]
    return parts if any(part.finding for part in parts) else [check]


def _check(
    number: int,
    marker: Marker | None,
    readings: Sequence[str],
    claims: Sequence[Claim],
    sources: dict[int, Source],
    setting: Setting,
) -> _Check:
    check = _Check(readings[0], number, marker)
    if number not in sources:
        return check
    for text, claim in zip(readings, claims, strict=True):
        finding = find_support(claim, sources[number], setting)
        if finding:
            return replace(check, statement=text, finding=finding)
    claim = claims[0]
    others = [source for n, source in sources.items() if n != number]
    better = next((s.number for s in others if find_support(claim, s, setting)), None)
    candidates = candidates_in(claim, sources[number], setting)
    if better is None and marker is not None:
        candidates += candidates_elsewhere(claim, others, setting)
    return replace(check, better=better, claim=claim, candidates=candidates)


def _with_joint_support(
    group: list[_Check], claim: Claim, sources: dict[int, Source], setting: Setting
) -> list[_Check]:
    """``[1][2]`` where neither source says all, but both together do."""
    named = [sources[c.number] for c in group if c.number in sources]
    if len(named) < 2 or any(check.finding for check in group):
        return group
    findings = {f.window.number: f for f in find_joint_support(claim, named, setting)}
    return [
        replace(c, finding=findings[c.number], candidates=()) if c.number in findings else c
        for c in group
    ]


def _cover_checks(
    unmarked: Sequence[tuple[UnmarkedStatement, Claim]],
    sources: dict[int, Source],
    setting: Setting,
) -> list[_Check]:
    return [
        _check(number, None, [sentence.text], [claim], sources, setting)
        for sentence, claim in unmarked
        for number in sentence.covered_by
    ]


def _attribution(
    answer: str,
    statement: str,
    claim: Claim,
    sources: dict[int, Source],
    setting: Setting,
    chunks: Sequence[StoredChunk],
) -> Citation | None:
    """The source that holds a sentence best, though the model did not name it."""
    found = [
        (finding.method == "verbatim", finding.score, -number, finding)
        for number, source in sources.items()
        if (finding := find_support(claim, source, setting))
    ]
    if not found:
        return None
    *_, negative, finding = max(found, key=lambda entry: entry[:3])
    begin = answer.find(statement)
    place = begin + len(statement) if begin >= 0 else len(answer)
    marker = Marker((-negative,), place, place)
    return _citation(_Check(statement, -negative, marker, finding), marker, chunks)


def _what_it_claims(sentence: str, setting: Setting, analyst: Analyst) -> Claim | None:
    """None for a sentence that leads in, asks, or says too little to be held by anything."""
    text = sentence.strip()
    if not re.search(r"\w", text) or text.endswith((":", "?")) or is_no_answer(text):
        return None
    claim = make_claim(sentence, setting, analyst)
    says_something = claim.features.facts or claim.names or len(claim.features.words) > 2
    return claim if says_something else None


def _decide(check: _Check, cosines: Sequence[float]) -> _Check:
    if check.claim is None:
        return check
    passed = [
        (cosine, candidate)
        for cosine, candidate in zip(cosines, check.candidates, strict=True)
        if holds_by_meaning(check.claim, candidate, cosine)
    ]
    own = [(c, k) for c, k in passed if k.window.number == check.number]
    if own:
        cosine, candidate = max(own, key=lambda pair: pair[0])
        return replace(check, finding=Finding(candidate.window, "meaning", cosine))
    if passed and check.better is None:
        return replace(check, better=max(passed, key=lambda pair: pair[0])[1].window.number)
    return check


def _citation(check: _Check, marker: Marker, chunks: Sequence[StoredChunk]) -> Citation:
    citation = Citation(check.number, check.statement, marker.start, marker.end, "unsupported")
    if not 1 <= check.number <= len(chunks):
        return replace(citation, reason="no_such_source")
    stored = chunks[check.number - 1]
    citation = replace(
        citation,
        doc_id=stored.doc_id,
        source=stored.source,
        doc_type=stored.doc_type,
        chunk_index=stored.chunk.index,
        page=stored.chunk.page,
        heading=stored.chunk.heading_path,
    )
    if check.finding is None:
        reason: Reason = "misplaced" if check.better is not None else "not_found"
        return replace(citation, reason=reason, better_marker=check.better)
    return _quoted(citation, check.finding, check.finding.window, stored)


def _quoted(citation: Citation, finding: Finding, window: Window, stored: StoredChunk) -> Citation:
    return replace(
        citation,
        status="exact" if finding.method == "verbatim" else "normalized",
        method=finding.method,
        score=round(finding.score, 4),
        quote=stored.chunk.text[window.start : window.end],
        char_start=stored.chunk.start + window.start,
        char_end=stored.chunk.start + window.end,
    )

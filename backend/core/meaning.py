"""Support by meaning: for paraphrases and for sources in the other language.

A cosine says that two sentences speak of the same, not that they agree; so figures, names
and negations must still match, and the cosine only replaces the comparison of words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from backend.core.features import same_script
from backend.core.support import Block, Claim, Setting, Verdict, judge
from backend.core.windows import Source, Window

# multilingual-e5-small on XQuAD sentences; see docs/decisions/0005-citations.md.
SAME_LANGUAGE_COSINE = 0.895
OTHER_LANGUAGE_COSINE = 0.865
# A figure or date that is the whole answer must stand in the source as it is, so what remains to be
# seen is that the piece speaks of what was asked: right pieces from 0.83, others below 0.81.
OTHER_LANGUAGE_FIGURE_COSINE = 0.82
# A long sentence that shares few words with the source is a neighbour more often than a paraphrase.
FEW_WORDS = 3
LOST_WORD_PENALTY = 0.005
HIGHEST_COSINE = 0.94
UNCHECKED_PENALTY = 0.02  # a name without a counterpart, or nothing to check but meaning

_OWN_LIMIT = 8  # pieces of the cited source that are embedded, 20-60 ms each
_ELSEWHERE_LIMIT = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    window: Window
    verdict: Verdict
    same_language: bool


def candidates_in(claim: Claim, source: Source, setting: Setting) -> tuple[Candidate, ...]:
    """The likeliest pieces of the cited source, best first; pairs where no sentence will do."""
    for sizes in (range(1, 2), range(2, 3)):
        found = _candidates(claim, source, setting, sizes)
        if found:
            return _likeliest(claim, found, _OWN_LIMIT)
    return ()


def candidates_elsewhere(
    claim: Claim, sources: Iterable[Source], setting: Setting
) -> tuple[Candidate, ...]:
    """The likeliest single sentences of the other sources: where a marker should point."""
    found = [c for s in sources for c in _candidates(claim, s, setting, range(1, 2))]
    return _likeliest(claim, found, _ELSEWHERE_LIMIT)


def holds_by_meaning(claim: Claim, candidate: Candidate, cosine: float) -> bool:
    is_figure = claim.is_short and any(not fact.loose for fact in claim.features.facts)
    needed = OTHER_LANGUAGE_FIGURE_COSINE if is_figure else OTHER_LANGUAGE_COSINE
    if candidate.same_language:
        beyond = max(0, candidate.verdict.lost_words - FEW_WORDS)
        needed = min(SAME_LANGUAGE_COSINE + LOST_WORD_PENALTY * beyond, HIGHEST_COSINE)
    unchecked = claim.is_short and not (claim.features.facts or claim.names)
    if candidate.verdict.missing_names or unchecked:
        needed += UNCHECKED_PENALTY
    return cosine >= needed


def _candidates(claim: Claim, source: Source, setting: Setting, sizes: range) -> list[Candidate]:
    if claim.denies:
        return []
    found = []
    for window in source.windows(sizes):
        verdict = judge(claim, window.features, window.around, setting)
        # A short answer may be a name or unit of the source; its question has a language.
        wording = setting.question if claim.is_short else claim.text
        same_language = same_script(wording, window.text)
        translated = verdict.block is Block.NAME and verdict.names_translatable
        allowed = verdict.block is None or (translated and not same_language)
        # A short answer is embedded with its question, which alone is near to what it asks for.
        says_it = verdict.shares or not (claim.is_short and same_language)
        if allowed and says_it and verdict.same_polarity:
            found.append(Candidate(window, verdict, same_language))
    return found


def _likeliest(claim: Claim, found: list[Candidate], limit: int) -> tuple[Candidate, ...]:
    def rank(candidate: Candidate) -> tuple[float, float]:
        lengths = (len(candidate.window.text) + 1) / (len(claim.to_embed) + 1)
        return (-candidate.verdict.coverage, abs(math.log(lengths)))

    return tuple(sorted(found, key=rank)[:limit])

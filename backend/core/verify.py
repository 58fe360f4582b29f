"""Looking for the piece of a source that supports a statement, by words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.core.features import join
from backend.core.support import Claim, Setting, judge, touches
from backend.core.windows import Source, Window

_QUOTED = re.compile(r"«([^«»]{8,})»|“([^“”]{8,})”|„([^„“]{8,})“|\"([^\"]{8,})\"")
_EDGE = " \t\n\u00a0.,;:!?…—–-*_\"'«»“”„()"
_LEAST_WORDS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """``score`` is the share of the statement found, or a cosine for "meaning"."""

    window: Window
    method: Literal["verbatim", "words", "meaning"]
    score: float


def find_support(claim: Claim, source: Source, setting: Setting) -> Finding | None:
    """The shortest piece that supports the statement; the best covered among equals."""
    verbatim = _find_verbatim(claim, source, setting)
    if verbatim is not None:
        return verbatim
    best: tuple[float, Window] | None = None
    size = 0
    for window in source.windows():
        length = window.units
        if best is not None and length > size:
            break
        verdict = judge(claim, window.features, window.around, setting)
        if verdict.enough and (best is None or verdict.coverage > best[0]):
            best, size = (verdict.coverage, window), length
    if best is None:
        return None
    method: Literal["verbatim", "words"] = "words"
    if any(phrase in best[1].text for phrase in _phrases(claim, least_words=1)):
        method = "verbatim"
    return Finding(best[1], method, min(best[0], 1.0))


def find_joint_support(
    claim: Claim, sources: Sequence[Source], setting: Setting
) -> Iterator[Finding]:
    """Pieces of several sources that support the statement only together."""
    best = [_most_telling(claim, source, setting) for source in sources]
    pieces = [piece for piece in best if piece is not None]
    if len(pieces) < 2:
        return
    verdict = judge(
        claim, join(p.features for p in pieces), join(p.around for p in pieces), setting
    )
    if verdict.enough:
        for piece in pieces:
            yield Finding(piece, "words", min(verdict.coverage, 1.0))


def _find_verbatim(claim: Claim, source: Source, setting: Setting) -> Finding | None:
    text = source.stored.chunk.text
    if claim.is_short or claim.denies:
        return None
    for phrase in _phrases(claim, least_words=_LEAST_WORDS):
        at = text.find(phrase)
        while at != -1:
            window = source.covering(at, at + len(phrase))
            verdict = judge(claim, window.features, window.around, setting)
            if verdict.block is None:
                return Finding(window, "verbatim", 1.0)
            at = text.find(phrase, at + 1)
    return None


def _phrases(claim: Claim, *, least_words: int) -> Iterator[str]:
    """The statement itself, then the passages it quotes."""
    quoted = [next(g for g in match.groups() if g) for match in _QUOTED.finditer(claim.text)]
    for i, phrase in enumerate([claim.text, *quoted]):
        bare = phrase.strip(_EDGE)
        if len(bare.split()) >= (least_words if i == 0 else _LEAST_WORDS):
            yield bare


def _most_telling(claim: Claim, source: Source, setting: Setting) -> Window | None:
    """The single sentence that shares most with the statement and does not deny it."""
    shared = [(touches(claim, w.features, setting), w) for w in source.windows(range(1, 2))]
    score, window = max(shared, key=lambda pair: pair[0], default=(0.0, None))
    return window if score > 0 else None

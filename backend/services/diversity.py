"""Fewer near-duplicates among the chunks that answer a question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.core.types import ScoredChunk


def mmr(ranked: Sequence[ScoredChunk], *, lambda_: float, limit: int) -> list[ScoredChunk]:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998).

    Picks one chunk after another by ``lambda_`` x relevance minus (1 - ``lambda_``) x
    similarity to the closest chunk already picked. 1 keeps the order of ``ranked``. Both are
    brought to 0..1 over ``ranked``, since cosines of one model may differ by 0.1 only.

    Chunks without a vector count as similar to nothing.
    """
    if not ranked or limit < 1:
        return []
    relevance = _unit_scale(np.array([scored.score for scored in ranked]))
    similarity = _similarity(ranked)
    closest = np.zeros(len(ranked))
    left = np.ones(len(ranked), dtype=bool)
    picked: list[int] = []
    while len(picked) < min(limit, len(ranked)):
        gain = lambda_ * relevance - (1 - lambda_) * closest
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        picked.append(best)
        left[best] = False
        closest = np.maximum(closest, similarity[best])
    return [ranked[i] for i in picked]


def _similarity(ranked: Sequence[ScoredChunk]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Cosines between all pairs on a scale where the least similar pair has 0, itself 1."""
    n = len(ranked)
    known = [i for i, scored in enumerate(ranked) if scored.dense is not None]
    similarity = np.zeros((n, n))
    if len(known) < 2:
        return similarity
    vectors = np.array([ranked[i].dense for i in known], dtype=np.float64)
    cosines = vectors @ vectors.T
    lowest = min(float(cosines.min()), 1.0 - 1e-9)
    similarity[np.ix_(known, known)] = (cosines - lowest) / (1.0 - lowest)
    return similarity


def _unit_scale(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.ones_like(values)
    scaled: np.ndarray[tuple[int], np.dtype[np.float64]] = (values - low) / (high - low)
    return scaled

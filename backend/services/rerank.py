"""The step after fusion: the best chunks are read together with the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backend.core.ports import Reranker
from backend.core.types import ListRank, ScoredChunk

CANDIDATES = 30


class RerankStep:
    def __init__(self, reranker: Reranker, candidates: int = CANDIDATES) -> None:
        """``candidates``: how many of the fused list are scored."""
        self._reranker = reranker
        self._candidates = candidates

    async def rank(self, query: str, fused: Sequence[ScoredChunk]) -> list[ScoredChunk]:
        """All of ``fused``: the candidates by their new score, then the others as they were,
        their scores moved below the candidates'.

        Raises:
            DependencyError: the reranker failed.
        """
        best, rest = fused[: self._candidates], fused[self._candidates :]
        if not best:
            return []
        scores = await self._reranker.scores(query, [s.stored.chunk.embedding_text for s in best])
        pairs = sorted(zip(scores, best, strict=True), key=lambda pair: -pair[0])
        reranked = [
            replace(scored, score=score, ranks={**scored.ranks, "rerank": ListRank(rank, score)})
            for rank, (score, scored) in enumerate(pairs, start=1)
        ]
        below = min(scores) - best[-1].score
        return reranked + [replace(scored, score=scored.score + below) for scored in rest]

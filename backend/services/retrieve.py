"""A question to ranked chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.core.fusion import fuse, one_per_document
from backend.core.ports import Embedder, SparseEncoder, VectorStore
from backend.core.types import DocType, ScoredChunk, SearchRequest
from backend.services.cache import SpaceCache
from backend.services.diversity import mmr
from backend.services.rerank import RerankStep
from backend.services.timing import Timings

MAX_CANDIDATES = 2000  # of one list; where the adaptive refill stops


@dataclass(frozen=True, slots=True)
class SearchQuery:
    q: str
    space_id: str
    top_k: int
    doc_types: tuple[DocType, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalPolicy:
    """``candidates`` is how many chunks each list has before fusion, at least three for each
    chunk asked for. ``mmr_lambda`` of 1 would keep the order; None leaves the step out."""

    candidates: int = 50
    one_per_document: bool = False
    mmr_lambda: float | None = None


class Retriever:
    def __init__(
        self,
        *,
        embedder: Embedder,
        sparse: SparseEncoder,
        vectors: VectorStore,
        policy: RetrievalPolicy,
        reranker: RerankStep | None = None,
    ) -> None:
        self._embedder = embedder
        self._sparse = sparse
        self._vectors = vectors
        self._policy = policy
        self._reranker = reranker

    async def search(self, query: SearchQuery, timings: Timings) -> list[ScoredChunk]:
        """At most ``top_k`` chunks, best first.

        Raises:
            DependencyError: the embedder, the store or the reranker failed.
        """
        with timings.stage("embed_query"):
            dense = await self._embedder.embed_query(query.q)
        request = SearchRequest(
            query.space_id,
            dense,
            self._sparse.query(query.q),
            max(self._policy.candidates, 3 * query.top_k),
            query.doc_types,
            with_vectors=self._policy.mmr_lambda is not None,
        )
        ranked, exhausted = await self._ranked(request, timings)
        while self._offers(ranked) < query.top_k and not exhausted:
            if request.limit >= MAX_CANDIDATES:
                break
            # One document took too many places: look further down both lists.
            request = replace(request, limit=min(MAX_CANDIDATES, 4 * request.limit))
            ranked, exhausted = await self._ranked(request, timings)
        if self._reranker is not None:
            with timings.stage("rerank"):
                ranked = await self._reranker.rank(query.q, ranked)
        with timings.stage("rank"):
            return await self._choose(ranked, query.top_k)

    def _offers(self, ranked: Sequence[ScoredChunk]) -> int:
        """How many chunks can be chosen of these, whatever their order."""
        if self._policy.one_per_document:
            return len({scored.stored.doc_id for scored in ranked})
        return len(ranked)

    async def _ranked(
        self, request: SearchRequest, timings: Timings
    ) -> tuple[list[ScoredChunk], bool]:
        """The fused list, and whether the space has nothing more to offer."""
        with timings.stage("store"):
            hits = await self._vectors.search(request)
        with timings.stage("rank"):
            ranked = fuse(hits, query_terms=len(request.sparse.indices))
        return ranked, len(hits.dense) < request.limit

    async def _choose(self, ranked: Sequence[ScoredChunk], top_k: int) -> list[ScoredChunk]:
        if self._policy.one_per_document:
            ranked = one_per_document(ranked, len(ranked))
        if self._policy.mmr_lambda is None:
            return list(ranked[:top_k])
        return await asyncio.to_thread(mmr, ranked, lambda_=self._policy.mmr_lambda, limit=top_k)


class CachedRetriever:
    """What ``GET /search`` asks."""

    def __init__(self, retriever: Retriever, cache: SpaceCache[list[ScoredChunk]]) -> None:
        self._retriever = retriever
        self._cache = cache

    async def search(self, query: SearchQuery, timings: Timings) -> tuple[list[ScoredChunk], bool]:
        return await self._cache.get(
            query, query.space_id, lambda: self._retriever.search(query, timings)
        )

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backend.core.errors import DependencyError
from backend.core.types import Hit, ListRank, ScoredChunk, SearchHits, SearchRequest
from backend.services.rerank import RerankStep
from backend.services.retrieve import RetrievalPolicy, Retriever, SearchQuery
from backend.services.timing import Timings
from tests.factories import stored
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.reranker import OverlapReranker


def fused(*texts: str) -> list[ScoredChunk]:
    return [
        ScoredChunk(stored(text, n), 1.0 - n / 10, {"dense": ListRank(n + 1, 1.0 - n / 10)})
        for n, text in enumerate(texts)
    ]


def texts(ranked: Sequence[ScoredChunk]) -> list[str]:
    return [scored.stored.chunk.text for scored in ranked]


async def test_the_reranker_decides_the_order_and_leaves_its_rank() -> None:
    ranked = await RerankStep(OverlapReranker()).rank("red cat", fused("dog", "red", "red cat"))

    assert texts(ranked) == ["red cat", "red", "dog"]
    assert [scored.score for scored in ranked] == [1.0, 0.5, 0.0]
    assert ranked[0].ranks == {"dense": ListRank(3, 0.8), "rerank": ListRank(1, 1.0)}


async def test_only_the_best_candidates_are_scored_and_the_others_follow_below_them() -> None:
    reranker = OverlapReranker()

    ranked = await RerankStep(reranker, candidates=2).rank("cat", fused("a", "cat", "cat", "b"))

    assert [asked for _, asked in reranker.asked] == [("a", "cat")]
    assert texts(ranked) == ["cat", "a", "cat", "b"]
    scores = [scored.score for scored in ranked]
    assert scores == sorted(scores, reverse=True)
    assert "rerank" not in ranked[2].ranks


async def test_equal_scores_keep_the_order_of_fusion() -> None:
    assert texts(await RerankStep(OverlapReranker()).rank("x", fused("a", "b", "c"))) == [
        "a",
        "b",
        "c",
    ]


async def test_nothing_found_asks_nothing() -> None:
    reranker = OverlapReranker()

    assert await RerankStep(reranker).rank("x", []) == []
    assert reranker.asked == []


# --- in the retriever --------------------------------------------------------------------------


class FixedStore:
    """Every search finds the same texts, each in a document of its own, then more of them."""

    def __init__(self, *found: str, documents: int = 100) -> None:
        self._hits = [
            Hit(stored(text, n, f"d{n % documents}"), 0.9 - n / 100) for n, text in enumerate(found)
        ]
        self.searches = 0

    async def search(self, request: SearchRequest) -> SearchHits:
        self.searches += 1
        return SearchHits(tuple(self._hits[: request.limit]), ())


class NoTerms:
    def document(self, text: str) -> object: ...

    def query(self, text: str) -> object:
        from backend.core.types import SparseVector

        return SparseVector((), ())


def retriever(store: FixedStore, step: RerankStep | None, **policy: object) -> Retriever:
    return Retriever(
        embedder=HashingEmbedder(),
        sparse=NoTerms(),  # type: ignore[arg-type]
        vectors=store,  # type: ignore[arg-type]
        policy=RetrievalPolicy(**policy),  # type: ignore[arg-type]
        reranker=step,
    )


async def test_a_search_is_reranked_before_it_is_cut_to_top_k() -> None:
    timings = Timings()
    search = retriever(FixedStore("dog", "bird", "red cat"), RerankStep(OverlapReranker()))

    found = await search.search(SearchQuery("red cat", "s", 1), timings)

    assert texts(found) == ["red cat"]
    assert "rerank" in timings.stages


async def test_a_search_that_must_look_further_reranks_once() -> None:
    reranker, store = OverlapReranker(), FixedStore(*("x" for _ in range(40)), documents=2)
    search = retriever(store, RerankStep(reranker), candidates=5, one_per_document=True)

    await search.search(SearchQuery("cat", "s", 3), Timings())

    assert store.searches > 1
    assert len(reranker.asked) == 1


async def test_without_a_reranker_the_order_is_that_of_fusion() -> None:
    timings = Timings()

    found = await retriever(FixedStore("dog", "cat"), None).search(
        SearchQuery("cat", "s", 2), timings
    )

    assert texts(found) == ["dog", "cat"]
    assert "rerank" not in timings.stages


async def test_a_reranker_that_fails_fails_the_search() -> None:
    broken = RerankStep(OverlapReranker(DependencyError("down", dependency="vllm")))

    with pytest.raises(DependencyError):
        await retriever(FixedStore("a"), broken).search(SearchQuery("q", "s", 1), Timings())

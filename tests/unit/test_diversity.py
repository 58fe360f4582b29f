from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians, sin

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.types import ScoredChunk
from backend.services.diversity import mmr
from tests.factories import stored


def ranked(*scored: tuple[str, float, float | None]) -> list[ScoredChunk]:
    """Chunks by name, score and direction in degrees."""
    return [
        ScoredChunk(
            stored(name, doc_id=name),
            score,
            dense=None if angle is None else [cos(radians(angle)), sin(radians(angle))],
        )
        for name, score, angle in scored
    ]


def names(chosen: Sequence[ScoredChunk]) -> str:
    return "".join(scored.stored.doc_id for scored in chosen)


TWINS = ranked(("a", 0.90, 0), ("b", 0.89, 1), ("c", 0.86, 70), ("d", 0.80, 90))


def test_a_near_duplicate_gives_way_to_something_else() -> None:
    assert names(mmr(TWINS, lambda_=0.5, limit=2)) == "ac"


def test_lambda_one_keeps_the_ranking() -> None:
    assert names(mmr(TWINS, lambda_=1.0, limit=4)) == "abcd"


def test_the_best_chunk_comes_first_whatever_lambda() -> None:
    assert names(mmr(TWINS, lambda_=0.01, limit=1)) == "a"


def test_chunks_without_vectors_are_ranked_by_score() -> None:
    without = ranked(("a", 0.9, None), ("b", 0.8, None), ("c", 0.7, 10))

    assert names(mmr(without, lambda_=0.5, limit=3)) == "abc"


def test_nothing_in_nothing_out() -> None:
    assert mmr([], lambda_=0.5, limit=3) == []
    assert mmr(TWINS, lambda_=0.5, limit=0) == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 180)), max_size=8),
    st.floats(0, 1),
    st.integers(0, 10),
)
def test_mmr_picks_distinct_chunks_up_to_the_limit(
    values: list[tuple[float, float]], lambda_: float, limit: int
) -> None:
    given_chunks = ranked(*((str(n), score, angle) for n, (score, angle) in enumerate(values)))

    chosen = [scored.stored.doc_id for scored in mmr(given_chunks, lambda_=lambda_, limit=limit)]

    assert len(chosen) == min(limit, len(values))
    assert len(set(chosen)) == len(chosen)

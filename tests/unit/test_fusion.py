from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.fusion import fuse, one_per_document
from backend.core.types import Hit, ListRank, ScoredChunk, SearchHits
from tests.factories import stored


def hits(scores: dict[str, float], dense: list[float] | None = None) -> tuple[Hit, ...]:
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    return tuple(Hit(stored(doc, doc_id=doc), score, dense) for doc, score in ranked)


def names(fused: list[ScoredChunk]) -> list[str]:
    return [scored.stored.doc_id for scored in fused]


def test_lists_that_agree_put_the_common_chunk_first() -> None:
    found = SearchHits(hits({"a": 0.86, "b": 0.85}), hits({"b": 12.0, "c": 6.0}))

    assert names(fuse(found, query_terms=4))[0] == "b"


def test_a_list_without_real_matches_does_not_move_a_clear_dense_order() -> None:
    found = SearchHits(hits({"a": 0.84, "b": 0.82, "c": 0.80}), hits({"d": 2.0, "c": 1.8}))

    assert names(fuse(found, query_terms=8))[:2] == ["a", "b"]


def test_an_exact_code_beats_what_only_sounds_similar() -> None:
    found = SearchHits(hits({"a": 0.86, "b": 0.85, "z": 0.78}), hits({"code": 18.0}))

    assert names(fuse(found, query_terms=3))[0] == "code"


def test_a_chunk_tells_its_rank_and_score_in_each_list() -> None:
    found = SearchHits(hits({"a": 0.9, "b": 0.8}, [1.0, 0.0]), hits({"b": 7.0, "c": 3.0}))
    ranks = {scored.stored.doc_id: scored.ranks for scored in fuse(found, query_terms=2)}

    assert ranks["a"] == {"dense": ListRank(1, 0.9)}
    assert ranks["b"] == {"dense": ListRank(2, 0.8), "bm25": ListRank(1, 7.0)}
    assert ranks["c"] == {"bm25": ListRank(2, 3.0)}


def test_vectors_of_hits_are_kept_for_what_comes_after() -> None:
    found = SearchHits(hits({"a": 0.9}, [1.0, 0.0]), hits({"a": 7.0, "b": 5.0}, [0.0, 1.0]))

    assert [scored.dense for scored in fuse(found, query_terms=2)] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("query_terms", [0, 3])
def test_one_list_alone_keeps_its_order(query_terms: int) -> None:
    dense = SearchHits(hits({"a": 0.9, "b": 0.8}), ())
    sparse = SearchHits((), hits({"a": 9.0, "b": 8.0}))

    assert names(fuse(dense, query_terms=query_terms)) == ["a", "b"]
    assert names(fuse(sparse, query_terms=query_terms)) == ["a", "b"]
    assert fuse(SearchHits((), ()), query_terms=query_terms) == []


SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 30.0))


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(0, 12))
def test_fusion_ranks_every_chunk_once_and_never_below_a_worse_one(
    dense: dict[str, float], sparse: dict[str, float], query_terms: int
) -> None:
    fused = fuse(SearchHits(hits(dense), hits(sparse)), query_terms=query_terms)
    place = {name: place for place, name in enumerate(names(fused))}

    assert place.keys() == dense.keys() | sparse.keys()
    assert len(fused) == len(place)
    assert [s.score for s in fused] == sorted((s.score for s in fused), reverse=True)
    for x in dense.keys() & sparse.keys():
        for y in dense.keys() & sparse.keys():
            if dense[x] > dense[y] and sparse[x] > sparse[y]:
                assert place[x] < place[y]


def test_one_chunk_of_each_document_is_its_best() -> None:
    ranked = [
        ScoredChunk(stored("text", index, doc), score)
        for doc, index, score in (("a", 3, 0.9), ("a", 1, 0.8), ("b", 0, 0.7), ("c", 2, 0.6))
    ]

    kept = one_per_document(ranked, 2)

    assert [(s.stored.doc_id, s.stored.chunk.index) for s in kept] == [("a", 3), ("b", 0)]
    assert one_per_document(ranked, 0) == []


def mixed_space(sparse: dict[str, float]) -> SearchHits:
    """A Russian question: its answer is the English chunk that is nearest by meaning."""
    texts = {"answer": "The project is due on Friday.", "ru1": "Срок проекта", "ru2": "О проекте"}
    cosines = {"answer": 0.86, "ru1": 0.855, "ru2": 0.85}

    def ranked(scores: dict[str, float]) -> tuple[Hit, ...]:
        return tuple(Hit(stored(texts[name], doc_id=name), s) for name, s in scores.items())

    return SearchHits(ranked(cosines), ranked(sparse))


def test_words_in_common_do_not_beat_an_answer_in_another_script() -> None:
    found = mixed_space({"ru1": 4.0, "ru2": 3.8})

    assert names(fuse(found, query_terms=4))[0] == "answer"


def test_a_chunk_that_stands_out_in_its_script_beats_one_in_another() -> None:
    found = mixed_space({"ru1": 12.0, "ru2": 3.0})

    assert names(fuse(found, query_terms=4))[0] == "ru1"


def test_a_single_word_is_looked_for_as_it_is_written() -> None:
    found = mixed_space({"ru1": 4.0, "ru2": 3.9})

    assert names(fuse(found, query_terms=1))[:2] == ["ru1", "ru2"]

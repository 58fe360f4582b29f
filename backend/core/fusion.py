"""One ranking from the dense and the BM25 list.

Scores are added, not ranks: reciprocal rank fusion gives the best entry of a worthless list
as much weight as that of a good one (``docs/decisions/0002-embedding-and-fusion.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from backend.core.types import Hit, ListRank, ScoredChunk, SearchHits

# Cosine that one unit of BM25 score per square root of query terms is worth. Measured with
# multilingual-e5-small, whose 50 best cosines lie within about 0.1; flat from 0.006 to 0.015.
BM25_WEIGHT = 0.008
# Score per query term of the best BM25 hit from which the list is fully trusted. A query in
# the language of the text reaches 1.6 in 95 of 100 cases, one in another language in 5.
TRUSTED_SCORE_PER_TERM = 2.0
_SCRIPT_CHARS = 200
_LATIN_SHARE = 0.6


def fuse(
    hits: SearchHits, *, query_terms: int, bm25_weight: float = BM25_WEIGHT
) -> list[ScoredChunk]:
    """Every chunk of either list once, best first: cosine plus what BM25 adds to it.

    Unlike min-max scaling this leaves a list of weak scores weak. BM25 scores of a query whose
    words are not in the collection are small beside the number of its terms, and the whole
    list is damped by how far its best entry is from ``TRUSTED_SCORE_PER_TERM``. A chunk that
    is not in the dense list counts as its last entry (Bruch et al., "An Analysis of Fusion
    Functions for Hybrid Retrieval", 2023, on adding scores by theoretical scale).

    BM25 finds the words of a question in one script only, so a chunk in another script gets
    the benefit of the doubt: what the second-best chunk in the question's script has. Without
    it the answer in the other language loses against chunks that merely share a few words.

    Args:
        hits: both lists, best first, without scores of zero.
        query_terms: distinct terms of the query: ``len(sparse_query.indices)``.
        bm25_weight: larger for an embedding model whose cosines are spread wider.
    """
    ranks: dict[tuple[str, int], dict[str, ListRank]] = {}
    found: dict[tuple[str, int], Hit] = {}
    for name, ranked in (("dense", hits.dense), ("bm25", hits.sparse)):
        for rank, hit in enumerate(ranked, start=1):
            key = (hit.stored.doc_id, hit.stored.chunk.index)
            # The dense list comes first, so a hit of both keeps its vector.
            found.setdefault(key, hit)
            ranks.setdefault(key, {})[name] = ListRank(rank, hit.score)
    floor = hits.dense[-1].score if hits.dense else 0.0
    scale = bm25_weight * _bm25_trust(hits.sparse, query_terms)
    doubt = _benefit_of_the_doubt(hits.sparse, query_terms)
    latin = bool(hits.sparse) and _is_latin(hits.sparse[0])
    fused = []
    for key, hit in found.items():
        dense, bm25 = ranks[key].get("dense"), ranks[key].get("bm25")
        lexical = bm25.score if bm25 else 0.0
        if dense and lexical < doubt and _is_latin(hit) != latin:
            lexical = doubt
        score = (dense.score if dense else floor) + scale * lexical
        fused.append(ScoredChunk(hit.stored, score, ranks[key], hit.dense))
    return sorted(fused, key=_best_first)


def one_per_document(ranked: Sequence[ScoredChunk], limit: int) -> list[ScoredChunk]:
    """The best chunk of each document, in the order of ``ranked``, up to ``limit``."""
    best: dict[str, ScoredChunk] = {}
    for scored in ranked:
        if len(best) == limit:
            break
        best.setdefault(scored.stored.doc_id, scored)
    return list(best.values())


def _bm25_trust(ranked: Sequence[Hit], query_terms: int) -> float:
    if not ranked or query_terms < 1:
        return 0.0
    per_term = ranked[0].score / query_terms
    return min(1.0, per_term / TRUSTED_SCORE_PER_TERM) / sqrt(query_terms)


def _benefit_of_the_doubt(ranked: Sequence[Hit], query_terms: int) -> float:
    """BM25 score of a chunk that could not share the question's words.

    The second-best of its script, because the best may be the answer itself. At most what is
    fully trusted for each term but one: a name or code alone is written alike in both scripts
    or is looked for as it is written.
    """
    if not ranked:
        return 0.0
    latin = _is_latin(ranked[0])
    second = next((hit.score for hit in ranked[1:] if _is_latin(hit) == latin), 0.0)
    return min(second, TRUSTED_SCORE_PER_TERM * max(0, query_terms - 1))


def _is_latin(hit: Hit) -> bool:
    """By the share of ASCII at the beginning: a Russian text has a fifth, for its spaces."""
    text = hit.stored.chunk.text[:_SCRIPT_CHARS]
    return len(text.encode("ascii", "ignore")) > _LATIN_SHARE * len(text)


def _best_first(scored: ScoredChunk) -> tuple[float, str, int]:
    """Ties in a fixed order, so that the same question has the same answer."""
    return (-scored.score, scored.stored.doc_id, scored.stored.chunk.index)

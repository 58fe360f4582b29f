"""Whether a question finds its answer in a space that holds Russian and English documents.

    python -m benchmarks.mixed_language DATA/xquad-ru DATA/xquad-en --cache /tmp/vectors

The folders are those of ``benchmarks.retrieval``, the same passages in two languages. Half of
the passages, drawn with a fixed seed, go into the space in Russian only, the others in English
only; then the other way round. Figures are means over both. "Same" are the questions whose
passage is in the question's language, "cross" the others: a passage in the wrong language
has to win against 120 in the right one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.adapters.embedders.language_neutral import load_direction, remove_direction
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.fusion import fuse
from backend.core.types import SearchHits, SearchRequest
from benchmarks.retrieval import (
    CANDIDATES,
    CachedEmbedder,
    Dataset,
    Options,
    Question,
    Vectors,
    filled_store,
    read_dataset,
    report,
)

SEED = 20261121
ROOT = Path(__file__).resolve().parent.parent
DIRECTION = ROOT / "config" / "embeddings" / "multilingual-e5-small.language.json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One question asked of one of the two spaces."""

    question: Question
    language: str  # name of the folder the question is from
    crosses: bool  # its passage is there in the other language only
    hits: SearchHits
    query_terms: int


class NeutralCachedEmbedder(CachedEmbedder):
    """The cached vectors of the bundled model without their language direction."""

    def __init__(self, cache: Path) -> None:
        super().__init__(cache)
        direction = load_direction(DIRECTION, self._model.fingerprint, self._model.dimensions)
        self._unit = np.array(direction) / np.linalg.norm(direction)

    async def _cached(self, kind: str, texts: Sequence[str]) -> Vectors:
        rows: Vectors = remove_direction(await super()._cached(kind, texts), self._unit).tolist()
        return rows


def half_and_half(one: Dataset, other: Dataset) -> Iterator[tuple[Dataset, frozenset[str]]]:
    """Both spaces, and which passages are in the language of ``one``."""
    names = np.random.default_rng(SEED).permutation(sorted(one.passages)).tolist()
    half = len(names) // 2
    for chosen in (frozenset(names[:half]), frozenset(names[half:])):
        passages = {
            name: (one if name in chosen else other).passages[name] for name in one.passages
        }
        yield Dataset("half and half", passages, ()), chosen


async def answers(
    one: Dataset, other: Dataset, embedder: CachedEmbedder, options: Options
) -> list[Answer]:
    encoder = BilingualBm25()
    asked = [(dataset.name, question) for dataset in (one, other) for question in dataset.questions]
    queries = await embedder.queries([question.text for _, question in asked])
    found = []
    for space, in_one in half_and_half(one, other):
        async with filled_store(space, embedder, encoder, options) as store:
            for (language, question), dense in zip(asked, queries, strict=True):
                sparse = encoder.query(question.text)
                request = SearchRequest("benchmark", dense, sparse, CANDIDATES)
                crosses = question.gold.issubset(in_one) != (language == one.name)
                hits = await store.search(request)
                found.append(Answer(question, language, crosses, hits, len(sparse.indices)))
    return found


def by_cosine(answer: Answer) -> list[str]:
    return _documents(hit.stored.doc_id for hit in answer.hits.dense)


def by_fusion(answer: Answer) -> list[str]:
    fused = fuse(answer.hits, query_terms=answer.query_terms)
    return _documents(scored.stored.doc_id for scored in fused)


def _documents(ranked: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(ranked))


def show(found: Sequence[Answer], method: str, rank: Callable[[Answer], list[str]]) -> None:
    for language in dict.fromkeys(answer.language for answer in found):
        for crosses in (False, True):
            part = [a for a in found if a.language == language and a.crosses == crosses]
            name = f"{language} {'cross' if crosses else 'same'}"
            report(name, method, [a.question for a in part], [rank(a) for a in part])


async def run(arguments: argparse.Namespace) -> None:
    one, other = (read_dataset(folder) for folder in arguments.folders)
    if one.passages.keys() != other.passages.keys():
        raise SystemExit("The folders must hold the same passage ids.")
    options = Options(arguments.cache, arguments.size, arguments.overlap)
    for name, kind in (("plain", CachedEmbedder), ("neutral", NeutralCachedEmbedder)):
        embedder = kind(options.cache)
        try:
            found = await answers(one, other, embedder, options)
        finally:
            embedder.close()
        show(found, f"{name} dense", by_cosine)
        show(found, f"{name} hybrid", by_fusion)


def main() -> None:
    parser = argparse.ArgumentParser(description="Retrieval across languages in one space.")
    parser.add_argument("folders", nargs=2, type=Path)
    parser.add_argument("--size", type=int, default=256, help="CHUNK_SIZE_TOKENS")
    parser.add_argument("--overlap", type=int, default=32, help="CHUNK_OVERLAP_TOKENS")
    default_cache = Path(tempfile.gettempdir()) / "quadrate-benchmark-vectors"
    parser.add_argument("--cache", type=Path, default=default_cache, help="folder for vectors")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

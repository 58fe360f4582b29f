"""What the retriever and HTTP add to a query of the bare store, at 20,000 chunks, in one run.

    python -m benchmarks.query_cost [--chunks 20000] [--queries 300]

Vectors are random and the query's embedding is free, so that only our own time is left. The bare
query is the same batch (dense and BM25, same filter, same limit, with payload) on the Edge shard.
Medians; each query is run all three ways, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import qdrant_edge as edge

from backend.adapters.parsers import ProcessParser
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.adapters.stores.edge import EdgeDocumentStore, EdgeVectorStore
from backend.adapters.stores.points import EdgePoints
from backend.adapters.stores.schema import HnswSettings
from backend.adapters.stores.summaries import SUMMARY_FIELDS, PointSummaryStore
from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
)
from backend.services.retrieve import RetrievalPolicy, Retriever, SearchQuery
from backend.services.timing import Timings
from backend.settings import Settings
from backend.wiring import Adapters, compose
from backend.wiring.chat import Chat
from backend.wiring.embedding import Embedding
from backend.wiring.stores import Stores
from benchmarks.serving import serving

DIMENSIONS = 384
CHUNKS_PER_DOCUMENT = 20
WORDS_PER_CHUNK = 120
CANDIDATES = 50


class FreeEmbedder:
    """Random unit vectors, the same for the same text."""

    fingerprint = "random"
    dimensions = DIMENSIONS
    max_tokens = 512

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def embed_query(self, text: str) -> Sequence[float]:
        return self.vector(text)

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        seed = int.from_bytes(text.encode()[:8], "little")
        vector = np.random.default_rng(seed).standard_normal(DIMENSIONS)
        unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return unit


def _words(count: int, rng: random.Random) -> str:
    """Russian-looking words with a long tail, as in real text."""
    return " ".join(f"слово{int(rng.paretovariate(0.6)) % 50_000}" for _ in range(count))


async def _fill(store: EdgeVectorStore, embedder: FreeEmbedder, chunks: int) -> None:
    rng, sparse = random.Random(0), BilingualBm25()  # noqa: S311 - not a secret
    for number in range(chunks // CHUNKS_PER_DOCUMENT):
        version = DocumentVersion("v", "sha", 1, DocType.UNSTRUCTURED, "given")
        record = DocumentRecord(f"d{number}", "bench", f"d{number}.txt", pending=version)
        texts = [f"{number} {i} {_words(WORDS_PER_CHUNK, rng)}" for i in range(CHUNKS_PER_DOCUMENT)]
        await store.stage(
            record,
            version,
            [
                EmbeddedChunk(
                    Chunk(i, text, 0, len(text), 200), embedder.vector(text), sparse.document(text)
                )
                for i, text in enumerate(texts)
            ],
        )
        await store.commit(record, "v")
    await asyncio.to_thread(store._shard._open_shard.optimize)


def _bare_batch(dense: Sequence[float], sparse: Any) -> edge.QueryBatchRequest:
    space = edge.FieldCondition("space_id", match=edge.MatchValue("bench"))
    wanted = edge.Filter(must=[space])
    terms = edge.SparseVector(list(sparse.indices), list(sparse.values))
    queries = [
        edge.Query.Nearest(list(dense), using="dense"),
        edge.Query.Nearest(terms, using="bm25"),
    ]
    return edge.QueryBatchRequest(
        [
            edge.QueryRequest(query=query, limit=CANDIDATES, filter=wanted, with_payload=True)
            for query in queries
        ]
    )


async def _measure(folder: Path, chunks: int, queries: int) -> None:
    embedder, sparse = FreeEmbedder(), BilingualBm25()
    vectors = EdgeVectorStore(folder, dimensions=DIMENSIONS, hnsw=HnswSettings())
    documents = EdgeDocumentStore(folder, fingerprint=embedder.fingerprint)
    await vectors.open()
    await documents.open()
    await _fill(vectors, embedder, chunks)

    async def ok() -> str:
        return "ok"

    retriever = Retriever(
        embedder=embedder, sparse=sparse, vectors=vectors, policy=RetrievalPolicy(CANDIDATES)
    )
    parser = ProcessParser()
    embedding = Embedding(embedder, embedder, ok)
    summaries = PointSummaryStore(EdgePoints(folder / "summaries", keyword_fields=SUMMARY_FIELDS))
    await summaries.open()
    stores = Stores(vectors, documents, summaries, ok)
    adapters = Adapters(stores, embedding, parser, Chat(None, why_not="not measured"))
    settings = Settings(_env_file=None, data_dir=folder, cache_size=0, llm_mode="none")
    rng = random.Random(1)  # noqa: S311 - not a secret
    times: dict[str, list[float]] = {"bare": [], "retriever": [], "http": [], "http_store": []}
    async with (
        compose(settings, adapters) as services,
        serving(settings, services) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for _ in range(queries):
            q = _words(6, rng)
            batch = _bare_batch(embedder.vector(q), sparse.query(q))
            started = time.perf_counter()
            vectors._shard._open_shard.query_batch(batch)
            times["bare"].append(time.perf_counter() - started)
            timings = Timings()
            started = time.perf_counter()
            await retriever.search(SearchQuery(q, "bench", 10), timings)
            whole = time.perf_counter() - started
            times["retriever"].append(whole - timings.stages["embed_query"])
            started = time.perf_counter()
            params: dict[str, str | int] = {"q": q, "space_id": "bench", "top_k": 10}
            response = await client.get("/search", params=params)
            whole = time.perf_counter() - started
            stages = response.raise_for_status().json()["timings"]
            times["http"].append(whole)
            times["http_store"].append(whole - stages["embed_query"] - stages["store"])
    await parser.close()
    await vectors.close()
    await documents.close()
    await summaries.close()
    _report(times, chunks)


def _report(times: dict[str, list[float]], chunks: int) -> None:
    p50 = {name: statistics.median(values) * 1000 for name, values in times.items()}
    print(f"{chunks} chunks, {len(times['bare'])} queries, medians in ms")
    print(f"  bare store query                         {p50['bare']:8.2f}")
    print(f"  retriever without embedding              {p50['retriever']:8.2f}")
    print(f"    ratio to the bare query (goal: <= 2)   {p50['retriever'] / p50['bare']:8.2f}")
    print(f"  GET /search                              {p50['http']:8.2f}")
    print(f"    over embedding and store (goal: <= 5)  {p50['http_store']:8.2f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--chunks", type=int, default=20_000)
    arguments.add_argument("--queries", type=int, default=300)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), given.chunks, given.queries))


if __name__ == "__main__":
    main()

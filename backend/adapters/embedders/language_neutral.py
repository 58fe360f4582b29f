"""Vectors that do not tell which language their text was in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from backend.core.errors import ConfigurationError
from backend.core.ports import Embedder

_DIGITS = 6  # of the direction, as it is written down
_NEARLY_NOTHING = 1e-6

Floats = NDArray[np.float64]


class DirectionFile(BaseModel):
    """``config/embeddings/*.language.json``, written by ``scripts.make_language_direction``."""

    model_config = ConfigDict(extra="forbid")

    model: str  # fingerprint of the embedder whose vectors it was computed from
    method: str
    pairs: int
    dimensions: int
    direction: tuple[FiniteFloat, ...]


class LanguageNeutralEmbedder:
    """Implements ``Embedder`` around another one, removing one direction from its vectors.

    Multilingual models put a text nearer to unrelated texts of its own language than to its
    translation, so that in a space of Russian and English documents a question hardly finds
    an answer in the other language (Roy et al., "LAReQA: Language-agnostic Answer Retrieval
    from a Multilingual Pool", EMNLP 2020). What the language adds to a vector is much the same
    for all texts, hence can be projected out: x - (x·u)u, then length one. Yang et al., "A
    Simple and Effective Method To Eliminate the Self Language Bias in Multilingual
    Representations", EMNLP 2021, take u from the principal components of each language's
    texts; we have parallel texts and take their mean difference
    (``docs/decisions/0006-language-neutral-embeddings.md``).

    Args:
        direction: along which texts of the two languages differ; any length but zero.
    """

    def __init__(self, inner: Embedder, direction: Sequence[float]) -> None:
        """
        Raises:
            ConfigurationError: the direction does not fit the vectors of ``inner``.
        """
        unit = np.asarray(direction, dtype=np.float64)
        length = float(np.linalg.norm(unit))
        if unit.shape != (inner.dimensions,) or length < _NEARLY_NOTHING:
            raise ConfigurationError(
                f"The language direction has {unit.size} numbers and length {length:.3g}; the "
                f"embedding model {inner.fingerprint!r} needs {inner.dimensions} numbers that "
                "are not all zero."
            )
        self._inner = inner
        self._unit = unit / length
        self._fingerprint = f"{inner.fingerprint}/language-neutral-1-{_short_hash(direction)}"

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    @property
    def max_tokens(self) -> int:
        return self._inner.max_tokens

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    async def embed_query(self, text: str) -> Sequence[float]:
        vector = await self._inner.embed_query(text)
        return self._neutral([vector])[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors = await self._inner.embed_passages(texts)
        if not vectors:
            return []
        return await asyncio.to_thread(self._neutral, vectors)

    def _neutral(self, vectors: Sequence[Sequence[float]]) -> list[Sequence[float]]:
        rows: list[Sequence[float]] = remove_direction(vectors, self._unit).tolist()
        return rows


def remove_direction(vectors: ArrayLike, unit: Floats) -> Floats:
    """Each row without its part along ``unit``, at length one; shape (n, dimensions).

    A row that is nothing but ``unit`` stays as it is: there is nothing else to rank it by.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    left = rows - np.outer(rows @ unit, unit)
    lengths = np.linalg.norm(left, axis=1, keepdims=True)
    return np.where(lengths < _NEARLY_NOTHING, rows, left / np.maximum(lengths, _NEARLY_NOTHING))


def load_direction(path: Path, fingerprint: str, dimensions: int) -> tuple[float, ...]:
    """The direction for the embedder of this fingerprint.

    Raises:
        ConfigurationError: the file is missing, broken, or made for another model.
    """
    try:
        found = DirectionFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(
            f"The language direction {path} could not be read ({error}). "
            "Write it again with: python -m scripts.make_language_direction"
        ) from error
    if found.model != fingerprint:
        raise ConfigurationError(
            f"The language direction {path} was made for the embedding model {found.model!r}, "
            f"but this backend is set up for {fingerprint!r}."
        )
    if not found.dimensions == len(found.direction) == dimensions:
        raise ConfigurationError(
            f"The language direction {path} has {len(found.direction)} numbers and promises "
            f"{found.dimensions}; the embedding model {fingerprint!r} has {dimensions}."
        )
    return found.direction


def _short_hash(direction: Sequence[float]) -> str:
    written = ",".join(f"{value:.{_DIGITS}f}" for value in direction)
    return hashlib.sha256(written.encode()).hexdigest()[:8]

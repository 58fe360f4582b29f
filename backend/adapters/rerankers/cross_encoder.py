"""A cross-encoder of the sentence-transformers library, in this process."""

from __future__ import annotations

import asyncio
import importlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.adapters._texts import halves, sendable
from backend.adapters.embedders.sentence_transformers import Import, load
from backend.core.errors import DependencyError, InvalidRequest

_NAME = "sentence-transformers"


class CrossEncoderReranker:
    """Implements ``Reranker``. Constructing it loads the model: do that in a thread.

    One batch runs at a time, on a thread of its own. A text that does not fit the model
    together with the question is scored in halves, again and again: the library would cut it.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        batch_size: int = 16,
        import_module: Import = importlib.import_module,
    ) -> None:
        """
        Raises:
            ConfigurationError: the package or the model is not on this machine.
        """
        self._encoder = load("CrossEncoder", model, device, "RERANK_MODEL", import_module)
        self._name = model
        self._batch_size = batch_size
        window = self._encoder.max_length or self._encoder.tokenizer.model_max_length
        self._window = int(window)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rerank")

    @property
    def model(self) -> str:
        return self._name

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """
        Raises:
            InvalidRequest: the query alone fills the model's window.
            DependencyError: the model failed.
        """
        found: list[float] = []
        for first in range(0, len(texts), self._batch_size):
            batch = texts[first : first + self._batch_size]
            scored = await asyncio.wrap_future(self._worker.submit(self._score, query, batch))
            found += scored
        return found

    async def check(self) -> str:
        await self.scores("health", ["health"])
        return f"{self._name} in this process"

    def close(self) -> None:
        """Wait for the batch being scored and stop the worker."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _score(self, query: str, texts: Sequence[str]) -> list[float]:
        query = sendable(query)
        cut = [self._pieces(query, sendable(text)) for text in texts]
        scored = iter(self._predict([(query, piece) for pieces in cut for piece in pieces]))
        return [max([next(scored) for _ in pieces]) for pieces in cut]

    def _pieces(self, query: str, text: str) -> list[str]:
        encoded = self._encoder.tokenizer(query, text, truncation=False, verbose=False)
        tokens = len(encoded["input_ids"])
        if tokens <= self._window:
            return [text]
        parts = halves(text)
        if parts is None:
            raise InvalidRequest(
                f"The question is too long for the reranking model {self._name!r}: its window "
                f"holds {self._window} tokens, the question and one character take {tokens}."
            )
        return [piece for part in parts for piece in self._pieces(query, part)]

    def _predict(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        try:
            predicted = self._encoder.predict(
                list(pairs), batch_size=self._batch_size, show_progress_bar=False
            )
            scores = [float(score) for score in predicted]
        except (RuntimeError, TypeError) as error:  # torch; or a model with several outputs
            raise DependencyError(
                f"The reranking model failed: {error}", dependency=_NAME
            ) from error
        if not all(map(math.isfinite, scores)):
            raise DependencyError(
                "The reranking model gave scores that are no numbers.", dependency=_NAME
            )
        return scores

"""Any model of the sentence-transformers library, in this process."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backend.adapters._texts import sendable
from backend.adapters.embedders._vectors import Floats, mean, unit, windows
from backend.core.errors import ConfigurationError, DependencyError

_INSTALL = "pip install 'quadrate-rag[sentence-transformers]'"
_NAME = "sentence-transformers"

Import = Callable[[str], Any]


def load(kind: str, model: str, device: str, setting: str, import_module: Import) -> Any:
    """A ``SentenceTransformer`` or ``CrossEncoder`` from this machine's disk; never downloads.

    Raises:
        ConfigurationError: the package or the model is not on this machine.
    """
    try:
        library = import_module("sentence_transformers")
    except ImportError as error:
        raise ConfigurationError(
            f"The package sentence-transformers cannot be used ({error}): {_INSTALL}."
        ) from error
    try:
        return getattr(library, kind)(model, device=device, local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigurationError(
            f"The model {model!r} could not be loaded on {device!r}: {error} "
            f"Models are not downloaded at run time: fetch it first and set {setting} to its "
            "folder or its name."
        ) from error


class SentenceTransformersEmbedder:
    """Implements ``Embedder``. Constructing it loads the model: do that in a thread.

    One batch runs at a time, on a thread of its own; a question waits for the batches that
    stand before it, not for whole documents. A text over the model's window is embedded in
    pieces, whose mean, weighted by tokens, is its vector: the library would cut it.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        query_prefix: str = "",
        passage_prefix: str = "",
        batch_size: int = 16,
        import_module: Import = importlib.import_module,
    ) -> None:
        """
        Raises:
            ConfigurationError: the package or the model is not on this machine.
        """
        self._model = load("SentenceTransformer", model, device, "EMBED_MODEL", import_module)
        self._name = model
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._batch_size = batch_size
        window = self._model.max_seq_length or self._model.tokenizer.model_max_length
        self._max_tokens = int(window)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._dimensions = len(self._encode(["a"])[0])

    @property
    def fingerprint(self) -> str:
        prefixes = f"query={self._query_prefix!r}/passage={self._passage_prefix!r}"
        return f"{self._name}/{self._dimensions}/{prefixes}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, text: str) -> int:
        """With the passage prefix."""
        return self._count(self._passage_prefix + text)

    def _count(self, text: str) -> int:
        encoded = self._model.tokenizer(sendable(text), truncation=False, verbose=False)
        return len(encoded["input_ids"])

    async def embed_query(self, text: str) -> Sequence[float]:
        return (await self._run([text], self._query_prefix))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors: list[Sequence[float]] = []
        for first in range(0, len(texts), self._batch_size):
            vectors += await self._run(
                texts[first : first + self._batch_size], self._passage_prefix
            )
        return vectors

    async def _run(self, texts: Sequence[str], prefix: str) -> list[Sequence[float]]:
        return await asyncio.wrap_future(self._worker.submit(self._embed, texts, prefix))

    def _embed(self, texts: Sequence[str], prefix: str) -> list[Sequence[float]]:
        cut = [windows(sendable(text), prefix, self._count, self._max_tokens) for text in texts]
        rows = iter(self._encode([window.text for pieces in cut for window in pieces]))
        vectors: list[Sequence[float]] = []
        for pieces in cut:
            found = [unit(next(rows), self._dimensions, _NAME) for _ in pieces]
            vectors.append(mean(found, [piece.tokens for piece in pieces], _NAME).tolist())
        return vectors

    def _encode(self, texts: Sequence[str]) -> Floats:
        try:
            rows: Floats = self._model.encode(
                list(texts),
                prompt="",  # not the model's own: it would come on top and not be counted
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        except RuntimeError as error:  # torch: out of memory, a device that went away
            raise DependencyError(
                f"The embedding model failed: {error}", dependency=_NAME
            ) from error
        return rows

    async def check(self) -> str:
        await self.embed_query("health")
        return f"{self._name} in this process: {self._dimensions} dimensions"

    def close(self) -> None:
        """Wait for the batch being embedded and stop the worker."""
        self._worker.shutdown(wait=True, cancel_futures=True)

"""Vectors from a server that speaks OpenAI's embeddings API and counts tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, Field

from backend.adapters._http import Endpoint
from backend.adapters._model_services import (
    InputTooLong,
    ModelList,
    ModelService,
    SettingNames,
)
from backend.adapters._texts import sendable
from backend.adapters.embedders._server_tokens import ServerTokenizer
from backend.adapters.embedders._vectors import Floats, Window, mean, unit, windows
from backend.core.errors import DependencyError, DependencyRejected, PromptTruncated

log = logging.getLogger(__name__)

SETTINGS = SettingNames("EMBED_URL", "EMBED_MODEL", "EMBED_API_KEY", "EMBED_TIMEOUT")

_CANARY = "Та же модель? The same?"
_SAME_MODEL_COSINE = 0.99  # one model differs from itself by rounding only


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Usage(BaseModel):
    prompt_tokens: int = 0


class _Embeddings(BaseModel):
    data: list[_Embedding]
    usage: _Usage = Field(default_factory=_Usage)


class _Slot(BaseModel):
    n_ctx: int


class _Props(BaseModel):
    default_generation_settings: _Slot


class ServerEmbedder:
    """Implements ``Embedder`` on vLLM (``--runner pooling``) or llama.cpp (``--embeddings``).

    Texts are counted by the server's own tokenizer before they are sent; one over the model's
    window is embedded in pieces, whose mean, weighted by tokens, is its vector. The server's
    own count of what it read is compared with ours.

    Every half a minute of use a sentence is embedded again and compared with its vector at the
    start, so that another model behind the same URL and name is noticed.
    """

    verify_every_s = 30.0

    def __init__(
        self,
        service: ModelService,
        counting: httpx.Client,
        *,
        query_prefix: str,
        passage_prefix: str,
        batch_size: int,
    ) -> None:
        """Unfinished: ``open`` makes usable ones."""
        self._service = service
        self._tokenizer = ServerTokenizer(service, counting)
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._batch_size = batch_size
        self._max_tokens = 0
        self._canary: Floats | None = None
        self._verified_at = float("-inf")
        self._verifying = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        *,
        model: str,
        query_prefix: str = "",
        passage_prefix: str = "",
        batch_size: int = 32,
        timeout_s: float = 60.0,
        counting: httpx.Client | None = None,
    ) -> ServerEmbedder:
        """Ask the server for the size of its vectors and its window.

        Args:
            counting: for the tokenizer, which is asked from threads; closed by ``close``.

        Raises:
            ModelNotServed: the server has other models only.
            DependencyError: it cannot be reached, or cannot embed or count tokens.
            NotReady: its model is still loading.
        """
        service = ModelService(endpoint, model=model, names=SETTINGS, timeout_s=timeout_s)
        embedder = cls(
            service,
            counting or httpx.Client(timeout=timeout_s),
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            batch_size=batch_size,
        )
        try:
            await embedder._learn()
        except BaseException:
            embedder.close()
            raise
        return embedder

    async def _learn(self) -> None:
        listed = await self._service.listed()
        first = await self._canary_vector()
        self._canary = unit(first, len(first), self._service.endpoint.name)
        self._verified_at = asyncio.get_running_loop().time()
        self._max_tokens = await self._window(listed)
        await asyncio.to_thread(self.count_tokens, _CANARY)

    async def _window(self, listed: ModelList) -> int:
        """What vLLM says; llama.cpp reads an input in one batch and does not say how large that
        is, but names it when it refuses an input over the context."""
        for served in listed.data:
            if self._service.model in (served.id, *served.aliases) and served.max_model_len:
                return served.max_model_len
        context = (await self._service.get("/props", _Props)).default_generation_settings.n_ctx
        try:
            await self._request(["a " * (context + 1)])
        except InputTooLong as refused:
            return min(context, refused.window_tokens or context)
        return context

    @property
    def fingerprint(self) -> str:
        prefixes = f"query={self._query_prefix!r}/passage={self._passage_prefix!r}"
        return f"{self._service.model}/{self.dimensions}/{prefixes}"

    @property
    def dimensions(self) -> int:
        return len(self._reference)

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def _reference(self) -> Floats:
        if self._canary is None:
            raise RuntimeError("the embedder was not opened")
        return self._canary

    def close(self) -> None:
        self._tokenizer.close()

    async def check(self) -> str:
        await self._verify(fresh=True)
        return (
            f"{self._service.model} at {self._service.endpoint.name}: {self.dimensions} "
            f"dimensions, {self._max_tokens} tokens"
        )

    def count_tokens(self, text: str) -> int:
        """With the passage prefix."""
        return self._tokenizer.count(self._passage_prefix + text)

    # --- embedding -------------------------------------------------------------------------------

    async def embed_query(self, text: str) -> Sequence[float]:
        await self._verify()
        return (await self._embed([text], self._query_prefix))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors: list[Sequence[float]] = []
        for first in range(0, len(texts), self._batch_size):
            await self._verify()
            batch = texts[first : first + self._batch_size]
            vectors += await self._embed(batch, self._passage_prefix)
        return vectors

    async def _embed(self, texts: Sequence[str], prefix: str) -> list[Sequence[float]]:
        cut = await asyncio.to_thread(self._cut, texts, prefix)
        flat = [window for pieces in cut for window in pieces]
        found: list[Floats] = []
        for first in range(0, len(flat), self._batch_size):
            found += await self._embed_windows(flat[first : first + self._batch_size], prefix)
        rows = iter(found)
        return [self._joined([(next(rows), piece.tokens) for piece in pieces]) for pieces in cut]

    def _cut(self, texts: Sequence[str], prefix: str) -> list[list[Window]]:
        return [
            windows(sendable(text), prefix, self._tokenizer.count, self._max_tokens)
            for text in texts
        ]

    def _joined(self, weighted: Sequence[tuple[Floats, float]]) -> Sequence[float]:
        vectors, weights = zip(*weighted, strict=True)
        joined = mean(vectors, weights, self._service.endpoint.name)
        values: list[float] = joined.tolist()
        return values

    async def _embed_windows(self, batch: Sequence[Window], prefix: str) -> list[Floats]:
        try:
            rows = await self._request([window.text for window in batch], batch)
        except InputTooLong as refused:
            return await self._embed_smaller(batch, prefix, refused)
        server = self._service.endpoint.name
        return [unit(row, self.dimensions, server) for row in rows]

    async def _embed_smaller(
        self, batch: Sequence[Window], prefix: str, refused: InputTooLong
    ) -> list[Floats]:
        """The server takes less than it said at the start, so it was started again with less."""
        server = self._service.endpoint.name
        if refused.window_tokens is None or refused.window_tokens >= self._max_tokens:
            raise DependencyRejected(
                f"{server} refused an input that should fit: {refused}", dependency=server
            ) from refused
        log.warning(
            "the embedding server takes shorter inputs than at the start",
            extra={"before": self._max_tokens, "now": refused.window_tokens},
        )
        self._max_tokens = refused.window_tokens
        texts = [window.text.removeprefix(prefix) for window in batch]
        vectors = await self._embed(texts, prefix)
        return [unit(vector, self.dimensions, server) for vector in vectors]

    async def _request(
        self, texts: Sequence[str], counted: Sequence[Window] = ()
    ) -> list[list[float]]:
        """Vectors as the server gives them, in the order of ``texts``."""
        body: dict[str, object] = {
            "input": [sendable(text) for text in texts],
            "encoding_format": "float",
        }
        answer = await self._service.post("/v1/embeddings", body, _Embeddings)
        server = self._service.endpoint.name
        rows = {item.index: item.embedding for item in answer.data}
        if len(answer.data) != len(texts) or set(rows) != set(range(len(texts))):
            raise DependencyError(
                f"{server} gave {len(answer.data)} vectors for {len(texts)} texts.",
                dependency=server,
            )
        sent, seen = sum(window.tokens for window in counted), answer.usage.prompt_tokens
        if 0 < seen < sent:
            raise PromptTruncated(
                dependency=server, sent_tokens=sent, seen_tokens=seen, setting=SETTINGS.model
            )
        return [rows[index] for index in range(len(texts))]

    async def _canary_vector(self) -> list[float]:
        try:
            return (await self._request([_CANARY]))[0]
        except InputTooLong as refused:
            server = self._service.endpoint.name
            raise DependencyRejected(
                f"{server} has no room for a sentence: {refused}", dependency=server
            ) from refused

    async def _verify(self, *, fresh: bool = False) -> None:
        """
        Raises:
            ModelNotServed, DependencyError: another model answers than at the start.
        """
        async with self._verifying:
            now = asyncio.get_running_loop().time()
            if not fresh and now < self._verified_at + self.verify_every_s:
                return
            server = self._service.endpoint.name
            await self._service.listed()
            row = await self._canary_vector()
            cosine = float(unit(row, self.dimensions, server) @ self._reference)
            if cosine < _SAME_MODEL_COSINE:
                raise DependencyError(
                    f"{server} gives other vectors than when this backend started (cosine "
                    f"{cosine:.2f}): another model answers for {self._service.model!r}. Put the "
                    f"model back, or set {SETTINGS.model} and index again.",
                    dependency=server,
                )
            self._verified_at = now

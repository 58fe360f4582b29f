"""Scores from a server with ``/v1/rerank``: vLLM, llama.cpp and others of that shape."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, FiniteFloat

from backend.adapters._http import Endpoint
from backend.adapters._model_services import InputTooLong, ModelService, SettingNames
from backend.adapters._texts import halves, sendable
from backend.core.errors import DependencyError, InvalidRequest

SETTINGS = SettingNames("RERANK_URL", "RERANK_MODEL", "RERANK_API_KEY", "RERANK_TIMEOUT")


class _Result(BaseModel):
    index: int
    relevance_score: FiniteFloat


class _Results(BaseModel):
    results: list[_Result]


class HttpReranker:
    """Implements ``Reranker``. The servers refuse a question and text over their window; such a
    text is scored in halves, again and again, until its pieces fit."""

    def __init__(
        self, endpoint: Endpoint, *, model: str, batch_size: int = 32, timeout_s: float = 30.0
    ) -> None:
        self._service = ModelService(endpoint, model=model, names=SETTINGS, timeout_s=timeout_s)
        self._batch_size = batch_size

    @property
    def model(self) -> str:
        return self._service.model

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """
        Raises:
            InvalidRequest: the query alone fills the model's window.
            NotReady: the model is still loading.
            DependencyError: the server failed, timed out or refused.
        """
        query, texts = sendable(query), [sendable(text) for text in texts]
        found: list[float] = []
        for first in range(0, len(texts), self._batch_size):
            found += await self._fitted(query, texts[first : first + self._batch_size])
        return found

    async def check(self) -> str:
        await self._service.listed()
        await self.scores("health", ["health"])
        return f"{self._service.model} at {self._service.endpoint.name}"

    async def _fitted(self, query: str, texts: Sequence[str]) -> list[float]:
        try:
            return await self._ask(query, texts)
        except InputTooLong as refused:
            if len(texts) == 1:
                return [await self._best_of_halves(query, texts[0], refused)]
        middle = len(texts) // 2
        return [
            *await self._fitted(query, texts[:middle]),
            *await self._fitted(query, texts[middle:]),
        ]

    async def _best_of_halves(self, query: str, text: str, refused: InputTooLong) -> float:
        parts = halves(text)
        if parts is None:
            raise InvalidRequest(
                f"The question is too long for the reranking model {self.model!r}. The server "
                f"says: {refused}"
            ) from refused
        return max([(await self._fitted(query, [part]))[0] for part in parts])

    async def _ask(self, query: str, texts: Sequence[str]) -> list[float]:
        body: dict[str, object] = {"query": query, "documents": list(texts)}
        answer = await self._service.post("/v1/rerank", body, _Results)
        scores = {result.index: result.relevance_score for result in answer.results}
        if len(answer.results) != len(texts) or set(scores) != set(range(len(texts))):
            server = self._service.endpoint.name
            raise DependencyError(
                f"{server} gave scores for the texts {sorted(r.index for r in answer.results)}, "
                f"but was sent {len(texts)}.",
                dependency=server,
            )
        return [scores[index] for index in range(len(texts))]

"""Rerankers and model libraries without a model."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np

from backend.adapters._http import Endpoint, fixed

WINDOW = 12  # of the scripted servers and libraries, in words

OVERFLOW = (
    "This model's maximum context length is {window} tokens. However, your prompt contains at "
    "least {needed} input tokens, which exceeds this limit even without any output tokens. Please "
    "reduce the length of the input prompt. (parameter=input_tokens, value={needed})"
)


def overlap(query: str, text: str) -> float:
    """Share of the query's words that the text has."""
    words = set(query.casefold().split())
    return len(words & set(text.casefold().split())) / max(1, len(words))


class OverlapReranker:
    """Scores by shared words."""

    model = "overlap"

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self._failure = failure

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        if self._failure is not None:
            raise self._failure
        self.asked.append((query, tuple(texts)))
        return [overlap(query, text) for text in texts]

    async def check(self) -> str:
        return "overlap"


def wire(
    handler: Callable[[httpx.Request], httpx.Response], name: str = "vllm"
) -> tuple[Endpoint, httpx.Client]:
    """An endpoint on scripted answers, and a client for what is asked from threads."""
    transport = httpx.MockTransport(handler)
    client = httpx.AsyncClient(transport=transport)
    return (
        Endpoint(client, name, fixed("http://models:8001/v1"), "secret"),
        httpx.Client(transport=transport),
    )


def refusal(status: int, message: str, kind: str = "BadRequestError") -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"message": message, "type": kind, "param": None, "code": status}}
    )


class VllmPooling:
    """Answers as vLLM with ``--runner pooling`` does; a token is a word, two are special."""

    def __init__(self, *, model: str = "m", dimensions: int = 8, window: int = WINDOW) -> None:
        self.model = model
        self.dimensions = dimensions
        self.window = window
        self.twist = 0.0  # another model's vectors
        self.cuts = False
        self.sent: list[list[str]] = []
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if request.url.path == "/v1/models":
            served = {"id": self.model, "owned_by": "vllm", "max_model_len": self.window}
            return httpx.Response(200, json={"object": "list", "data": [served]})
        body = json.loads(request.content)
        if body["model"] != self.model:
            said = f"The model `{body['model']}` does not exist."
            return refusal(404, said, "NotFoundError")
        if request.url.path == "/tokenize":
            tokens = [1] * self.count(body["prompt"])
            shown = {"count": len(tokens), "max_model_len": self.window, "tokens": tokens}
            return httpx.Response(200, json=shown | {"token_strs": None})
        if request.url.path == "/v1/rerank":
            return self._rerank(body["query"], body["documents"])
        return self._embed(body["input"])

    @staticmethod
    def count(text: str) -> int:
        return 2 + len(re.findall(r"\w+", text))

    def _too_long(self, needed: int) -> httpx.Response | None:
        if needed <= self.window or self.cuts:
            return None
        return refusal(400, OVERFLOW.format(window=self.window, needed=self.window + 1))

    def _embed(self, texts: list[str]) -> httpx.Response:
        if refused := self._too_long(max(map(self.count, texts))):
            return refused
        self.sent.append(texts)
        data = [
            {"index": i, "object": "embedding", "embedding": self.vector(text)}
            for i, text in enumerate(texts)
        ]
        tokens = sum(min(self.window, self.count(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return httpx.Response(200, json={"data": data[::-1], "usage": usage, "model": self.model})

    def vector(self, text: str) -> list[float]:
        counts = np.full(self.dimensions, 0.01)
        for word in re.findall(r"\w+", text):
            counts[zlib.crc32(word.casefold()[:5].encode()) % self.dimensions] += 1.0
        counts[0] += self.twist
        values: list[float] = (3 * counts).tolist()
        return values

    def _rerank(self, query: str, documents: list[str]) -> httpx.Response:
        if refused := self._too_long(max(self.count(f"{query} {text}") for text in documents)):
            return refused
        self.sent.append(documents)
        results = [
            {
                "index": i,
                "document": {"text": text, "multi_modal": None},
                "relevance_score": overlap(query, text),
            }
            for i, text in enumerate(documents)
        ]
        results.sort(key=lambda result: -float(str(result["relevance_score"])))
        return httpx.Response(200, json={"id": "score-1", "model": "m", "results": results})


class FakeLibrary:
    """Stands in for the package ``sentence_transformers``: its two classes over word counts."""

    def __init__(self, window: int = WINDOW, dimensions: int = 8) -> None:
        self.loaded: list[tuple[str, dict[str, object]]] = []
        self.encoded: list[list[str]] = []
        self.longest = 0
        self._window = window
        self._vectors = VllmPooling(dimensions=dimensions)

    def __call__(self, name: str) -> SimpleNamespace:
        """As ``importlib.import_module``."""
        assert name == "sentence_transformers"
        return SimpleNamespace(SentenceTransformer=self._load, CrossEncoder=self._load)

    def _load(self, model: str, **options: object) -> SimpleNamespace:
        self.loaded.append((model, options))
        return SimpleNamespace(
            max_seq_length=self._window,
            max_length=self._window,
            tokenizer=self._tokenize,
            encode=self._encode,
            predict=self._predict,
        )

    def _tokenize(self, *texts: str, truncation: bool, verbose: bool) -> dict[str, list[int]]:
        assert not truncation
        return {"input_ids": [1] * VllmPooling.count(" ".join(texts))}

    def _encode(self, texts: list[str], **_: object) -> Any:
        self.encoded.append(texts)
        self.longest = max(self.longest, *map(VllmPooling.count, texts))
        return np.array([self._vectors.vector(text) for text in texts])

    def _predict(self, pairs: list[tuple[str, str]], **_: object) -> Any:
        self.longest = max(self.longest, *(VllmPooling.count(" ".join(pair)) for pair in pairs))
        return np.array([overlap(query, text) for query, text in pairs])

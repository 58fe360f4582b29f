"""Whether each part really does its work: a token, a vector, a write and a read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from backend.core.errors import DependencyError
from backend.core.ports import (
    DocumentStore,
    Embedder,
    Generator,
    Reranker,
    SparseEncoder,
    VectorStore,
)
from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    Message,
    Sampling,
)
from backend.services.health import Check, Health, HealthChecker

CANARY_SPACE = "quadrate-canary"
_CANARY_TEXT = "canary"


@dataclass(frozen=True, slots=True)
class DeepHealth:
    """``age_s`` is how long ago the parts were tried."""

    health: Health
    age_s: float


class DeepHealthChecker:
    """Tries the parts at most once in ``fresh_s`` seconds, however many ask: a monitor must not
    become the model's main user. What was not well is tried again after ``retry_s``. Callers that
    come together share one trial."""

    def __init__(
        self,
        probes: Mapping[str, Check],
        *,
        timeout_s: float,
        fresh_s: float = 30.0,
        retry_s: float = 2.0,
    ) -> None:
        self._checker = HealthChecker(probes, warnings=(), timeout_s=timeout_s)
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._lock = asyncio.Lock()
        self._last: tuple[float, Health] | None = None

    async def check(self) -> DeepHealth:
        async with self._lock:
            if self._last is None or self._is_old(*self._last):
                self._last = (time.monotonic(), await self._checker.check())
            tried_at, health = self._last
            return DeepHealth(health, round(time.monotonic() - tried_at, 3))

    def _is_old(self, tried_at: float, health: Health) -> bool:
        kept_s = self._fresh_s if health.state == "ok" else self._retry_s
        return time.monotonic() - tried_at > kept_s


def one_token(generator: Generator) -> Check:
    """``generator`` is the one for background work: it waits behind every question."""

    async def probe() -> str:
        completion = await generator.complete(
            [Message("user", "Say yes.")], Sampling(max_tokens=1, reasoning="off")
        )
        return f"{generator.model} generated {completion.usage.completion_tokens} token."

    return probe


def one_embedding(embedder: Embedder) -> Check:
    async def probe() -> str:
        vector = await embedder.embed_query(_CANARY_TEXT)
        return f"{embedder.fingerprint}: a vector of {len(vector)} dimensions."

    return probe


def one_score(reranker: Reranker) -> Check:
    async def probe() -> str:
        await reranker.scores(_CANARY_TEXT, [_CANARY_TEXT])
        return f"{reranker.model} scored one text."

    return probe


def one_write_and_read(
    documents: DocumentStore, vectors: VectorStore, embedder: Embedder, sparse: SparseEncoder
) -> Check:
    """A canary that is staged, read back and removed; it is never committed, so no search and no
    list of documents ever shows it."""

    async def probe() -> str:
        dense = await embedder.embed_query(_CANARY_TEXT)
        identity = uuid4().hex
        version = DocumentVersion(identity, identity, 0, DocType.UNSTRUCTURED, "given")
        record = DocumentRecord(identity, CANARY_SPACE, _CANARY_TEXT, pending=version)
        chunk = Chunk(0, _CANARY_TEXT, 0, len(_CANARY_TEXT), 1)
        point = EmbeddedChunk(chunk, dense, sparse.document(_CANARY_TEXT))
        try:
            await vectors.stage(record, version, [point])
            found = await vectors.staged(identity, identity)
        finally:
            await vectors.remove(identity)
        if found != {0}:
            raise DependencyError("The store lost what was written to it.", dependency="store")
        await documents.get(identity)
        return "one point written, read back and removed."

    return probe

"""One summary from its key to the store: what all who ask for it share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from backend.core.errors import Conflict, DependencyError, NotFound
from backend.core.ports import DocumentStore, SummaryStore, VectorStore
from backend.core.summaries import (
    FinishedPart,
    Summary,
    SummaryEvent,
    SummaryKey,
    SummaryRecord,
)
from backend.core.types import StoredChunk
from backend.services.summarize.shared import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SummaryTask:
    """``background`` is asked before each call of the model: work that nobody waits for comes
    after the questions. ``finished`` are calls that an earlier try has made, ``keep`` is told of
    every new one."""

    key: SummaryKey
    source: str
    chunks: Sequence[StoredChunk]
    background: Callable[[], bool]
    finished: Sequence[FinishedPart] = ()
    keep: Callable[[FinishedPart], Awaitable[None]] | None = None


class Engine(Protocol):
    """Makes summaries."""

    @property
    def model(self) -> str: ...

    def prompt_version(self, *, structured: bool) -> str:
        """Changes with every text that is put to the model."""
        ...

    def run(self, task: SummaryTask) -> AsyncGenerator[SummaryEvent, None]:
        """Closing the iterator stops every call of the model."""
        ...


class SummaryWork:
    def __init__(
        self,
        *,
        documents: DocumentStore,
        vectors: VectorStore,
        store: SummaryStore,
        engine: Engine,
    ) -> None:
        self._documents = documents
        self._vectors = vectors
        self._store = store
        self._engine = engine

    def of(self, key: SummaryKey) -> Callable[[Run[SummaryEvent]], AsyncGenerator[SummaryEvent]]:
        return lambda run: self._do(key, run)

    async def _do(
        self, key: SummaryKey, run: Run[SummaryEvent]
    ) -> AsyncGenerator[SummaryEvent, None]:
        """
        Raises:
            NotFound: the document is gone.
            Conflict: the document, the model or a prompt is not what it was.
            DependencyError: the store or the model failed.
        """
        prompts = self._engine.prompt_version(structured=key.structured)
        if (key.model, key.prompt_version) != (self._engine.model, prompts):
            raise Conflict("The summary was asked of another model or prompt; ask again.")
        source = await self._source(key)
        chunks = await self._vectors.chunks(key.doc_id)
        task = SummaryTask(
            key,
            source,
            chunks,
            background=lambda: not run.wanted_now,
            finished=await self._store.parts(key.id),
            keep=lambda part: self._store.put_part(key, part),
        )
        async with aclosing(self._engine.run(task)) as events:
            async for event in events:
                if isinstance(event, Summary):
                    await self._still_the_same(key)
                    yield await self._kept(event)
                else:
                    yield event

    async def _still_the_same(self, key: SummaryKey) -> None:
        try:
            await self._source(key)
        except (NotFound, Conflict):
            await self._store.drop_parts(key.id)
            raise

    async def _source(self, key: SummaryKey) -> str:
        record = await self._documents.get(key.doc_id)
        if record is None or record.live is None:
            raise NotFound(f"There is no document {key.doc_id} any more.")
        if record.live.content_sha256 != key.content_sha256:
            raise Conflict(f"{record.source} was changed while it was summarized; ask again.")
        return record.source

    async def _kept(self, summary: Summary) -> Summary:
        """Shielded: the model's work is done, and a client that leaves now must not lose it."""
        try:
            await asyncio.shield(self._keep(summary))
        except DependencyError as error:
            log.warning("a summary could not be kept", extra={"reason": str(error)})
            why = f"The summary could not be stored: {error}"
            return replace(summary, warnings=(*summary.warnings, why))
        return summary

    async def _keep(self, summary: Summary) -> None:
        key = summary.key
        now = datetime.now(UTC)
        await self._store.put(SummaryRecord(key, summary.source, "ready", now, summary))
        await self._store.drop_parts(key.id)
        stale = [
            record.key.id
            for record in await self._store.of_document(key.doc_id)
            if record.key.content_sha256 != key.content_sha256
        ]
        if stale:
            await self._store.remove(stale)

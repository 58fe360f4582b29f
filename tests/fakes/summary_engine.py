"""An engine that summarizes when the test says so, and a shelf of documents for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime

from backend.core.errors import RagError
from backend.core.summaries import (
    FinishedPart,
    Summary,
    SummaryEvent,
    SummaryProgress,
    SummaryStarted,
)
from backend.core.types import DocumentRecord, StoredChunk, TokenUsage
from backend.services.summarize.work import SummaryTask
from tests.factories import record, stored, version


class SteppedEngine:
    """Each summary takes one ``step``; ``failures`` are raised first, in turn."""

    def __init__(self, *failures: RagError, waits: bool = False) -> None:
        self.model = "scripted"
        self.prompts = "p1"
        self.failures = list(failures)
        self.tasks: list[SummaryTask] = []
        self.in_background: list[bool] = []
        self.running = 0
        self._free = asyncio.Event()
        if not waits:
            self._free.set()

    def go(self) -> None:
        self._free.set()

    def prompt_version(self, *, structured: bool) -> str:
        return f"{self.prompts}-structured" if structured else self.prompts

    async def run(self, task: SummaryTask) -> AsyncGenerator[SummaryEvent, None]:
        self.tasks.append(task)
        self.running += 1
        try:
            yield SummaryStarted(task.key, task.source, "ru")
            if task.keep is not None:
                part = FinishedPart(task.key.id, "map", 0, 0, "sha", "part", TokenUsage(1, 1))
                await task.keep(part)
            yield SummaryProgress("map", 0, 1, 1, None)
            await self._free.wait()
            self.in_background.append(task.background())
            if self.failures:
                raise self.failures.pop(0)
            yield Summary(
                text=f"summary {len(self.tasks)}",
                key=task.key,
                source=task.source,
                strategy="single",
                parts=1,
                levels=0,
                chunks_processed=len(task.chunks),
                tokens=TokenUsage(10, 5),
                seconds=0.1,
                generated_at=datetime(2026, 11, 21, tzinfo=UTC),
            )
        finally:
            self.running -= 1


class Shelf:
    """Documents and their chunks, by id: what the summaries need of the two stores."""

    def __init__(self, *doc_ids: str) -> None:
        self.documents = {doc_id: live(doc_id) for doc_id in doc_ids}

    async def get(self, doc_id: str) -> DocumentRecord | None:
        return self.documents.get(doc_id)

    async def records(self, space_id: str | None = None) -> list[DocumentRecord]:
        return [found for found in self.documents.values() if space_id in (None, found.space_id)]

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        return [stored("Срок сдачи 15 января.", doc_id=doc_id)]

    def change(self, doc_id: str, name: str) -> None:
        self.documents[doc_id] = live(doc_id, name)


def live(doc_id: str, name: str = "v1") -> DocumentRecord:
    return replace(record(doc_id), live=version(name), pending=None)

"""Summaries of documents: made when asked for, or beforehand, and kept as long as they are true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

from backend.core.errors import ConfigurationError, NotFound, NotReady
from backend.core.language import AnswerLanguage, Language, question_language
from backend.core.ports import DocumentStore, SummaryStore, VectorStore
from backend.core.summaries import (
    Summary,
    SummaryEvent,
    SummaryKey,
    SummaryProgress,
    SummaryRecord,
    SummaryRequest,
    SummaryStarted,
)
from backend.core.types import DocumentRecord
from backend.services.documents import join_chunks
from backend.services.summarize.shared import Numbered, SharedRuns
from backend.services.summarize.views import BulkAnswer, DocumentSummary, SummaryStats
from backend.services.summarize.work import Engine, SummaryWork

log = logging.getLogger(__name__)

# How long an event stream that broke off can be taken up again after its summary is done.
_RESUMABLE_S = 600.0

_LANGUAGES: tuple[Language, ...] = get_args(Language)


class Summaries:
    """``engine`` is None where there is no chat model; ``why_not`` says what to do then.
    ``usual_tokens`` is the length of a summary where the request does not say."""

    def __init__(
        self,
        *,
        documents: DocumentStore,
        vectors: VectorStore,
        store: SummaryStore,
        engine: Engine | None,
        usual_tokens: Callable[[], Awaitable[int]],
        why_not: str = "",
    ) -> None:
        self._documents = documents
        self._vectors = vectors
        self._store = store
        self._engine = engine
        self._why_not = why_not
        self._usual_tokens = usual_tokens
        self._runs: SharedRuns[SummaryEvent] = SharedRuns(keep_s=_RESUMABLE_S)
        self._progress: dict[str, SummaryProgress] = {}
        self.new_work = asyncio.Event()

    async def stream(
        self, request: SummaryRequest, *, after: tuple[str, int] | None = None
    ) -> AsyncGenerator[Numbered[SummaryEvent], None]:
        """What happens on the way, then exactly one ``Summary``. All who ask for the same share
        one piece of work, which stops with the last of them.

        Raises:
            NotFound: no such document in the space.
            NotReady: it is still being indexed.
            ConfigurationError: there is no chat model.
            DependencyError: the model or the store failed.
        """
        record, key = await self._resolve(request)
        kept = await self._store.get(key.id)
        resumed = after is not None and self._runs.known(key.id, after[0])
        if kept is not None and kept.summary is not None and not resumed:
            started = SummaryStarted(key, record.source, _language_of(record))
            yield Numbered(key.id, 1, started)
            yield Numbered(key.id, 2, replace(kept.summary, cached=True, timings={}))
            return
        async with aclosing(self._follow(key, now=True, after=after)) as events:
            async for numbered in events:
                yield numbered

    async def summarize(self, request: SummaryRequest) -> Summary:
        """The last event of the same stream, so that the two can never disagree."""
        return await _last(self.stream(request))

    # --- beforehand --------------------------------------------------------------------------

    async def want(self, request: SummaryRequest, *, again: bool = False) -> SummaryRecord:
        """Write down that the summary is to be made; ``again``: also if there is one already,
        which stays until the new one is there."""
        record, key = await self._resolve(request)
        kept = await self._store.get(key.id)
        if kept is not None and (kept.state == "pending" or (kept.state == "ready" and not again)):
            return kept
        old = kept.summary if kept else None
        if old is not None:
            await self._store.drop_parts(key.id)  # of the old one, if a crash has left them
        wanted = SummaryRecord(key, record.source, "pending", datetime.now(UTC), old)
        await self._store.put(wanted)
        self.new_work.set()
        return wanted

    async def want_all(
        self, space_id: str, doc_ids: Sequence[str] | None, *, again: bool = False
    ) -> BulkAnswer:
        """``doc_ids`` None: every document of the space."""
        known = {record.doc_id: record for record in await self._documents.records(space_id)}
        chosen = list(dict.fromkeys(doc_ids)) if doc_ids is not None else list(known)
        pending: list[str] = []
        ready: list[str] = []
        missing: list[str] = []
        for doc_id in chosen:
            if doc_id not in known or known[doc_id].live is None:
                missing.append(doc_id)
                continue
            record = await self.want(SummaryRequest(doc_id, space_id), again=again)
            (ready if record.state == "ready" else pending).append(doc_id)
        return BulkAnswer(tuple(pending), tuple(ready), tuple(missing))

    async def make_pending(self, record: SummaryRecord) -> None:
        """Do what ``want`` has written down, in quiet times.

        Raises:
            RagError: it could not be done; the record is as it was.
        """
        await _last(self._follow(record.key, now=False))

    async def renewed(self, record: SummaryRecord) -> bool:
        """A wish for a document that was changed since is a wish for what it is now. Returns
        whether there is still such a document."""
        document = await self._documents.get(record.key.doc_id)
        await self._store.remove([record.key.id])
        if document is None or document.live is None:
            return False
        same = SummaryRequest(
            record.key.doc_id,
            record.key.space_id,
            record.key.focus,
            structured=record.key.structured,
        )
        await self.want(same)
        return True

    async def sweep(self) -> None:
        """Drop the finished parts that nobody will ask for: of summaries that are ready (a process
        died between keeping the one and dropping the others), of documents that are gone or were
        changed."""
        for key in await self._store.begun():
            kept = await self._store.get(key.id)
            document = await self._documents.get(key.doc_id)
            content = document.live.content_sha256 if document and document.live else None
            if content != key.content_sha256 or (kept is not None and kept.state == "ready"):
                await self._store.drop_parts(key.id)

    def check_possible(self) -> None:
        """
        Raises:
            ConfigurationError: there is no chat model.
        """
        self._chosen()

    # --- what there is -----------------------------------------------------------------------

    async def status(self, doc_id: str) -> DocumentSummary:
        """
        Raises:
            NotFound: no such document.
        """
        document = await self._documents.get(doc_id)
        if document is None:
            raise NotFound(f"There is no document {doc_id}.")
        records = await self._store.of_document(doc_id)
        content = document.live.content_sha256 if document.live else None
        current = [record for record in records if record.key.content_sha256 == content]
        for record in current:
            if self._runs.active(record.key.id):
                progress = self._progress.get(record.key.id)
                return DocumentSummary(document, "running", record, progress)
        if current:
            return DocumentSummary(document, current[0].state, current[0])
        if records:
            return DocumentSummary(document, "stale", records[0])
        return DocumentSummary(document, "none", None)

    async def pending_documents(self) -> frozenset[str]:
        return frozenset(record.key.doc_id for record in await self._store.pending())

    async def delete(self, doc_id: str) -> int:
        """Every summary of the document, whatever version, language and focus; how many."""
        if await self._documents.get(doc_id) is None:
            raise NotFound(f"There is no document {doc_id}.")
        records = await self._store.of_document(doc_id)
        await self._store.remove([record.key.id for record in records])
        return sum(record.summary is not None for record in records)

    async def stats(self, space_id: str | None) -> SummaryStats:
        counts = dict(await self._store.counts(space_id))
        documents = len(await self._documents.records(space_id))
        return SummaryStats(documents, counts, self._runs.count)

    async def close(self) -> None:
        await self._runs.close()

    # --- inside ------------------------------------------------------------------------------

    async def _follow(
        self, key: SummaryKey, *, now: bool, after: tuple[str, int] | None = None
    ) -> AsyncGenerator[Numbered[SummaryEvent], None]:
        work = SummaryWork(
            documents=self._documents,
            vectors=self._vectors,
            store=self._store,
            engine=self._chosen(),
        ).of(key)
        try:
            async with aclosing(self._runs.follow(key.id, work, now=now, after=after)) as events:
                async for numbered in events:
                    if isinstance(numbered.event, SummaryProgress):
                        self._progress[key.id] = numbered.event
                    yield numbered
        finally:
            if not self._runs.active(key.id):
                self._progress.pop(key.id, None)

    def _chosen(self) -> Engine:
        if self._engine is None:
            raise ConfigurationError(f"A summary needs a chat model. {self._why_not}")
        return self._engine

    async def _resolve(self, request: SummaryRequest) -> tuple[DocumentRecord, SummaryKey]:
        engine = self._chosen()
        record = await self._documents.get(request.doc_id)
        if record is None or record.space_id != request.space_id:
            raise NotFound(f"There is no document {request.doc_id} in space {request.space_id}.")
        if record.live is None:
            raise NotReady(f"{record.source} is still being indexed.", retry_after_s=2)
        key = SummaryKey(
            doc_id=record.doc_id,
            space_id=record.space_id,
            content_sha256=record.live.content_sha256,
            model=engine.model,
            prompt_version=engine.prompt_version(structured=request.structured),
            language=request.language or await self._language(record),
            focus=" ".join(request.focus.split()),
            max_tokens=request.max_tokens or await self._usual_tokens(),
            structured=request.structured,
        )
        return record, key

    async def _language(self, record: DocumentRecord) -> AnswerLanguage:
        """Of a mixed document the language that carries its sentences."""
        found = _language_of(record)
        if found in ("ru", "en"):
            return "ru" if found == "ru" else "en"
        text = join_chunks(await self._vectors.chunks(record.doc_id))
        return await asyncio.to_thread(question_language, text)


def _language_of(record: DocumentRecord) -> Language:
    found = record.live.language if record.live else ""
    return next((name for name in _LANGUAGES if name == found), "unknown")


async def _last(events: AsyncGenerator[Numbered[SummaryEvent], None]) -> Summary:
    last: SummaryEvent | None = None
    async with aclosing(events):
        async for numbered in events:
            last = numbered.event
    if not isinstance(last, Summary):
        raise RuntimeError("the stream of a summary ended without one")
    return last

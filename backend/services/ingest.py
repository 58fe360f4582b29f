"""Put a file into a space: parse, chunk, embed, make searchable."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from backend.core.doc_types import decide_doc_type
from backend.core.errors import Conflict, DependencyError, RagError
from backend.core.identity import clean_source, clean_space_id, document_id
from backend.core.ports import DocumentStore, OriginalStore, Parser
from backend.core.types import (
    Chunk,
    DocType,
    DocTypeOrigin,
    DocumentRecord,
    DocumentVersion,
    ParsedDocument,
)
from backend.services.indexing import Indexer

log = logging.getLogger(__name__)

RETRY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file in a temporary place, which belongs to the ingestor from now on."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class IngestResult:
    record: DocumentRecord
    version: DocumentVersion
    unchanged: bool
    replaced: bool
    seconds: float


class Ingestor:
    def __init__(
        self,
        *,
        documents: DocumentStore,
        originals: OriginalStore,
        parser: Parser,
        indexer: Indexer,
    ) -> None:
        self._documents = documents
        self._originals = originals
        self._parser = parser
        self._indexer = indexer
        self._running: set[asyncio.Task[IngestResult]] = set()

    async def ingest(
        self, upload: Upload, *, space_id: str, source: str, doc_type: DocType | None
    ) -> IngestResult:
        """Index a file. Once begun it is finished even if the caller leaves: what was handed
        over is not lost.

        Raises:
            InvalidRequest: the file or a name cannot be taken as it is; nothing was stored.
            DependencyError: the store or the embedder failed; nothing new was stored.
        """
        work = asyncio.create_task(self._ingest(upload, space_id, source, doc_type))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        return await asyncio.shield(work)

    async def close(self) -> None:
        """Stop what is running; the next start picks it up."""
        for work in self._running:
            work.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ingest(
        self, upload: Upload, space_id: str, source: str, doc_type: DocType | None
    ) -> IngestResult:
        started = time.perf_counter()
        try:
            space_id, source = clean_space_id(space_id), clean_source(source)
            doc_id = document_id(space_id, source)
            async with self._indexer.lock(doc_id):
                found = await self._documents.get(doc_id)
                before = found or DocumentRecord(doc_id, space_id, source)
                result = await self._put(before, upload, doc_type, started)
        finally:
            await asyncio.to_thread(upload.path.unlink, missing_ok=True)
        return result

    async def _put(
        self,
        before: DocumentRecord,
        upload: Upload,
        doc_type: DocType | None,
        started: float,
    ) -> IngestResult:
        if before.deleting:
            raise Conflict(f"{before.source} is being deleted; try again in a moment.")
        if before.live is not None and before.pending is None:
            same = self._version(upload, *_type_like(before.live, doc_type))
            if same.version == before.live.version:
                seconds = time.perf_counter() - started
                return IngestResult(before, before.live, True, False, seconds)
        parsed = await self._parser.parse(upload.path, before.source)
        chunks = await self._indexer.chunk(parsed)
        chosen = decide_doc_type(doc_type, before.source, parsed.text)
        version = await self._indexer.describe(self._version(upload, *chosen), parsed, chunks)
        record = replace(before, pending=version)
        await self._indexer.begin(record, upload.path)
        live = await self._finish_or_undo(record, chunks)
        seconds = time.perf_counter() - started
        return IngestResult(live, version, False, before.live is not None, seconds)

    async def _finish_or_undo(self, record: DocumentRecord, chunks: list[Chunk]) -> DocumentRecord:
        try:
            return await self._indexer.finish(record, chunks)
        except Exception:
            # If the store itself is down, undoing fails too; then the record stays pending and
            # the next start decides.
            with contextlib.suppress(DependencyError):
                await self._indexer.undo(record)
            raise

    def _version(self, upload: Upload, doc_type: DocType, origin: DocTypeOrigin) -> DocumentVersion:
        return DocumentVersion(
            version=self._indexer.version_id(upload.sha256, doc_type),
            content_sha256=upload.sha256,
            size_bytes=upload.size_bytes,
            doc_type=doc_type,
            doc_type_origin=origin,
            created_at=datetime.now(UTC),
        )

    # --- after a crash -----------------------------------------------------------------------

    async def resume(self) -> None:
        """Finish what an earlier process began; tries again while a dependency is down."""
        while True:
            try:
                for record in await self._documents.unfinished():
                    await self._resume(record.doc_id)
            except DependencyError as error:
                log.warning("unfinished documents wait", extra={"reason": str(error)})
                await asyncio.sleep(RETRY_AFTER_S)
            else:
                return

    async def _resume(self, doc_id: str) -> None:
        async with self._indexer.lock(doc_id):
            record = await self._documents.get(doc_id)
            if record is None:
                return
            if record.deleting:
                await self._indexer.delete(record)
            elif record.pending is not None:
                await self._resume_pending(record, record.pending)

    async def _resume_pending(self, record: DocumentRecord, version: DocumentVersion) -> None:
        log.info("resuming a document", extra={"doc_id": record.doc_id})
        try:
            parsed = await self._parse_original(record, version)
            chunks = await self._indexer.chunk(parsed)
            await self._indexer.finish(record, chunks)
        except DependencyError:
            raise
        except RagError as error:
            log.warning(
                "a document could not be resumed and was taken back",
                extra={"doc_id": record.doc_id, "reason": str(error)},
            )
            await self._indexer.undo(record)

    async def _parse_original(
        self, record: DocumentRecord, version: DocumentVersion
    ) -> ParsedDocument:
        path = self._originals.path(version.content_sha256)
        return await self._parser.parse(path, record.source)


def _type_like(live: DocumentVersion, given: DocType | None) -> tuple[DocType, DocTypeOrigin]:
    """The type the same content would get again, without parsing it."""
    return (given, "given") if given is not None else (live.doc_type, live.doc_type_origin)

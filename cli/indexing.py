"""A folder into a space of the backend; only what has changed is sent."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from backend.core.errors import InvalidRequest
from backend.core.identity import clean_source
from backend.core.types import DocType
from cli.client import Client
from cli.discovery import Found, FoundFile, find_files
from cli.failures import ClientError, Patience, Unreachable
from cli.schemas import Document

PAGE_SIZE = 500

Outcome = Literal["indexed", "replaced", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class IndexRequest:
    folder: Path
    space_id: str
    doc_type: DocType | None = None
    jobs: int = 2
    prune: bool = False


@dataclass(frozen=True, slots=True)
class FileResult:
    """``code`` and ``message`` say why a file failed."""

    source: str
    outcome: Outcome
    chunks: int = 0
    warnings: tuple[str, ...] = ()
    code: str = ""
    message: str = ""


@dataclass(slots=True)
class IndexRun:
    """What has been done so far; it stays readable when the run is interrupted.

    ``stopped`` says why the backend could not be worked with any further.
    """

    total: int = 0
    results: list[FileResult] = field(default_factory=list)
    skipped: Mapping[str, int] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)
    stopped: ClientError | None = None
    interrupted: bool = False

    def of(self, outcome: Outcome) -> list[FileResult]:
        return [result for result in self.results if result.outcome == outcome]

    @property
    def failed(self) -> list[FileResult]:
        return self.of("failed")

    @property
    def not_tried(self) -> int:
        return max(0, self.total - len(self.results))


class Reporter(Protocol):
    """What the person waiting is shown."""

    def planned(self, files: int, size_bytes: int) -> None: ...

    def started(self, file: FoundFile) -> None: ...

    def finished(self, file: FoundFile, result: FileResult) -> None: ...


async def index_folder(
    client: Client,
    request: IndexRequest,
    run: IndexRun,
    reporter: Reporter,
    patience: Patience,
) -> None:
    """Index everything under ``request.folder``, writing what becomes of it into ``run``.

    Raises:
        ClientError: the space cannot be listed; nothing was sent.
    """
    found = await asyncio.to_thread(find_files, request.folder)
    run.skipped = found.skipped
    run.results.extend(
        FileResult(place.source, "failed", code="unreadable", message=place.reason)
        for place in found.unreadable
    )
    run.total = len(found.files) + len(run.results)
    known = await _documents(client, request.space_id, patience)
    reporter.planned(len(found.files), sum(file.size_bytes for file in found.files))
    worker = _Worker(client, request, run, reporter, patience, known)
    files = iter(found.files)
    async with asyncio.TaskGroup() as group:
        for _ in range(request.jobs):
            group.create_task(worker.work(files))
    if request.prune and run.stopped is None:
        gone = [document for source, document in known.items() if source not in worker.taken]
        await _prune(client, request, run, found, gone)


async def _documents(client: Client, space_id: str, patience: Patience) -> dict[str, Document]:
    """Documents of the space by source."""
    documents: dict[str, Document] = {}
    offset = 0
    while True:
        next_page = partial(client.documents, space_id, limit=PAGE_SIZE, offset=offset)
        page = await patience.with_(next_page)
        documents |= {document.source: document for document in page.documents}
        offset += len(page.documents)
        if not page.documents or offset >= page.total:
            return documents


@dataclass(frozen=True, slots=True)
class _Worker:
    client: Client
    request: IndexRequest
    run: IndexRun
    reporter: Reporter
    patience: Patience
    known: Mapping[str, Document]
    taken: set[str] = field(default_factory=set)

    async def work(self, files: Iterator[FoundFile]) -> None:
        """Take files until there are none, or nobody answers any more."""
        for file in files:
            if self.run.stopped is not None:
                return
            self.reporter.started(file)
            result = await self._one(file)
            self.run.results.append(result)
            self.reporter.finished(file, result)

    async def _one(self, file: FoundFile) -> FileResult:
        try:
            source = self._source(file)
            if await self._is_there(file, source):
                return FileResult(source, "unchanged")
            return await self._send(file, source)
        except InvalidRequest as error:
            return _failed(file, error.code, str(error))
        except OSError as error:
            return _failed(file, "unreadable", error.strerror or str(error))
        except ClientError as error:
            if isinstance(error, Unreachable):
                self.run.stopped = error
            return _failed(file, error.code, str(error))

    def _source(self, file: FoundFile) -> str:
        """As the backend will spell it.

        Raises:
            InvalidRequest: it cannot be a source, or is the same as another file's.
        """
        try:
            source = clean_source(file.source)
            source.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("The name of the file is not valid UTF-8.") from error
        if source in self.taken:
            raise InvalidRequest(f"Another file of this folder has the same source, {source}.")
        self.taken.add(source)
        return source

    async def _is_there(self, file: FoundFile, source: str) -> bool:
        document = self.known.get(source)
        if document is None or document.state != "ready":
            return False
        if self.request.doc_type not in (None, document.doc_type):
            return False
        if document.size_bytes != file.size_bytes:
            return False
        return await asyncio.to_thread(_sha256, file.path) == document.content_sha256

    async def _send(self, file: FoundFile, source: str) -> FileResult:
        document = await self.patience.with_(
            lambda: self.client.ingest(
                file.path,
                space_id=self.request.space_id,
                source=source,
                doc_type=self.request.doc_type,
            )
        )
        outcome: Outcome = "indexed"
        if document.unchanged:
            outcome = "unchanged"
        elif document.replaced:
            outcome = "replaced"
        return FileResult(source, outcome, document.chunks_indexed, document.warnings)


async def _prune(
    client: Client,
    request: IndexRequest,
    run: IndexRun,
    found: Found,
    documents: Sequence[Document],
) -> None:
    """Delete the ``documents`` whose source is no longer in the folder.

    Not where that cannot be told: an unreadable folder hides what it holds, and an empty one is
    more often a disk that is not mounted than a wish to lose everything.
    """
    if found.unreadable or not found.files:
        why = (
            "a part of the folder could not be read"
            if found.unreadable
            else "the folder holds no documents"
        )
        message = f"Nothing was deleted, because {why}."
        run.results.append(FileResult("--prune", "failed", code="not_pruned", message=message))
        run.total += 1
        return
    for document in documents:
        source = document.source
        if await asyncio.to_thread(os.path.lexists, request.folder / source):  # skipped, but there
            continue
        try:
            await client.delete(document.doc_id)
        except ClientError as error:
            run.results.append(FileResult(source, "failed", code=error.code, message=str(error)))
            run.total += 1
        else:
            run.pruned.append(source)


def _failed(file: FoundFile, code: str, message: str) -> FileResult:
    return FileResult(file.source, "failed", code=code, message=message)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

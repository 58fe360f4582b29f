"""Documents as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from backend.api.schemas import Model
from backend.core.types import DocType, DocumentRecord, DocumentVersion
from backend.services.documents import DocumentView
from backend.services.ingest import IngestResult


class DocumentOut(Model):
    doc_id: str
    source: str
    space_id: str
    state: Literal["ready", "pending", "updating", "deleting"]
    doc_type: DocType
    doc_type_origin: Literal["given", "folder", "guessed"]
    format: str
    title: str | None
    pages: int | None
    language: str
    tokens: int = Field(description="embedded tokens, headings and overlaps of the chunks counted")
    chunks_indexed: int
    chunks_total: int
    size_bytes: int
    content_sha256: str
    warnings: tuple[str, ...]
    created_at: datetime | None
    summary_pending: bool = False

    @classmethod
    def of(cls, view: DocumentView, *, summary_pending: bool = False) -> DocumentOut:
        record = view.record
        shown = record.live or record.pending
        if shown is None:
            raise ValueError(f"record {record.doc_id} has no version")
        indexed = shown.chunks if record.live else (view.chunks_done or 0)
        return cls(
            doc_id=record.doc_id,
            source=record.source,
            space_id=record.space_id,
            state=_state(record),
            chunks_indexed=indexed,
            chunks_total=shown.chunks,
            summary_pending=summary_pending,
            **_facts(shown),
        )


def _facts(version: DocumentVersion) -> dict[str, object]:
    names = (
        "doc_type doc_type_origin format title pages language tokens size_bytes content_sha256 "
        "warnings created_at"
    )
    return {name: getattr(version, name) for name in names.split()}


def _state(record: DocumentRecord) -> Literal["ready", "pending", "updating", "deleting"]:
    if record.deleting:
        return "deleting"
    if record.pending is None:
        return "ready"
    return "updating" if record.live else "pending"


class IngestResponse(DocumentOut):
    unchanged: bool = Field(description="the same file was there already; nothing was done")
    replaced: bool = Field(description="an older version under this source was replaced")
    seconds: float

    @classmethod
    def of_result(cls, result: IngestResult, *, summary_pending: bool) -> IngestResponse:
        view = DocumentView(result.record)
        document = DocumentOut.of(view, summary_pending=summary_pending)
        return cls(
            **document.model_dump(),
            unchanged=result.unchanged,
            replaced=result.replaced,
            seconds=round(result.seconds, 4),
        )


class DocumentList(Model):
    space_id: str
    total: int
    documents: list[DocumentOut]


class Deleted(Model):
    doc_id: str
    source: str
    space_id: str
    deleted: Literal[True] = True

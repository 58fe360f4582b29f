"""GET and DELETE /documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from backend.api.deps import Injected
from backend.api.document_schemas import Deleted, DocumentList, DocumentOut
from backend.api.schemas import DEFAULT_SPACE
from backend.core.identity import clean_space_id
from backend.services.documents import DocumentView

router = APIRouter(tags=["documents"])


@router.get("/documents")
async def list_documents(
    services: Injected,
    space_id: str = DEFAULT_SPACE,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> DocumentList:
    space_id = clean_space_id(space_id)
    records = await services.documents.list(space_id)
    pending = await services.summaries.pending_documents()
    page = [
        DocumentOut.of(DocumentView(record), summary_pending=record.doc_id in pending)
        for record in records[offset : offset + limit]
    ]
    return DocumentList(space_id=space_id, total=len(records), documents=page)


@router.get("/documents/{doc_id}")
async def get_document(services: Injected, doc_id: str) -> DocumentOut:
    found = await services.documents.get(doc_id)
    pending = await services.summaries.pending_documents()
    return DocumentOut.of(found, summary_pending=doc_id in pending)


@router.get("/documents/{doc_id}/text", response_class=PlainTextResponse)
async def get_text(
    services: Injected,
    doc_id: str,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int | None, Query(ge=0)] = None,
) -> PlainTextResponse:
    """The text that `char_start` and `char_end` of citations count in, or a part of it."""
    text = await services.documents.text(doc_id)
    return PlainTextResponse(text[start:end])


@router.delete("/documents/{doc_id}")
async def delete_document(services: Injected, doc_id: str) -> Deleted:
    record = await services.documents.delete(doc_id)
    return Deleted(doc_id=record.doc_id, source=record.source, space_id=record.space_id)

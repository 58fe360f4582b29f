"""POST /ingest: a file into a space."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Form, UploadFile

from backend.api.deps import Injected
from backend.api.document_schemas import IngestResponse
from backend.api.schemas import DEFAULT_SPACE
from backend.api.validation import upload_too_large
from backend.core.doc_types import parse_doc_type
from backend.core.summaries import SummaryRequest
from backend.services.ingest import Upload

router = APIRouter(tags=["documents"])

_BLOCK_BYTES = 1024 * 1024


@router.post("/ingest")
async def ingest(
    services: Injected,
    file: UploadFile,
    space_id: Annotated[str, Form()] = DEFAULT_SPACE,
    doc_type: Annotated[str | None, Form(description="empty: by folder, else guessed")] = None,
    source: Annotated[
        str | None, Form(description="path within its folder; empty: the file's name")
    ] = None,
    generate_summary: Annotated[
        bool, Form(description="also summarize it, in quiet times; see summary-status")
    ] = False,
) -> IngestResponse:
    """Parse, chunk, embed and index a file. The same file again changes nothing; a changed file
    under the same `source` replaces the old version once the new one is whole."""
    if generate_summary:
        services.summaries.check_possible()
    kind = parse_doc_type(doc_type) if doc_type else None
    upload = await asyncio.to_thread(
        _receive, file.file, services.uploads, services.limits.upload_limit_bytes
    )
    result = await services.ingestor.ingest(
        upload, space_id=space_id, source=source or file.filename or "", doc_type=kind
    )
    pending = False
    if generate_summary:
        record = result.record
        wanted = await services.summaries.want(SummaryRequest(record.doc_id, record.space_id))
        pending = wanted.state == "pending"
    return IngestResponse.of_result(result, summary_pending=pending)


def _receive(file: BinaryIO, folder: Path, limit_bytes: int) -> Upload:
    """Copy to a place of ours, hashing on the way.

    Raises:
        TooLarge: over the limit; nothing is left behind.
    """
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(dir=folder, prefix="upload-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as copy:
            while block := file.read(_BLOCK_BYTES):
                size += len(block)
                if size > limit_bytes:
                    raise upload_too_large(limit_bytes)
                digest.update(block)
                copy.write(block)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Upload(path, digest.hexdigest(), size)

"""Valid objects with a few interesting fields, for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    SparseVector,
    StoredChunk,
)

DIMENSIONS = 4


def version(name: str = "v1", **changes: object) -> DocumentVersion:
    base = DocumentVersion(
        version=name,
        content_sha256=f"sha-of-{name}",
        size_bytes=10,
        doc_type=DocType.PROTOCOLS,
        doc_type_origin="folder",
        format="md",
        chunks=1,
        language="ru",
        tokens=12,
        warnings=("a warning",),
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def record(doc_id: str = "d1", space_id: str = "s", **changes: object) -> DocumentRecord:
    base = DocumentRecord(doc_id, space_id, f"folder/{doc_id}.md", pending=version())
    return replace(base, **changes)  # type: ignore[arg-type]


def chunk(index: int = 0, text: str = "Срок сдачи 15 января", **changes: object) -> Chunk:
    base = Chunk(index, text, 0, len(text), 5, page=1, heading_path=("План", "Сроки"))
    return replace(base, **changes)  # type: ignore[arg-type]


def embedded(
    index: int = 0, axis: int = 0, term: int = 1, text: str = "Срок сдачи 15 января"
) -> EmbeddedChunk:
    dense = [0.0] * DIMENSIONS
    dense[axis] = 1.0
    return EmbeddedChunk(chunk(index, text), dense, SparseVector((term,), (1.0,)))


def stored(text: str, index: int = 0, doc_id: str = "d1", start: int = 0) -> StoredChunk:
    piece = Chunk(index, text, start, start + len(text), max(1, len(text) // 4))
    return StoredChunk(doc_id, f"{doc_id}.md", DocType.UNSTRUCTURED, piece)

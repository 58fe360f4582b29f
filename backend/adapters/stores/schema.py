"""What a collection holds: settings, payloads, fingerprint; the same for Edge and server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

from backend.core.errors import ConfigurationError
from backend.core.identity import chunker_part, embedding_part
from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    Hit,
    StoredChunk,
)

Payload = dict[str, Any]

DENSE = "dense"
BM25 = "bm25"
KEYWORD_FIELDS = ("space_id", "doc_id", "version", "doc_type")
PAGE_POINTS = 1000  # read at once when all of something is asked for
RECORD_FIELDS = ("kind", "space_id", "state", "contents")


class ScoredPoint(Protocol):
    """What Edge and the server's client have in common."""

    @property
    def score(self) -> float: ...

    @property
    def payload(self) -> Any: ...

    @property
    def vector(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class HnswSettings:
    m: int = 16
    ef_construct: int = 128
    full_scan_threshold_kb: int = 10_000
    indexing_threads: int = 1


def point_id(*parts: object) -> str:
    """The same parts always give the same id, so that writing twice changes nothing."""
    return str(uuid5(NAMESPACE_URL, "\x1f".join(str(part) for part in parts)))


def chunk_payload(record: DocumentRecord, version: DocumentVersion, chunk: Chunk) -> Payload:
    """Without ``space_id``: a chunk is in no space, hence in no search, until it is committed."""
    return {
        "doc_id": record.doc_id,
        "version": version.version,
        "source": record.source,
        "doc_type": version.doc_type.value,
        "index": chunk.index,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "tokens": chunk.token_count,
        "page": chunk.page,
        "headings": list(chunk.heading_path),
    }


def stored_chunk(payload: Mapping[str, Any]) -> StoredChunk:
    return StoredChunk(
        payload["doc_id"],
        payload["source"],
        DocType(payload["doc_type"]),
        Chunk(
            payload["index"],
            payload["text"],
            payload["start"],
            payload["end"],
            payload["tokens"],
            payload["page"],
            tuple(payload["headings"]),
        ),
    )


def hits(points: Iterable[ScoredPoint]) -> tuple[Hit, ...]:
    """A result list without the entries that match nothing."""
    return tuple(
        Hit(
            stored_chunk(point.payload or {}),
            point.score,
            point.vector[DENSE] if point.vector else None,
        )
        for point in points
        if point.score > 0
    )


def record_payload(record: DocumentRecord) -> Payload:
    finished = record.pending is None and not record.deleting
    return {
        "kind": "document",
        "state": "ready" if finished else "unfinished",
        "doc_id": record.doc_id,
        "space_id": record.space_id,
        "source": record.source,
        "deleting": record.deleting,
        "contents": [
            version.content_sha256 for version in (record.live, record.pending) if version
        ],
        "live": _version_payload(record.live),
        "pending": _version_payload(record.pending),
    }


def stored_record(payload: Mapping[str, Any]) -> DocumentRecord:
    return DocumentRecord(
        payload["doc_id"],
        payload["space_id"],
        payload["source"],
        _version(payload.get("live")),
        _version(payload.get("pending")),
        payload["deleting"],
    )


def _version_payload(version: DocumentVersion | None) -> Payload | None:
    if version is None:
        return None
    return {
        "version": version.version,
        "content_sha256": version.content_sha256,
        "size_bytes": version.size_bytes,
        "doc_type": version.doc_type.value,
        "doc_type_origin": version.doc_type_origin,
        "format": version.format,
        "chunks": version.chunks,
        "pages": version.pages,
        "language": version.language,
        "tokens": version.tokens,
        "title": version.title,
        "warnings": list(version.warnings),
        "created_at": version.created_at and version.created_at.isoformat(),
    }


def _version(payload: Mapping[str, Any] | None) -> DocumentVersion | None:
    if payload is None:
        return None
    created = payload["created_at"]
    return DocumentVersion(
        version=payload["version"],
        content_sha256=payload["content_sha256"],
        size_bytes=payload["size_bytes"],
        doc_type=DocType(payload["doc_type"]),
        doc_type_origin=payload["doc_type_origin"],
        format=payload["format"],
        chunks=payload["chunks"],
        pages=payload["pages"],
        language=payload["language"],
        tokens=payload["tokens"],
        title=payload["title"],
        warnings=tuple(payload["warnings"]),
        created_at=datetime.fromisoformat(created) if created else None,
    )


# --- the collection's fingerprint --------------------------------------------------------------

META_ID = point_id("meta")


def meta_payload(fingerprint: str) -> Payload:
    return {"kind": "meta", "fingerprint": fingerprint}


def check_fingerprint(stored: Mapping[str, Any] | None, expected: str | None, where: str) -> bool:
    """Whether the fingerprint must be written: the store is new, or was made by a version that
    did not remember the chunker. None expects whatever is there.

    Raises:
        ConfigurationError: the store was filled by another embedding model or chunker.
    """
    if expected is None:
        return False
    if stored is None:
        return True
    found = str(stored["fingerprint"])
    if found == expected:
        return False
    if not chunker_part(found) and found == embedding_part(expected):
        return True
    raise ConfigurationError(
        f"The store at {where} was filled with {found!r}, but this backend is set up for "
        f"{expected!r}: {_difference(found, expected)}. Set the settings back, or index all "
        "documents again with: python -m backend --reindex"
    )


def _difference(found: str, expected: str) -> str:
    differs = []
    if embedding_part(found) != embedding_part(expected):
        differs.append("another embedding model, size or prefix (EMBED_*)")
    if chunker_part(found) and chunker_part(found) != chunker_part(expected):
        differs.append("another way of cutting chunks (CHUNK_SIZE_TOKENS, CHUNK_OVERLAP_TOKENS)")
    return " and ".join(differs)

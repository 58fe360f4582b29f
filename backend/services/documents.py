"""What is in a space: list, look at, delete."""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.errors import NotFound
from backend.core.ports import DocumentStore, VectorStore
from backend.core.types import DocumentRecord, StoredChunk
from backend.services.indexing import Indexer


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A record and, while a version is being indexed, how far that has come."""

    record: DocumentRecord
    chunks_done: int | None = None


class Documents:
    def __init__(self, *, documents: DocumentStore, vectors: VectorStore, indexer: Indexer) -> None:
        self._documents = documents
        self._vectors = vectors
        self._indexer = indexer

    async def list(self, space_id: str) -> list[DocumentRecord]:
        return await self._documents.records(space_id)

    async def get(self, doc_id: str) -> DocumentView:
        """
        Raises:
            NotFound: no such document.
        """
        record = await self._record(doc_id)
        if record.pending is None:
            return DocumentView(record)
        done = await self._vectors.staged(doc_id, record.pending.version)
        return DocumentView(record, len(done))

    async def text(self, doc_id: str) -> str:
        """The document's text, put together again from its chunks: citations point into it."""
        await self._record(doc_id)
        return join_chunks(await self._vectors.chunks(doc_id))

    async def delete(self, doc_id: str) -> DocumentRecord:
        async with self._indexer.lock(doc_id):
            record = await self._record(doc_id)
            await self._indexer.delete(record)
        return record

    async def _record(self, doc_id: str) -> DocumentRecord:
        record = await self._documents.get(doc_id)
        if record is None:
            raise NotFound(f"There is no document {doc_id}.")
        return record


def join_chunks(chunks: list[StoredChunk]) -> str:
    """Chunks overlap and cover everything but blank space, which comes back as newlines."""
    text = ""
    for stored in chunks:
        chunk = stored.chunk
        if chunk.start > len(text):
            text += "\n" * (chunk.start - len(text))
        text += chunk.text[len(text) - chunk.start :] if chunk.end > len(text) else ""
    return text

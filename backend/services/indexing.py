"""From a pending version to a searchable one, in steps that a crash may cut anywhere.

The record says what is going on before anything is done, every step may be repeated, and
chunks are invisible until their version is committed: so a document is always whole, absent
or resumed at the next start, never half.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

from backend.core.chunking import chunk_document
from backend.core.identity import collection_fingerprint
from backend.core.language import detect_language
from backend.core.ports import (
    DocumentStore,
    Embedder,
    OriginalStore,
    SparseEncoder,
    SummaryStore,
    VectorStore,
)
from backend.core.types import (
    Chunk,
    DocType,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    ParsedDocument,
)

log = logging.getLogger(__name__)

BATCH_CHUNKS = 8  # written together; small, so that a crash repeats little


@dataclass(frozen=True, slots=True)
class ChunkPolicy:
    size_tokens: int
    overlap_tokens: int


class Indexer:
    def __init__(
        self,
        *,
        documents: DocumentStore,
        vectors: VectorStore,
        originals: OriginalStore,
        embedder: Embedder,
        sparse: SparseEncoder,
        chunks: ChunkPolicy,
        summaries: SummaryStore | None = None,
    ) -> None:
        """``summaries`` of a document go with it; None where there are none to go."""
        self._summaries = summaries
        self._documents = documents
        self._vectors = vectors
        self._originals = originals
        self._embedder = embedder
        self._sparse = sparse
        self._policy = chunks
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # A content may be taken over by one document while another drops it.
        self._contents = asyncio.Lock()

    @property
    def fingerprint(self) -> str:
        """What, besides the content, decides how a document is indexed."""
        return collection_fingerprint(
            self._embedder, self._policy.size_tokens, self._policy.overlap_tokens
        )

    def version_id(self, content_sha256: str, doc_type: DocType) -> str:
        identity = f"{content_sha256}\x1f{self.fingerprint}\x1f{doc_type}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]

    def lock(self, doc_id: str) -> asyncio.Lock:
        """One writer per document."""
        return self._locks.setdefault(doc_id, asyncio.Lock())

    async def chunk(self, parsed: ParsedDocument) -> list[Chunk]:
        return await asyncio.to_thread(
            chunk_document,
            parsed,
            self._embedder.count_tokens,
            size=self._policy.size_tokens,
            overlap=self._policy.overlap_tokens,
        )

    @staticmethod
    async def describe(
        version: DocumentVersion, parsed: ParsedDocument, chunks: Sequence[Chunk]
    ) -> DocumentVersion:
        """The version with what reading the file has shown."""
        return replace(
            version,
            format=parsed.format,
            chunks=len(chunks),
            pages=parsed.pages,
            language=await asyncio.to_thread(detect_language, parsed.text),
            tokens=sum(chunk.token_count for chunk in chunks),
            title=parsed.title,
            warnings=parsed.warnings,
        )

    async def begin(self, record: DocumentRecord, upload: Path) -> None:
        """Keep the file and write down the intention: from here on a crash is made good at the
        next start."""
        content = _pending(record).content_sha256
        async with self._contents:
            await self._originals.adopt(upload, content)
            try:
                await self._documents.put(record)
            except BaseException:
                await self._originals.remove(content)
                raise

    async def finish(self, record: DocumentRecord, chunks: Sequence[Chunk]) -> DocumentRecord:
        """Index the pending version and make it live; continues where an earlier try stopped."""
        version = _pending(record)
        done = await self._vectors.staged(record.doc_id, version.version)
        missing = [chunk for chunk in chunks if chunk.index not in done]
        for first in range(0, len(missing), BATCH_CHUNKS):
            batch = missing[first : first + BATCH_CHUNKS]
            await self._vectors.stage(record, version, await self._embed(batch))
        await self._vectors.commit(record, version.version)
        live = replace(record, live=version, pending=None)
        await self._documents.put(live)
        await self._documents.bump_space(record.space_id)
        if record.live is not None:
            await self._drop_content(record.live.content_sha256)
        return live

    async def undo(self, record: DocumentRecord) -> None:
        """Leave the document as it was before the pending version; a new one leaves no trace."""
        version = _pending(record)
        keep = record.live.version if record.live else None
        await self._vectors.remove(record.doc_id, keep_version=keep)
        if record.live is None:
            await self._documents.delete(record.doc_id)
        else:
            await self._documents.put(replace(record, pending=None))
        await self._drop_content(version.content_sha256)

    async def delete(self, record: DocumentRecord) -> None:
        await self._documents.put(replace(record, deleting=True))
        await self._vectors.remove(record.doc_id)
        if self._summaries is not None:
            await self._summaries.forget(record.doc_id)
        await self._documents.delete(record.doc_id)
        await self._documents.bump_space(record.space_id)
        for version in (record.live, record.pending):
            if version is not None:
                await self._drop_content(version.content_sha256)

    async def _embed(self, chunks: Sequence[Chunk]) -> list[EmbeddedChunk]:
        texts = [chunk.embedding_text for chunk in chunks]
        vectors = await self._embedder.embed_passages(texts)
        sparse = await asyncio.to_thread(lambda: [self._sparse.document(text) for text in texts])
        return [
            EmbeddedChunk(chunk, dense, terms)
            for chunk, dense, terms in zip(chunks, vectors, sparse, strict=True)
        ]

    async def _drop_content(self, content_sha256: str) -> None:
        async with self._contents:
            if not await self._documents.uses_content(content_sha256):
                await self._originals.remove(content_sha256)


def _pending(record: DocumentRecord) -> DocumentVersion:
    if record.pending is None:
        raise RuntimeError(f"document {record.doc_id} has no pending version")
    return record.pending

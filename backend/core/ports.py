"""What the services need from the outside world. Adapters implement these.

One contract suite per port (``tests/contract``) runs against every adapter and its double.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from backend.core.summaries import FinishedPart, SummaryKey, SummaryRecord, SummaryState
from backend.core.types import (
    Completion,
    DocumentRecord,
    DocumentVersion,
    EmbeddedChunk,
    GeneratorEvent,
    Message,
    ParsedDocument,
    ReasoningMode,
    Sampling,
    SearchHits,
    SearchRequest,
    ServedModel,
    SparseVector,
    StoredChunk,
    TokenCount,
)


class Generator(Protocol):
    """A chat model behind some server."""

    @property
    def model(self) -> str: ...

    async def served(self, *, fresh: bool = False) -> ServedModel:
        """What the server says of the model; ``fresh`` asks it again.

        Raises:
            ModelNotServed: it has other models only.
            DependencyError: it cannot be reached or is broken.
        """
        ...

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Return the whole answer. Cancelling the call stops generation on the server.

        Raises:
            ContextOverflow: the prompt and ``max_tokens`` do not fit.
            ReasoningSpentAll: every token went into reasoning, there is no answer.
            DependencyError: the server failed, timed out, refused or hung up early.
        """
        ...

    def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        """Yield deltas as they arrive, then exactly one ``Completion``.

        Closing the iterator early stops generation on the server.
        """
        ...

    async def check(self) -> str:
        """One line about the server when it can answer.

        Raises:
            NotReady: the model is still loading.
            DependencyError: it cannot be reached or is broken.
        """
        ...


class TokenCounter(Protocol):
    """Counts tokens as the chat model does, or gives an upper bound marked ``estimated``."""

    async def count(self, text: str) -> TokenCount:
        """Tokens of ``text`` inside a prompt."""
        ...

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        """Tokens of the prompt as the server will see it, chat template included."""
        ...

    def learn(self, counted: TokenCount, reported: int) -> None:
        """Told after each answer what the server counted for the same prompt."""
        ...


class Reranker(Protocol):
    """Scores texts by how well they answer a query, reading both together."""

    @property
    def model(self) -> str: ...

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in order; higher is better. A text too long for the model is
        scored in pieces and takes the best score of them; nothing is cut.

        Raises:
            DependencyError: the server failed, timed out or refused.
        """
        ...

    async def check(self) -> str:
        """One line about the model when it can score."""
        ...


class Embedder(Protocol):
    """Text to vectors. ``fingerprint`` names model, size and prefixes: vectors of
    different fingerprints must not meet in one collection."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest text that becomes one vector without being cut."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text``, special tokens included. CPU work; call it in a thread."""
        ...

    async def embed_query(self, text: str) -> Sequence[float]:
        """One L2-normalised vector, shape (dimensions,)."""
        ...

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """One L2-normalised vector per text, in order: shape (len(texts), dimensions).

        Cancelling stops between texts.
        """
        ...


class SparseEncoder(Protocol):
    """Text to BM25 term weights; the store multiplies by IDF."""

    def document(self, text: str) -> SparseVector: ...

    def query(self, text: str) -> SparseVector: ...


class Parser(Protocol):
    """A file to text."""

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """``name`` is the name the user knows the file by; its suffix is a hint, not a proof.

        Raises:
            UnsupportedDocument: no parser for this kind of file.
            UnreadableDocument: empty, encrypted, corrupt, without text, unsafe or too slow.
            TooLarge: it unpacks to more than a configured limit.
        """
        ...


class VectorStore(Protocol):
    """Chunks of documents. A chunk is invisible to searches until its version is committed."""

    async def stage(
        self, record: DocumentRecord, version: DocumentVersion, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        """Write chunks of a version that is not visible yet. Writing one again changes nothing."""
        ...

    async def staged(self, doc_id: str, version: str) -> set[int]:
        """Chunk indexes of the version that are already written."""
        ...

    async def commit(self, record: DocumentRecord, version: str) -> None:
        """Make the version visible and remove every other one. Idempotent."""
        ...

    async def remove(self, doc_id: str, *, keep_version: str | None = None) -> None:
        """Remove the document's chunks, except those of ``keep_version``. Idempotent."""
        ...

    async def search(self, request: SearchRequest) -> SearchHits:
        """The dense and the BM25 list, best first, in one round trip.

        A list holds only chunks that score above zero in it.
        """
        ...

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        """The visible chunks of a document in order of index."""
        ...


class DocumentStore(Protocol):
    """One record per document, and a version per space that changes with its content."""

    async def put(self, record: DocumentRecord) -> None: ...

    async def get(self, doc_id: str) -> DocumentRecord | None: ...

    async def delete(self, doc_id: str) -> None: ...

    async def records(self, space_id: str | None = None) -> list[DocumentRecord]:
        """All records of a space (or of all spaces), ordered by source."""
        ...

    async def unfinished(self) -> list[DocumentRecord]:
        """Records with a pending version or a begun deletion."""
        ...

    async def uses_content(self, content_sha256: str) -> bool:
        """Whether any record's live or pending version has this content."""
        ...

    async def space_version(self, space_id: str) -> str:
        """A token that changes whenever a document of the space is committed or removed."""
        ...

    async def bump_space(self, space_id: str) -> None: ...


class SummaryStore(Protocol):
    """Summaries, the work on them that is still to be done, and the finished parts of it.

    One record per key: putting one again replaces it. What ``put`` and ``put_part`` have returned
    from survives the death of the process.
    """

    async def put(self, record: SummaryRecord) -> None: ...

    async def get(self, key_id: str) -> SummaryRecord | None: ...

    async def of_document(self, doc_id: str) -> list[SummaryRecord]:
        """All records of the document, newest first."""
        ...

    async def pending(self) -> list[SummaryRecord]:
        """What waits to be done, oldest first."""
        ...

    async def counts(self, space_id: str | None = None) -> Mapping[SummaryState, int]: ...

    async def remove(self, key_ids: Sequence[str]) -> None:
        """Records and finished parts of these keys. Idempotent."""
        ...

    async def forget(self, doc_id: str) -> None:
        """Records and finished parts of the document. Idempotent."""
        ...

    async def put_part(self, key: SummaryKey, part: FinishedPart) -> None: ...

    async def parts(self, key_id: str) -> list[FinishedPart]: ...

    async def drop_parts(self, key_id: str) -> None: ...

    async def begun(self) -> list[SummaryKey]:
        """Every key that has finished parts."""
        ...


class OriginalStore(Protocol):
    """Uploaded files, addressed by the SHA-256 of their content."""

    async def adopt(self, temporary: Path, sha256: str) -> None:
        """Take over a finished upload; afterwards ``path(sha256)`` exists. Atomic, idempotent."""
        ...

    def path(self, sha256: str) -> Path: ...

    async def remove(self, sha256: str) -> None: ...

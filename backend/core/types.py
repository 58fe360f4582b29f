"""The nouns of the product. Frozen, without behaviour beyond what they derive from themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

FinishReason = Literal["stop", "length"]
Role = Literal["system", "user", "assistant"]
ReasoningMode = Literal["auto", "on", "off"]  # auto: as the model's chat template has it


class DocType(StrEnum):
    EMAIL = "email_correspondence"
    PROTOCOLS = "protocols"
    PRESENTATIONS = "presentations"
    TECHNICAL = "technical_docs"
    WORK_PLANS = "work_plans"
    MESSENGER = "messenger_correspondence"
    UNSTRUCTURED = "unstructured"


DocTypeOrigin = Literal["given", "folder", "guessed"]


# --- documents ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading line of a document; ``start`` and ``end`` are offsets in its text."""

    level: int  # 1 is the top
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser makes of a file.

    ``text`` is what every later offset refers to: Unicode NFC, ``\\n`` line ends, no NUL.
    ``page_starts[i]`` is the offset where page ``i + 1`` begins; empty where the format
    has no pages.
    """

    text: str
    format: str
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    title: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def pages(self) -> int | None:
        return len(self.page_starts) or None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous piece of a document: ``text == document.text[start:end]``."""

    index: int
    text: str
    start: int
    end: int
    token_count: int  # tokens of the embedding model
    page: int | None = None
    heading_path: tuple[str, ...] = ()

    @property
    def embedding_text(self) -> str:
        """The text under its headings: what is embedded and indexed for search."""
        if not self.heading_path:
            return self.text
        return " > ".join(self.heading_path) + "\n" + self.text


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """One content of a document, as it was or will be indexed."""

    version: str  # changes with content, embedding fingerprint or document type
    content_sha256: str
    size_bytes: int
    doc_type: DocType
    doc_type_origin: DocTypeOrigin
    format: str = ""
    chunks: int = 0
    pages: int | None = None
    language: str = ""
    tokens: int = 0
    title: str | None = None
    warnings: tuple[str, ...] = ()
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of a space and the state of its index.

    ``live`` is what searches see, ``pending`` what is being indexed: a crash in between
    leaves a record that says so, and the next start picks it up. ``deleting`` is set
    before anything is removed, for the same reason.
    """

    doc_id: str
    space_id: str
    source: str
    live: DocumentVersion | None = None
    pending: DocumentVersion | None = None
    deleting: bool = False


# --- vectors and search ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SparseVector:
    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    chunk: Chunk
    dense: Sequence[float]
    sparse: SparseVector


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the store returns it, with the document it belongs to."""

    doc_id: str
    source: str
    doc_type: DocType
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry of one result list; ``dense`` only where vectors were asked for."""

    stored: StoredChunk
    score: float
    dense: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One round trip to the store: both lists at once."""

    space_id: str
    dense: Sequence[float]
    sparse: SparseVector
    limit: int
    doc_types: tuple[DocType, ...] = ()
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class SearchHits:
    dense: tuple[Hit, ...]
    sparse: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class ListRank:
    """Where a chunk stood in one list; ranks start at 1."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    stored: StoredChunk
    score: float
    ranks: Mapping[str, ListRank] = field(default_factory=dict)  # "dense", "bm25"
    dense: Sequence[float] | None = None


# --- generation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is asked of the model besides the messages. None leaves a value to the server.

    ``json_schema`` is a JSON schema as text: the answer must be JSON that fits it.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    json_schema: str | None = None
    reasoning: ReasoningMode = "auto"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    prompt_tokens: int
    completion_tokens: int  # reasoning included


@dataclass(frozen=True, slots=True)
class TokenCount:
    """``estimated``: an upper bound, for a server whose tokenizer cannot be asked."""

    tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits for the model; ``position`` 1 is the next to be served."""

    position: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning, which is never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    finish_reason: FinishReason
    usage: TokenUsage
    reasoning: str = ""


GeneratorEvent = Queued | TextDelta | ReasoningDelta | Completion


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server says of the model it serves. Sizes in tokens.

    ``context_window`` is what one request may use; ``origin`` says where it was read;
    ``asked_window`` is what we asked the server for, where that is ours to ask (Ollama).
    ``parallel`` is how many requests it works on at once, where it says so.
    """

    name: str
    context_window: int
    origin: str
    asked_window: int | None = None
    trained_window: int | None = None
    parallel: int | None = None
    quantization: str | None = None

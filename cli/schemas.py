"""What the command line reads of the backend's answers. Fields it does not know are kept as
they came, for ``--json``, and so that an older command line works with a newer backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Read(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Document(_Read):
    doc_id: str
    source: str
    state: Literal["ready", "pending", "updating", "deleting"]
    doc_type: str
    size_bytes: int
    content_sha256: str
    chunks_indexed: int
    warnings: tuple[str, ...] = ()


class DocumentPage(_Read):
    total: int
    documents: tuple[Document, ...]


class Ingested(Document):
    unchanged: bool
    replaced: bool
    seconds: float


class Hit(_Read):
    source: str
    chunk_index: int
    page: int | None = None
    heading: str | None = None
    text: str
    score: float


class SearchAnswer(_Read):
    results: tuple[Hit, ...]
    timings: dict[str, float] = {}


class Source(_Read):
    n: int
    doc_id: str
    source: str
    page: int | None = None
    heading: str | None = None
    cited: bool = False


class SourcesEvent(_Read):
    sources: tuple[Source, ...]


class Delta(_Read):
    text: str


class Context(_Read):
    window: int | None = None
    prompt_tokens: int = 0
    chunks_in: int = 0
    finish_reason: str | None = None


class Citation(_Read):
    """``quote`` is empty when ``status`` is "unsupported"; ``reason`` says why it is."""

    marker: int
    statement: str
    status: Literal["exact", "normalized", "unsupported"]
    reason: str | None = None
    method: str = ""
    quote: str = ""
    source: str | None = None
    page: int | None = None
    heading: str | None = None
    better_marker: int | None = None


class Answer(_Read):
    """``draft`` is what the model wrote when the sources held none of it."""

    answer: str
    answered: bool
    model: str
    generation: Literal["model", "extractive", "none"]
    sources: tuple[Source, ...]
    citations: tuple[Citation, ...]
    attributed: tuple[Citation, ...]
    uncited: tuple[str, ...]
    context: Context
    warnings: tuple[str, ...] = ()
    draft: str | None = None
    cached: bool = False
    timings: dict[str, float] = {}


class Health(_Read):
    class Component(_Read):
        state: Literal["ok", "starting", "failed"]
        detail: str

    status: Literal["ok", "starting", "failed"]
    version: str
    components: dict[str, Component] = {}
    warnings: tuple[str, ...] = ()

    @property
    def waiting_for(self) -> str:
        """What is not ready yet, and why."""
        return "; ".join(
            f"{name}: {part.detail}" for name, part in self.components.items() if part.state != "ok"
        )


class ErrorDetail(_Read):
    code: str
    message: str
    request_id: str = ""
    retry_after_s: float | None = None


class ErrorBody(_Read):
    error: ErrorDetail

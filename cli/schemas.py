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


class Queued(_Read):
    """``position`` 1 is the next to be served."""

    position: int


class SummaryStart(_Read):
    source: str
    model: str


class _WithEta(_Read):
    """Seconds from now; ``eta_range`` is what they lie in."""

    eta_seconds: float | None = None
    eta_range: tuple[float, float] | None = None


class SummaryProcessing(_WithEta):
    strategy: str
    parts: int
    document_tokens: int


class PartialSummary(_Read):
    """Of part ``part``, from 1."""

    part: int
    parts: int
    text: str


class SummaryProgress(_WithEta):
    """``done`` and ``total`` count the calls of the stage."""

    stage: Literal["map", "merge"]
    level: int
    done: int
    total: int


class SummaryMerge(_Read):
    level: int
    inputs: int
    groups: int


class Decision(_Read):
    what: str
    who: str | None = None
    when: str | None = None


class ActionItem(_Read):
    task: str
    owner: str | None = None
    deadline: str | None = None


class Summary(_Read):
    """The lists are None unless they were asked for."""

    summary: str
    doc_id: str
    source: str
    model: str
    strategy: str
    parts: int
    levels: int = 0
    chunks_processed: int
    seconds: float
    cached: bool = False
    unsupported: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] | None = None
    action_items: tuple[ActionItem, ...] | None = None
    topics: tuple[str, ...] | None = None
    participants: tuple[str, ...] | None = None
    open_questions: tuple[str, ...] | None = None


class SummaryStatus(_WithEta):
    doc_id: str
    source: str
    status: Literal["none", "pending", "running", "ready", "failed", "stale"]
    stage: Literal["map", "merge"] | None = None
    done: int | None = None
    total: int | None = None
    error_code: str | None = None
    error: str | None = None


class SummaryStats(_Read):
    documents: int
    pending: int
    running: int
    ready: int
    failed: int


class BulkAccepted(_Read):
    """doc_ids by what becomes of them."""

    pending: tuple[str, ...]
    ready: tuple[str, ...]
    not_found: tuple[str, ...]


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

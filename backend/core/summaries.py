"""Summaries: what is asked for, what happens on the way, what is made and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from backend.core.language import AnswerLanguage, Language
from backend.core.types import Queued, TokenUsage

Strategy = Literal["single", "map_reduce"]
Stage = Literal["map", "merge"]
SummaryState = Literal["pending", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """``language`` None: the document's own. ``max_tokens`` None: the model's usual length.
    ``structured``: also who decided what, tasks and open questions, as fields."""

    doc_id: str
    space_id: str
    focus: str = ""
    max_tokens: int | None = None
    language: AnswerLanguage | None = None
    structured: bool = False


@dataclass(frozen=True, slots=True)
class SummaryKey:
    """Everything that decides the text: a summary is current as long as its key is.

    ``prompt_version`` is a hash of the prompt texts.
    """

    doc_id: str
    space_id: str
    content_sha256: str
    model: str
    prompt_version: str
    language: AnswerLanguage
    focus: str
    max_tokens: int
    structured: bool

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, "summary:" + "\x1f".join(map(str, astuple(self)))))


@dataclass(frozen=True, slots=True)
class Part:
    """A contiguous piece of the document: ``text == document[start:end]``.

    The parts of a document, in order, are the whole of it: nothing twice, nothing left out but
    blank space. ``chunks`` is how many chunks of the document begin in it.
    """

    index: int
    text: str
    start: int
    end: int
    tokens: int  # of the chat model
    chunks: int
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    what: str
    who: str | None = None
    when: str | None = None


@dataclass(frozen=True, slots=True)
class ActionItem:
    task: str
    owner: str | None = None
    deadline: str | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """What a thread of mails or messages came to."""

    decisions: tuple[Decision, ...] = ()
    action_items: tuple[ActionItem, ...] = ()
    topics: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    open_questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """``tokens`` is what all calls of the model took together. ``unsupported`` are figures, dates
    and names of the summary that the document does not have."""

    text: str
    key: SummaryKey
    source: str
    strategy: Strategy
    parts: int
    levels: int  # merge levels; 0 for a single call
    chunks_processed: int
    tokens: TokenUsage
    seconds: float
    generated_at: datetime
    unsupported: tuple[str, ...] = ()
    structure: Structure | None = None
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    cached: bool = False


@dataclass(frozen=True, slots=True)
class SummaryRecord:
    """What is kept of one key. ``pending`` is work that must be done, whatever happens to this
    process; ``failed`` was tried and says why. ``asked_at`` orders the pending ones."""

    key: SummaryKey
    source: str
    state: SummaryState
    asked_at: datetime
    summary: Summary | None = None
    error_code: str | None = None
    error: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """The result of one call of the model, kept until the summary is whole, so that a crash does
    not have it made again. ``input_sha256`` is of the messages it was made from."""

    key_id: str
    stage: Stage
    level: int
    index: int
    input_sha256: str
    text: str
    usage: TokenUsage


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds from now, and the range they lie in."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SummaryStarted:
    key: SummaryKey
    source: str
    document_language: Language


@dataclass(frozen=True, slots=True)
class SummaryProcessing:
    strategy: Strategy
    parts: int
    chunks: int
    document_tokens: int
    eta: Eta | None


@dataclass(frozen=True, slots=True)
class PartSummarized:
    """Part ``index`` (from 0) of ``parts`` is done."""

    index: int
    parts: int
    text: str


@dataclass(frozen=True, slots=True)
class SummaryProgress:
    """After every finished call, and in between when the estimate has changed. ``done`` and
    ``total`` count calls of this stage."""

    stage: Stage
    level: int
    done: int
    total: int
    eta: Eta | None


@dataclass(frozen=True, slots=True)
class MergeStarted:
    level: int  # from 1
    inputs: int
    groups: int


SummaryEvent = (
    Queued
    | SummaryStarted
    | SummaryProcessing
    | PartSummarized
    | SummaryProgress
    | MergeStarted
    | Summary
)

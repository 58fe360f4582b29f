"""What is asked and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.core.citations import Citation
from backend.core.language import AnswerLanguage
from backend.core.types import (
    DocType,
    FinishReason,
    Queued,
    ReasoningDelta,
    ScoredChunk,
    TextDelta,
)

AskMode = Literal["normal", "auto", "summarize", "detailed"]
RouteMode = Literal["normal", "detailed", "summarize", "whole_document", "extractive", "none"]
Generation = Literal["model", "extractive", "none"]
EXTRACTIVE = "extractive"


@dataclass(frozen=True, slots=True)
class AskRequest:
    q: str
    space_id: str
    top_k: int
    doc_types: tuple[DocType, ...] = ()
    mode: AskMode = "normal"
    include_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered chunk of the prompt; the answer's ``[n]`` mean these numbers."""

    n: int
    scored: ScoredChunk
    cited: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """How the answer was come by, and why. ``context_tokens``, of the chat model: what was
    retrieved or, for a whole document, the document; before anything was compressed."""

    mode: RouteMode
    reason: str
    context_tokens: int


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What the prompt took of the window, in tokens of the chat model. ``chunks_irrelevant`` were
    read when the context was compressed, and nothing was noted of them."""

    window: int | None
    prompt_tokens: int
    max_tokens: int
    chunks_in: int
    chunks_left_out: tuple[ScoredChunk, ...]
    finish_reason: FinishReason | None
    estimated: bool = False  # the count of the prompt is an upper bound
    chunks_irrelevant: tuple[ScoredChunk, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcesFound:
    sources: tuple[Source, ...]


NO_ROUTE = Route("none", "", 0)


@dataclass(frozen=True, slots=True)
class Compressing:
    """``done`` of ``total`` calls of the model; the total grows where one was not enough."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Answer:
    """``mode`` is the one asked for, ``route`` the one taken. ``draft`` is what the model wrote
    when none of it could be checked against the sources; then the answer itself says that the
    documents do not hold one."""

    answer: str
    answered: bool
    language: AnswerLanguage
    model: str
    generation: Generation
    mode: AskMode
    sources: tuple[Source, ...]
    citations: tuple[Citation, ...]
    attributed: tuple[Citation, ...]
    uncited: tuple[str, ...]
    context: ContextUse
    warnings: tuple[str, ...] = ()
    draft: str | None = None
    reasoning: str | None = None  # only where it was asked for
    route: Route = NO_ROUTE
    summarized: bool = False
    cached: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)


AskEvent = Queued | SourcesFound | Compressing | ReasoningDelta | TextDelta | Answer

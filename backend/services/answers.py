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
class ContextUse:
    """What the prompt took of the window, in tokens of the chat model."""

    window: int | None
    prompt_tokens: int
    max_tokens: int
    chunks_in: int
    chunks_left_out: tuple[ScoredChunk, ...]
    finish_reason: FinishReason | None
    estimated: bool = False  # the count of the prompt is an upper bound


@dataclass(frozen=True, slots=True)
class SourcesFound:
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """``draft`` is what the model wrote when none of it could be checked against the sources;
    then the answer itself says that the documents do not hold one."""

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
    cached: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)


AskEvent = Queued | SourcesFound | ReasoningDelta | TextDelta | Answer

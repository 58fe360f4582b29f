"""Requests and responses as JSON. They stop here; the services know only ``core.types``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.core.citations import Citation
from backend.core.types import DocType, ListRank, ScoredChunk
from backend.services.answers import Answer, ContextUse, Source
from backend.services.health import Health

MAX_QUESTION_CHARS = 4000
DEFAULT_SPACE = "default"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- search ------------------------------------------------------------------------------------


class Rank(Model):
    rank: int
    score: float


class Place(Model):
    """Which chunk of which document."""

    doc_id: str
    source: str
    doc_type: DocType
    chunk_index: int
    page: int | None
    heading: str | None


def _place(scored: ScoredChunk) -> dict[str, Any]:
    stored = scored.stored
    return {
        "doc_id": stored.doc_id,
        "source": stored.source,
        "doc_type": stored.doc_type,
        "chunk_index": stored.chunk.index,
        "page": stored.chunk.page,
        "heading": _heading(stored.chunk.heading_path),
    }


class SearchHit(Place):
    char_start: int
    char_end: int
    text: str
    score: float
    dense: Rank | None
    bm25: Rank | None

    @classmethod
    def of(cls, scored: ScoredChunk) -> SearchHit:
        chunk = scored.stored.chunk
        return cls.model_construct(
            **_place(scored),
            char_start=chunk.start,
            char_end=chunk.end,
            text=chunk.text,
            score=scored.score,
            dense=_rank(scored.ranks.get("dense")),
            bm25=_rank(scored.ranks.get("bm25")),
        )


def _heading(path: Sequence[str]) -> str | None:
    return " > ".join(path) or None


def _rank(rank: ListRank | None) -> Rank | None:
    return Rank(rank=rank.rank, score=rank.score) if rank else None


class SearchResponse(Model):
    q: str
    space_id: str
    results: list[SearchHit]
    cached: bool
    timings: dict[str, float] = Field(description="seconds by stage")


# --- ask ---------------------------------------------------------------------------------------


Question = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)
]


class AskBody(Model):
    q: Question
    space_id: str = DEFAULT_SPACE
    top_k: int | None = Field(None, ge=1)
    doc_types: tuple[DocType, ...] = ()
    mode: Literal["normal", "auto", "summarize", "detailed"] = "normal"
    stream: bool = False
    include_reasoning: bool = Field(False, description="also return what the model reasoned")


class SourceOut(Place):
    n: int = Field(description="the number the answer's [n] means")
    score: float
    cited: bool

    @classmethod
    def of(cls, source: Source) -> SourceOut:
        return cls(
            n=source.n, cited=source.cited, score=source.scored.score, **_place(source.scored)
        )


class CitationOut(Model):
    """What became of one number of one marker of the answer."""

    marker: int
    statement: str
    answer_start: int
    answer_end: int
    status: Literal["exact", "normalized", "unsupported"]
    reason: Literal["no_such_source", "misplaced", "not_found"] | None
    better_marker: int | None = Field(description="for a misplaced one: where it belongs")
    method: Literal["verbatim", "words", "meaning", "none"]
    score: float
    quote: str = Field(description="cut from the stored source; empty when unsupported")
    doc_id: str | None
    source: str | None
    doc_type: DocType | None
    chunk_index: int | None
    page: int | None
    heading: str | None
    char_start: int | None = Field(description="in GET /documents/{doc_id}/text")
    char_end: int | None

    @classmethod
    def of(cls, citation: Citation) -> CitationOut:
        same = {name: getattr(citation, name) for name in cls.model_fields if name != "heading"}
        return cls(heading=_heading(citation.heading), **same)


class LeftOut(Place):
    score: float


class ContextOut(Model):
    window: int | None
    prompt_tokens: int
    estimated: bool = Field(description="prompt_tokens is an upper bound: the server cannot count")
    max_tokens: int
    chunks_in: int
    chunks_left_out: list[LeftOut]
    chunks_irrelevant: list[LeftOut] = Field(
        description="read when the context was compressed, and nothing was noted of them"
    )
    truncated: Literal[False] = False
    finish_reason: Literal["stop", "length"] | None

    @classmethod
    def of(cls, context: ContextUse) -> ContextOut:
        return cls(
            window=context.window,
            prompt_tokens=context.prompt_tokens,
            estimated=context.estimated,
            max_tokens=context.max_tokens,
            chunks_in=context.chunks_in,
            chunks_left_out=_left_out(context.chunks_left_out),
            chunks_irrelevant=_left_out(context.chunks_irrelevant),
            finish_reason=context.finish_reason,
        )


def _left_out(chunks: Sequence[ScoredChunk]) -> list[LeftOut]:
    return [LeftOut(score=scored.score, **_place(scored)) for scored in chunks]


class RouteOut(Model):
    mode: Literal["normal", "detailed", "summarize", "whole_document", "extractive", "none"]
    reason: str
    context_tokens: int = Field(
        description="of what was retrieved, or of the whole document, before any compression"
    )


class AskResponse(Model):
    answer: str
    answered: bool
    language: Literal["ru", "en"]
    model: str
    generation: Literal["model", "extractive", "none"]
    mode: Literal["normal", "auto", "summarize", "detailed"] = Field(
        description="the one asked for; `route.mode` is the one taken"
    )
    route: RouteOut
    summarized: bool = Field(description="the answer was written from a compressed context")
    context_tokens: int = Field(description="as in `route`")
    sources: list[SourceOut]
    citations: list[CitationOut]
    attributed: list[CitationOut] = Field(
        description="statements without a marker that a source holds; `marker` is its number"
    )
    uncited: tuple[str, ...] = Field(description="statements without a marker that no source holds")
    context: ContextOut
    warnings: tuple[str, ...]
    draft: str | None
    reasoning: str | None
    cached: bool
    timings: dict[str, float] = Field(description="seconds by stage")

    @classmethod
    def of(cls, answer: Answer) -> AskResponse:
        return cls(
            answer=answer.answer,
            answered=answer.answered,
            language=answer.language,
            model=answer.model,
            generation=answer.generation,
            mode=answer.mode,
            route=RouteOut(
                mode=answer.route.mode,
                reason=answer.route.reason,
                context_tokens=answer.route.context_tokens,
            ),
            summarized=answer.summarized,
            context_tokens=answer.route.context_tokens,
            sources=[SourceOut.of(source) for source in answer.sources],
            citations=[CitationOut.of(citation) for citation in answer.citations],
            attributed=[CitationOut.of(citation) for citation in answer.attributed],
            uncited=answer.uncited,
            context=ContextOut.of(answer.context),
            warnings=answer.warnings,
            draft=answer.draft,
            reasoning=answer.reasoning,
            cached=answer.cached,
            timings={stage: round(s, 4) for stage, s in answer.timings.items()},
        )


# --- health ------------------------------------------------------------------------------------


class ComponentOut(Model):
    state: Literal["ok", "starting", "failed"]
    detail: str
    seconds: float


class HealthResponse(Model):
    status: Literal["ok", "starting", "failed"]
    version: str
    components: dict[str, ComponentOut]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, health: Health, version: str) -> HealthResponse:
        components = {
            name: ComponentOut(state=part.state, detail=part.detail, seconds=part.seconds)
            for name, part in health.components.items()
        }
        return cls(
            status=health.state, version=version, components=components, warnings=health.warnings
        )

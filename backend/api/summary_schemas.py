"""Summaries as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from backend.api.schemas import DEFAULT_SPACE, Model
from backend.core.identity import clean_space_id
from backend.core.summaries import (
    Eta,
    Strategy,
    Structure,
    Summary,
    SummaryProgress,
    SummaryRequest,
)
from backend.services.summarize.views import BulkAnswer, DocumentSummary, Status, SummaryStats

MAX_FOCUS_CHARS = 1000
MAX_SUMMARY_TOKENS = 32_768
MAX_BULK = 10_000

Focus = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FOCUS_CHARS)]


class SummaryChoices(Model):
    focus: Focus = Field("", description="what the summary should be about")
    max_tokens: int | None = Field(
        None, ge=64, le=MAX_SUMMARY_TOKENS, description="unset: the model's usual length"
    )
    language: Literal["ru", "en"] | None = Field(None, description="unset: the document's own")
    structured: bool = Field(
        False, description="also decisions, action items, topics, participants, open questions"
    )


class SummarizeBody(SummaryChoices):
    doc_id: str
    space_id: str = DEFAULT_SPACE

    def request(self) -> SummaryRequest:
        return SummaryRequest(
            self.doc_id,
            clean_space_id(self.space_id),
            self.focus,
            self.max_tokens,
            self.language,
            self.structured,
        )


class DecisionOut(Model):
    what: str
    who: str | None
    when: str | None


class ActionItemOut(Model):
    task: str
    owner: str | None
    deadline: str | None


class StructureOut(Model):
    decisions: list[DecisionOut] | None = None
    action_items: list[ActionItemOut] | None = None
    topics: list[str] | None = None
    participants: list[str] | None = None
    open_questions: list[str] | None = None

    @staticmethod
    def fields(structure: Structure | None) -> dict[str, object]:
        if structure is None:
            return {}
        return {
            "decisions": [
                DecisionOut(what=d.what, who=d.who, when=d.when) for d in structure.decisions
            ],
            "action_items": [
                ActionItemOut(task=item.task, owner=item.owner, deadline=item.deadline)
                for item in structure.action_items
            ],
            "topics": list(structure.topics),
            "participants": list(structure.participants),
            "open_questions": list(structure.open_questions),
        }


class SummaryTokens(Model):
    prompt_tokens: int
    completion_tokens: int


class SummaryOut(StructureOut):
    summary: str
    doc_id: str
    source: str
    space_id: str
    language: Literal["ru", "en"]
    focus: str
    model: str
    strategy: Strategy
    parts: int
    levels: int = Field(description="merge levels; 0 for a single call")
    chunks_processed: int
    tokens: SummaryTokens = Field(description="of all calls of the model together")
    seconds: float
    cached: bool
    generated_at: datetime
    unsupported: tuple[str, ...] = Field(
        description="figures, dates and names of the summary that the document does not have"
    )
    warnings: tuple[str, ...]
    timings: dict[str, float] = Field(description="seconds by stage; empty where cached")

    @classmethod
    def of(cls, summary: Summary) -> SummaryOut:
        key = summary.key
        return cls.model_validate(
            {
                "summary": summary.text,
                "doc_id": key.doc_id,
                "source": summary.source,
                "space_id": key.space_id,
                "language": key.language,
                "focus": key.focus,
                "model": key.model,
                "strategy": summary.strategy,
                "parts": summary.parts,
                "levels": summary.levels,
                "chunks_processed": summary.chunks_processed,
                "tokens": SummaryTokens(
                    prompt_tokens=summary.tokens.prompt_tokens,
                    completion_tokens=summary.tokens.completion_tokens,
                ),
                "seconds": round(summary.seconds, 3),
                "cached": summary.cached,
                "generated_at": summary.generated_at,
                "unsupported": summary.unsupported,
                "warnings": summary.warnings,
                "timings": dict(summary.timings),
                **StructureOut.fields(summary.structure),
            }
        )


def eta_fields(eta: Eta | None) -> dict[str, object]:
    if eta is None:
        return {"eta_seconds": None, "eta_range": None}
    return {
        "eta_seconds": round(eta.seconds, 1),
        "eta_range": [round(eta.low, 1), round(eta.high, 1)],
    }


# --- made beforehand ---------------------------------------------------------------------------


class SummaryStatusOut(Model):
    doc_id: str
    source: str
    space_id: str
    status: Status
    summary_pending: bool
    requested_at: datetime | None = None
    generated_at: datetime | None = None
    model: str | None = None
    language: Literal["ru", "en"] | None = None
    stage: Literal["map", "merge"] | None = None
    done: int | None = None
    total: int | None = None
    eta_seconds: float | None = None
    eta_range: list[float] | None = None
    attempts: int = 0
    error_code: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, found: DocumentSummary) -> SummaryStatusOut:
        record = found.record
        progress = found.progress
        return cls.model_validate(
            {
                "doc_id": found.document.doc_id,
                "source": found.document.source,
                "space_id": found.document.space_id,
                "status": found.status,
                "summary_pending": found.status in {"pending", "running"},
                **(_progress(progress) if progress else {}),
                **(
                    {
                        "requested_at": record.asked_at,
                        "generated_at": record.summary.generated_at if record.summary else None,
                        "model": record.key.model,
                        "language": record.key.language,
                        "attempts": record.attempts,
                        "error_code": record.error_code,
                        "error": record.error,
                    }
                    if record
                    else {}
                ),
            }
        )


def _progress(progress: SummaryProgress) -> dict[str, object]:
    return {
        "stage": progress.stage,
        "done": progress.done,
        "total": progress.total,
        **eta_fields(progress.eta),
    }


class BulkBody(Model):
    space_id: str = DEFAULT_SPACE
    doc_ids: list[str] | None = Field(
        None, max_length=MAX_BULK, description="unset: every document of the space"
    )
    force: bool = Field(False, description="also those that have a summary")


class BulkOut(Model):
    space_id: str
    pending: tuple[str, ...] = Field(description="doc_ids that will be summarized")
    ready: tuple[str, ...] = Field(description="doc_ids that have a current summary")
    not_found: tuple[str, ...]

    @classmethod
    def of(cls, space_id: str, answer: BulkAnswer) -> BulkOut:
        return cls(
            space_id=space_id,
            pending=answer.pending,
            ready=answer.ready,
            not_found=answer.not_found,
        )


class StatsOut(Model):
    space_id: str | None
    documents: int
    pending: int
    running: int
    ready: int
    failed: int

    @classmethod
    def of(cls, space_id: str | None, stats: SummaryStats) -> StatsOut:
        return cls(
            space_id=space_id,
            documents=stats.documents,
            pending=stats.counts.get("pending", 0),
            running=stats.running,
            ready=stats.counts.get("ready", 0),
            failed=stats.counts.get("failed", 0),
        )


class SummariesDeleted(Model):
    doc_id: str
    deleted: int = Field(description="how many summaries were removed")

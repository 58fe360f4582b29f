"""What can be seen of the summaries that are made beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.core.summaries import SummaryProgress, SummaryRecord, SummaryState
from backend.core.types import DocumentRecord

Status = Literal["none", "pending", "running", "ready", "failed", "stale"]


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """What there is of a document's summary. ``record`` is the newest, of whatever version;
    ``progress`` only while it is being made."""

    document: DocumentRecord
    status: Status
    record: SummaryRecord | None
    progress: SummaryProgress | None = None


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """Documents by what becomes of them."""

    pending: tuple[str, ...]
    ready: tuple[str, ...]
    not_found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SummaryStats:
    documents: int
    counts: dict[SummaryState, int]
    running: int

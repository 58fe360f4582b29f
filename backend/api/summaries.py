"""Summaries that are made beforehand: ask for them, look how far they are, delete them."""

from __future__ import annotations

from fastapi import APIRouter, status

from backend.api.deps import Injected
from backend.api.summary_schemas import (
    BulkBody,
    BulkOut,
    StatsOut,
    SummariesDeleted,
    SummaryChoices,
    SummaryStatusOut,
)
from backend.core.identity import clean_space_id
from backend.core.summaries import SummaryRequest

router = APIRouter(tags=["summaries"])


@router.get("/documents/{doc_id}/summary-status")
async def summary_status(services: Injected, doc_id: str) -> SummaryStatusOut:
    return SummaryStatusOut.of(await services.summaries.status(doc_id))


@router.post("/documents/{doc_id}/regenerate-summary", status_code=status.HTTP_202_ACCEPTED)
async def regenerate_summary(
    services: Injected, doc_id: str, body: SummaryChoices | None = None
) -> SummaryStatusOut:
    """Made again in the background; until then the old one is answered."""
    choices = body or SummaryChoices(focus="", max_tokens=None, language=None, structured=False)
    document = (await services.summaries.status(doc_id)).document
    request = SummaryRequest(
        doc_id,
        document.space_id,
        choices.focus,
        choices.max_tokens,
        choices.language,
        choices.structured,
    )
    await services.summaries.want(request, again=True)
    return SummaryStatusOut.of(await services.summaries.status(doc_id))


@router.delete("/documents/{doc_id}/summary")
async def delete_summary(services: Injected, doc_id: str) -> SummariesDeleted:
    """Every kept summary of the document, of whatever language and focus."""
    return SummariesDeleted(doc_id=doc_id, deleted=await services.summaries.delete(doc_id))


@router.post("/bulk-summarize", status_code=status.HTTP_202_ACCEPTED)
async def bulk_summarize(services: Injected, body: BulkBody) -> BulkOut:
    """Write down that these documents are to be summarized; they are, in quiet times, also if
    the backend is restarted in between."""
    space_id = clean_space_id(body.space_id)
    answer = await services.summaries.want_all(space_id, body.doc_ids, again=body.force)
    return BulkOut.of(space_id, answer)


@router.get("/summary-stats")
async def summary_stats(services: Injected, space_id: str | None = None) -> StatsOut:
    """Of a space, or of all of them."""
    space_id = clean_space_id(space_id) if space_id is not None else None
    return StatsOut.of(space_id, await services.summaries.stats(space_id))

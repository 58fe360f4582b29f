"""GET /search: the chunks a question would be answered from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from backend.api.deps import Injected
from backend.api.schemas import DEFAULT_SPACE, Question, SearchHit, SearchResponse
from backend.api.validation import chosen_top_k
from backend.core.doc_types import parse_doc_type
from backend.core.identity import clean_space_id
from backend.services.retrieve import SearchQuery
from backend.services.timing import Timings

router = APIRouter(tags=["questions"])


@router.get("/search", response_model=SearchResponse)
async def search(
    services: Injected,
    q: Question,
    space_id: str = DEFAULT_SPACE,
    top_k: Annotated[int | None, Query(ge=1)] = None,
    doc_types: Annotated[
        list[str] | None, Query(description="repeat it, or separate by commas")
    ] = None,
) -> Response:
    """Chunks of the space for a question, best first, with their place in both result lists."""
    names = [name.strip() for value in doc_types or () for name in value.split(",")]
    query = SearchQuery(
        q,
        clean_space_id(space_id),
        chosen_top_k(services.limits, top_k),
        tuple(parse_doc_type(name) for name in names if name),
    )
    timings = Timings()
    results, cached = await services.retriever.search(query, timings)
    services.metrics.cache("search", cached)
    if not cached:
        services.metrics.observe_timings(timings.report())
    body = SearchResponse.model_construct(
        q=q,
        space_id=query.space_id,
        results=[SearchHit.of(scored) for scored in results],
        cached=cached,
        timings={stage: round(seconds, 5) for stage, seconds in timings.report().items()},
    )
    # Everything in it was made by us, so it is not validated a second time.
    return Response(body.model_dump_json(), media_type="application/json")

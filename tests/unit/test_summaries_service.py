from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import cast

import pytest

from backend.core.errors import (
    ConfigurationError,
    Conflict,
    DependencyError,
    NotFound,
    NotReady,
)
from backend.core.ports import DocumentStore, VectorStore
from backend.core.summaries import Summary, SummaryProgress, SummaryRequest, SummaryStarted
from backend.services.summarize.service import Summaries
from tests.factories import record, version
from tests.fakes.summary_engine import Shelf, SteppedEngine
from tests.fakes.summary_store import MemorySummaryStore

ASKED = SummaryRequest("d1", "s")


async def usual_tokens() -> int:
    return 300


def summaries(
    shelf: Shelf, engine: SteppedEngine | None, store: MemorySummaryStore | None = None
) -> Summaries:
    return Summaries(
        documents=cast(DocumentStore, shelf),
        vectors=cast(VectorStore, shelf),
        store=store or MemorySummaryStore(),
        engine=engine,
        usual_tokens=usual_tokens,
        why_not="LLM_MODE=none.",
    )


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_summary_is_made_once_and_then_remembered() -> None:
    engine = SteppedEngine()
    service = summaries(Shelf("d1"), engine)

    first, second = await service.summarize(ASKED), await service.summarize(ASKED)

    assert (first.text, first.cached) == ("summary 1", False)
    assert (second.text, second.cached) == ("summary 1", True)
    assert len(engine.tasks) == 1


@pytest.mark.parametrize(
    "other",
    [
        SummaryRequest("d1", "s", focus="сроки"),
        SummaryRequest("d1", "s", language="en"),
        SummaryRequest("d1", "s", max_tokens=100),
        SummaryRequest("d1", "s", structured=True),
    ],
)
async def test_another_wish_is_another_summary(other: SummaryRequest) -> None:
    engine = SteppedEngine()
    service = summaries(Shelf("d1"), engine)
    await service.summarize(ASKED)

    assert not (await service.summarize(other)).cached


async def test_a_new_model_prompt_or_content_makes_the_old_summary_stale() -> None:
    engine, shelf = SteppedEngine(), Shelf("d1")
    service = summaries(shelf, engine)
    await service.summarize(ASKED)

    shelf.change("d1", "v2")
    assert (await service.status("d1")).status == "stale"
    assert not (await service.summarize(ASKED)).cached
    engine.prompts = "p2"
    assert not (await service.summarize(ASKED)).cached
    engine.model = "another"
    assert not (await service.summarize(ASKED)).cached


async def test_a_new_version_sweeps_the_summaries_of_the_old_one() -> None:
    engine, shelf, store = SteppedEngine(), Shelf("d1"), MemorySummaryStore()
    service = summaries(shelf, engine, store)
    await service.summarize(ASKED)
    shelf.change("d1", "v2")

    await service.summarize(ASKED)

    assert [kept.key.content_sha256 for kept in store.records.values()] == ["sha-of-v2"]


async def test_ten_callers_have_one_set_of_model_calls() -> None:
    engine = SteppedEngine(waits=True)
    service = summaries(Shelf("d1"), engine)
    callers = [asyncio.create_task(service.summarize(ASKED)) for _ in range(10)]
    await settle()
    engine.go()

    found = await asyncio.gather(*callers)

    assert len(engine.tasks) == 1
    assert {summary.text for summary in found} == {"summary 1"}


async def test_the_model_stops_with_the_last_caller_only() -> None:
    engine = SteppedEngine(waits=True)
    service = summaries(Shelf("d1"), engine)
    callers = [asyncio.create_task(service.summarize(ASKED)) for _ in range(10)]
    await settle()
    for caller in callers[:9]:
        caller.cancel()
    await settle()
    assert engine.running == 1

    callers[9].cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    assert engine.running == 0


async def test_a_stream_ends_with_the_summary() -> None:
    service = summaries(Shelf("d1"), SteppedEngine())
    async with aclosing(service.stream(ASKED)) as events:
        told = [numbered.event async for numbered in events]

    assert [type(event) for event in told] == [SummaryStarted, SummaryProgress, Summary]


async def test_finished_parts_are_handed_to_the_next_try_and_dropped_when_all_is_done() -> None:
    engine, store = SteppedEngine(DependencyError("down", dependency="vllm")), MemorySummaryStore()
    service = summaries(Shelf("d1"), engine, store)
    with pytest.raises(DependencyError):
        await service.summarize(ASKED)
    assert len(store.finished) == 1

    await service.summarize(ASKED)

    assert [len(task.finished) for task in engine.tasks] == [0, 1]
    assert store.finished == {}


async def test_a_failure_is_not_remembered() -> None:
    engine = SteppedEngine(DependencyError("down", dependency="vllm"))
    service = summaries(Shelf("d1"), engine)
    with pytest.raises(DependencyError):
        await service.summarize(ASKED)

    assert (await service.summarize(ASKED)).text == "summary 2"


async def test_a_document_changed_meanwhile_gives_no_summary_of_the_old_text() -> None:
    engine, shelf, store = SteppedEngine(waits=True), Shelf("d1"), MemorySummaryStore()
    service = summaries(shelf, engine, store)
    caller = asyncio.create_task(service.summarize(ASKED))
    await settle()
    shelf.change("d1", "v2")
    engine.go()

    with pytest.raises(Conflict, match="changed"):
        await caller
    assert store.records == {}


async def test_a_document_deleted_meanwhile_leaves_no_parts_of_its_text() -> None:
    engine, shelf, store = SteppedEngine(waits=True), Shelf("d1"), MemorySummaryStore()
    caller = asyncio.create_task(summaries(shelf, engine, store).summarize(ASKED))
    await settle()
    del shelf.documents["d1"]
    engine.go()

    with pytest.raises(NotFound):
        await caller
    assert store.finished == {}


async def test_sweeping_keeps_the_parts_that_a_next_try_can_use() -> None:
    store, shelf = MemorySummaryStore(), Shelf("d1", "d2", "d3")
    down = [DependencyError("down", dependency="vllm") for _ in range(3)]
    service = summaries(shelf, SteppedEngine(*down), store)
    for doc_id in ("d1", "d2", "d3"):
        with pytest.raises(DependencyError):
            await service.summarize(SummaryRequest(doc_id, "s"))
    shelf.change("d2", "v2")
    del shelf.documents["d3"]

    await service.sweep()

    assert [key.doc_id for key in await store.begun()] == ["d1"]


async def test_what_cannot_be_summarized_says_why() -> None:
    shelf = Shelf("d1")
    shelf.documents["new"] = record("new", pending=version())
    service = summaries(shelf, SteppedEngine())

    with pytest.raises(NotFound):
        await service.summarize(SummaryRequest("absent", "s"))
    with pytest.raises(NotFound):
        await service.summarize(SummaryRequest("d1", "another-space"))
    with pytest.raises(NotReady, match="indexed"):
        await service.summarize(SummaryRequest("new", "s"))
    with pytest.raises(ConfigurationError, match="LLM_MODE=none"):
        await summaries(shelf, None).summarize(ASKED)


async def test_a_summary_that_cannot_be_kept_is_shown_with_a_warning() -> None:
    class Full(MemorySummaryStore):
        async def put(self, record: object) -> None:
            raise DependencyError("disk full", dependency="qdrant")

    found = await summaries(Shelf("d1"), SteppedEngine(), Full()).summarize(ASKED)

    assert found.text == "summary 1"
    assert "disk full" in found.warnings[0]


async def test_regenerating_keeps_the_old_summary_until_the_new_one_is_there() -> None:
    service = summaries(Shelf("d1"), SteppedEngine())
    await service.summarize(ASKED)

    wanted = await service.want(ASKED, again=True)

    assert wanted.state == "pending"
    assert (await service.summarize(ASKED)).text == "summary 1"
    await service.make_pending(wanted)
    assert (await service.summarize(ASKED)).text == "summary 2"


async def test_bulk_says_what_becomes_of_each_document() -> None:
    service = summaries(Shelf("d1", "d2", "d3"), SteppedEngine())
    await service.summarize(ASKED)

    answer = await service.want_all("s", ["d1", "d2", "absent", "d2"])
    whole = await service.want_all("s", None)

    assert (answer.ready, answer.pending, answer.not_found) == (("d1",), ("d2",), ("absent",))
    assert set(whole.pending) == {"d2", "d3"}


async def test_deleting_removes_every_summary_of_the_document() -> None:
    service = summaries(Shelf("d1", "d2"), SteppedEngine())
    await service.summarize(ASKED)
    await service.summarize(SummaryRequest("d1", "s", language="en"))
    await service.summarize(SummaryRequest("d2", "s"))

    assert await service.delete("d1") == 2

    assert (await service.status("d1")).status == "none"
    assert (await service.status("d2")).status == "ready"


async def test_the_status_of_a_summary_being_made_has_its_progress() -> None:
    engine = SteppedEngine(waits=True)
    service = summaries(Shelf("d1"), engine)
    wanted = await service.want(ASKED)
    assert (await service.status("d1")).status == "pending"
    work = asyncio.create_task(service.make_pending(wanted))
    await settle()

    found = await service.status("d1")

    assert found.status == "running"
    assert found.progress is not None
    engine.go()
    await work
    assert (await service.status("d1")).status == "ready"


async def test_background_work_is_hurried_when_somebody_asks_for_it() -> None:
    engine = SteppedEngine(waits=True)
    service = summaries(Shelf("d1"), engine)
    work = asyncio.create_task(service.make_pending(await service.want(ASKED)))
    await settle()
    caller = asyncio.create_task(service.summarize(ASKED))
    await settle()
    engine.go()
    await asyncio.gather(work, caller)

    assert engine.in_background == [False]
    assert len(engine.tasks) == 1

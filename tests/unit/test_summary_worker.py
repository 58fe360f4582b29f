from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from backend.core.errors import SummaryPartFailed, UnusableCompletion
from backend.core.summaries import SummaryRequest
from backend.services.summarize.service import Summaries
from backend.services.summarize.worker import SummaryWorker
from tests.fakes.summary_engine import Shelf, SteppedEngine
from tests.fakes.summary_store import MemorySummaryStore
from tests.unit.test_summaries_service import summaries


@asynccontextmanager
async def working(
    service: Summaries, store: MemorySummaryStore, parallel: int = 2
) -> AsyncIterator[None]:
    worker = SummaryWorker(service, store, parallel=lambda: parallel, again_after_s=0.01)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


def states(store: MemorySummaryStore) -> set[str]:
    return {record.state for record in store.records.values()}


def nonsense() -> SummaryPartFailed:
    error = SummaryPartFailed("part 2 of 5", dependency="vllm", part=2, parts=5, cause="nonsense")
    error.__cause__ = UnusableCompletion("letters", dependency="vllm", reason="nonsense")
    return error


async def test_what_an_earlier_process_left_pending_is_made() -> None:
    store, shelf = MemorySummaryStore(), Shelf("d1", "d2", "d3")
    await summaries(shelf, SteppedEngine(), store).want_all("s", None)

    engine = SteppedEngine()
    async with working(summaries(shelf, engine, store), store):
        await until(lambda: states(store) == {"ready"})

    assert len(engine.tasks) == 3
    assert engine.in_background == [True, True, True]


async def test_a_new_wish_wakes_the_worker() -> None:
    store, engine = MemorySummaryStore(), SteppedEngine()
    service = summaries(Shelf("d1"), engine, store)
    async with working(service, store):
        await asyncio.sleep(0)
        await service.want(SummaryRequest("d1", "s"))
        await until(lambda: states(store) == {"ready"})


async def test_no_more_documents_than_allowed_are_worked_on_at_once() -> None:
    store, engine = MemorySummaryStore(), SteppedEngine(waits=True)
    service = summaries(Shelf("d1", "d2", "d3", "d4"), engine, store)
    await service.want_all("s", None)
    async with working(service, store, parallel=2):
        await until(lambda: engine.running == 2)
        await asyncio.sleep(0.02)
        assert engine.running == 2
        engine.go()
        await until(lambda: states(store) == {"ready"})


async def test_a_model_that_is_down_costs_no_attempt() -> None:
    down = [
        SummaryPartFailed("part 1 of 5", dependency="vllm", part=1, parts=5, cause="down")
        for _ in range(6)
    ]
    store, engine = MemorySummaryStore(), SteppedEngine(*down)
    service = summaries(Shelf("d1"), engine, store)
    await service.want(SummaryRequest("d1", "s"))
    async with working(service, store):
        await until(lambda: states(store) == {"ready"})

    assert len(engine.tasks) == 7


async def test_a_part_that_fails_again_and_again_is_given_up_with_its_reason() -> None:
    store, engine = MemorySummaryStore(), SteppedEngine(*(nonsense() for _ in range(9)))
    service = summaries(Shelf("d1"), engine, store)
    await service.want(SummaryRequest("d1", "s"))
    async with working(service, store):
        await until(lambda: states(store) == {"failed"})

    (record,) = store.records.values()
    assert (record.error_code, record.error) == ("summary_part_failed", "part 2 of 5")
    assert len(engine.tasks) == 3


async def test_a_document_that_is_gone_is_no_longer_pending() -> None:
    store, shelf = MemorySummaryStore(), Shelf("d1")
    service = summaries(shelf, SteppedEngine(), store)
    await service.want(SummaryRequest("d1", "s"))
    del shelf.documents["d1"]
    async with working(service, store):
        await until(lambda: not store.records)


async def test_a_document_that_was_changed_is_summarized_as_it_is_now() -> None:
    store, shelf, engine = MemorySummaryStore(), Shelf("d1"), SteppedEngine()
    service = summaries(shelf, engine, store)
    await service.want(SummaryRequest("d1", "s", focus="сроки"))
    shelf.change("d1", "v2")
    async with working(service, store):
        await until(lambda: states(store) == {"ready"})

    (record,) = store.records.values()
    assert (record.key.content_sha256, record.key.focus) == ("sha-of-v2", "сроки")


async def test_a_wish_for_another_model_is_done_by_the_one_there_is() -> None:
    store, shelf, engine = MemorySummaryStore(), Shelf("d1"), SteppedEngine()
    await summaries(shelf, engine, store).want(SummaryRequest("d1", "s"))
    engine.model = "newer"
    async with working(summaries(shelf, engine, store), store):
        await until(lambda: states(store) == {"ready"})

    (record,) = store.records.values()
    assert record.key.model == "newer"


async def test_stopping_leaves_the_work_pending_and_the_model_free() -> None:
    store, engine = MemorySummaryStore(), SteppedEngine(waits=True)
    service = summaries(Shelf("d1"), engine, store)
    await service.want(SummaryRequest("d1", "s"))
    async with working(service, store):
        await until(lambda: engine.running == 1)

    assert engine.running == 0
    assert states(store) == {"pending"}

"""What every SummaryStore must do: on Edge, on the client's in-memory server, in the double, and
on a real server when QDRANT_URL is set."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient

from backend.adapters.stores.points import EdgePoints, ServerPoints
from backend.adapters.stores.summaries import SUMMARY_FIELDS, PointSummaryStore
from backend.core.ports import SummaryStore
from backend.core.summaries import (
    ActionItem,
    Decision,
    FinishedPart,
    Structure,
    Summary,
    SummaryKey,
    SummaryRecord,
)
from backend.core.types import TokenUsage
from tests.fakes.summary_store import MemorySummaryStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = SummaryKey("d1", "s", "sha", "модель", "p1", "ru", "сроки", 300, True)


@pytest.fixture(
    params=["double", "edge", "memory", pytest.param("server", marks=pytest.mark.server)]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SummaryStore]:
    if request.param == "double":
        yield MemorySummaryStore()
        return
    if request.param == "edge":
        edge = PointSummaryStore(EdgePoints(tmp_path / "s", keyword_fields=SUMMARY_FIELDS))
        await edge.open()
        yield edge
        await edge.close()
        return
    if request.param == "server" and "QDRANT_URL" not in os.environ:
        pytest.skip("no Qdrant server: set QDRANT_URL")
    address = os.environ["QDRANT_URL"] if request.param == "server" else None
    client = AsyncQdrantClient(url=address) if address else AsyncQdrantClient(":memory:")
    name = f"test_{uuid4().hex}_summaries"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        server = PointSummaryStore(ServerPoints(client, name, keyword_fields=SUMMARY_FIELDS))
        await server.open()
        yield server
    await client.delete_collection(name)
    await client.close()


def record(doc_id: str = "d1", *, minute: int = 0, **changes: object) -> SummaryRecord:
    base = SummaryRecord(
        replace(KEY, doc_id=doc_id), f"{doc_id}.md", "pending", NOW + timedelta(minutes=minute)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def summary(key: SummaryKey = KEY) -> Summary:
    return Summary(
        text="Итог: сдача 15 января.",
        key=key,
        source="d1.md",
        strategy="map_reduce",
        parts=3,
        levels=1,
        chunks_processed=12,
        tokens=TokenUsage(1000, 200),
        seconds=3.5,
        generated_at=NOW,
        unsupported=("16 января",),
        structure=Structure(
            decisions=(Decision("перенести срок", "Ирина", "15 января"),),
            action_items=(ActionItem("отчёт", None, "пятница"),),
            topics=("сроки",),
        ),
        warnings=("a warning",),
        timings={"map": 2.5},
    )


def part(index: int, key: SummaryKey = KEY) -> FinishedPart:
    return FinishedPart(key.id, "map", 0, index, "sha", f"часть {index}", TokenUsage(10, 5))


async def test_a_record_comes_back_as_it_was_put(store: SummaryStore) -> None:
    ready = record(state="ready", summary=summary(), attempts=2, error_code="e", error="почему")

    await store.put(ready)

    assert await store.get(KEY.id) == ready
    assert await store.get(replace(KEY, focus="другое").id) is None


async def test_putting_a_key_again_replaces_its_record(store: SummaryStore) -> None:
    await store.put(record())
    await store.put(record(state="ready", summary=summary()))

    assert [found.state for found in await store.of_document("d1")] == ["ready"]
    assert await store.pending() == []


async def test_the_pending_ones_come_oldest_first(store: SummaryStore) -> None:
    await store.put(record("d2", minute=2))
    await store.put(record("d1", minute=1))
    await store.put(record("d3", minute=3, state="failed"))

    assert [found.key.doc_id for found in await store.pending()] == ["d1", "d2"]


async def test_records_of_a_document_come_newest_first(store: SummaryStore) -> None:
    await store.put(record(minute=1))
    await store.put(record(minute=2, key=replace(KEY, language="en")))
    await store.put(record("d2"))

    found = await store.of_document("d1")

    assert [known.key.language for known in found] == ["en", "ru"]


async def test_states_are_counted_in_a_space_or_in_all(store: SummaryStore) -> None:
    await store.put(record("d1"))
    await store.put(record("d2", state="ready", summary=summary()))
    await store.put(record("d3", key=replace(KEY, doc_id="d3", space_id="t")))

    here, everywhere = await store.counts("s"), await store.counts()

    assert {state: count for state, count in here.items() if count} == {"pending": 1, "ready": 1}
    assert {state: count for state, count in everywhere.items() if count} == {
        "pending": 2,
        "ready": 1,
    }


async def test_finished_parts_are_kept_once_each_until_dropped(store: SummaryStore) -> None:
    other = replace(KEY, doc_id="d2")
    for finished in (part(0), part(1), part(1)):
        await store.put_part(KEY, finished)
    await store.put_part(other, part(0, other))
    assert {key.doc_id for key in await store.begun()} == {"d1", "d2"}

    found = await store.parts(KEY.id)
    assert sorted(found, key=lambda finished: finished.index) == [part(0), part(1)]

    await store.drop_parts(KEY.id)
    assert await store.parts(KEY.id) == []
    assert await store.parts(other.id) == [part(0, other)]


async def test_removing_a_key_takes_its_parts_along_and_no_other(store: SummaryStore) -> None:
    await store.put(record("d1"))
    await store.put(record("d2"))
    await store.put_part(KEY, part(0))

    await store.remove([KEY.id])
    await store.remove([KEY.id])

    assert await store.get(KEY.id) is None
    assert await store.parts(KEY.id) == []
    assert len(await store.pending()) == 1


async def test_a_document_that_is_forgotten_leaves_neither_records_nor_parts(
    store: SummaryStore,
) -> None:
    english, other = replace(KEY, language="en"), replace(KEY, doc_id="d2")
    await store.put(record("d1"))
    await store.put(record("d2"))
    for key in (KEY, english, other):
        await store.put_part(key, part(0, key))

    await store.forget("d1")

    assert await store.of_document("d1") == []
    assert [key.doc_id for key in await store.begun()] == ["d2"]
    assert len(await store.pending()) == 1


async def test_what_was_put_is_there_when_the_embedded_store_opens_again(tmp_path: Path) -> None:
    first = PointSummaryStore(EdgePoints(tmp_path / "s", keyword_fields=SUMMARY_FIELDS))
    await first.open()
    await first.put(record())
    await first.put_part(KEY, part(0))
    await first.close()

    again = PointSummaryStore(EdgePoints(tmp_path / "s", keyword_fields=SUMMARY_FIELDS))
    await again.open()

    assert await again.get(KEY.id) == record()
    assert await again.parts(KEY.id) == [part(0)]
    await again.close()

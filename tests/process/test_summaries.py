"""Summaries of the backend as its own process, which is killed, left and asked in between."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.adapters.stores.points import EdgePoints
from backend.adapters.stores.summaries import SUMMARY_FIELDS, PointSummaryStore
from backend.core.language import detect_language
from tests.fakes.prose import prose
from tests.fakes.summary_server import MODEL, SummaryServer, good_summary, summary_server
from tests.process.backend_process import RunningBackend, running_backend, until

pytestmark = pytest.mark.loopback

DOCUMENTS = 30
KILLS = int(os.environ.get("SUMMARY_KILLS", "6"))


@contextmanager
def backend_on(data: Path, server: SummaryServer, **settings: str) -> Iterator[RunningBackend]:
    with running_backend(
        data,
        LLM_MODE="vllm",
        LLM_MODEL=MODEL,
        LLM_VLLM_URL=f"{server.url}/v1",
        LLM_CANARY="off",
        EMBED_PROVIDER="openai",
        EMBED_MODEL=MODEL,
        EMBED_URL=server.url,
        LLM_MAX_CONCURRENCY=str(server.sequences),
        SUMMARY_PART_TOKENS="100",
        **settings,
    ) as backend:
        yield backend


def put(backend: RunningBackend, text: str, source: str) -> str:
    form = {"space_id": "s", "source": source}
    sent = backend.client.post("/ingest", files={"file": (source, text.encode())}, data=form)
    sent.raise_for_status()
    return str(sent.json()["doc_id"])


def bulk(backend: RunningBackend) -> dict[str, Any]:
    response = backend.client.post("/bulk-summarize", json={"space_id": "s"})
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def stats(backend: RunningBackend) -> dict[str, Any]:
    found: dict[str, Any] = backend.client.get("/summary-stats").json()
    return found


def ready(backend: RunningBackend, doc_ids: list[str]) -> set[str]:
    return {
        doc_id
        for doc_id in doc_ids
        if backend.client.get(f"/documents/{doc_id}/summary-status").json()["status"] == "ready"
    }


def scan(data: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All records and all finished parts that the store of a stopped backend holds."""

    async def read() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        points = EdgePoints(data / "summaries", keyword_fields=SUMMARY_FIELDS)
        store = PointSummaryStore(points)
        await store.open()
        try:
            return await points.where({"kind": "summary"}), await points.where({"kind": "part"})
        finally:
            await store.close()

    return asyncio.run(read())


def test_thirty_pending_summaries_survive_kills_at_random_moments(quick_folder: Path) -> None:
    data, chance = quick_folder / "data", random.Random(7)  # noqa: S311 - when to kill
    finished: dict[str, int] = {}  # document: calls of the model when it was seen to be ready
    with summary_server(SummaryServer(sequences=4)) as server:
        with backend_on(data, server) as backend:
            texts = documents(backend)
            server.seconds = lambda asked: 0.03
            assert len(bulk(backend)["pending"]) == DOCUMENTS
            kill(backend, server, chance)
        for _ in range(KILLS - 1):
            with backend_on(data, server) as backend:
                done = ready(backend, list(texts))
                finished |= {doc_id: len(server.asked) for doc_id in done - finished.keys()}
                kill(backend, server, chance)
        with backend_on(data, server) as backend:
            until(lambda: stats(backend)["ready"] == DOCUMENTS)
            calls = len(server.asked)
            answers = [summarize(backend, doc_id).json() for doc_id in texts]
            assert len(server.asked) == calls
    records, parts = scan(data)

    assert sorted(record["doc_id"] for record in records) == sorted(texts)
    assert {record["state"] for record in records} == {"ready"}
    assert parts == []
    assert all(answer["cached"] for answer in answers)
    assert {detect_language(answer["summary"]) for answer in answers} == {"ru", "en"}
    for doc_id, seen in finished.items():
        later = "".join(text for asked in server.asked[seen:] for text in asked.texts)
        assert texts[doc_id] not in later
    # What was answered in the moment of a kill may be lost, and nothing else.
    times = Counter(asked.sha256 for asked in server.answered)
    assert times.total() - len(times) <= KILLS * server.sequences


def kill(backend: RunningBackend, server: SummaryServer, chance: random.Random) -> None:
    """After some more calls of the model."""
    goal = len(server.answered) + chance.randrange(1, 18)
    until(lambda: len(server.answered) >= goal or stats(backend)["pending"] == 0)
    backend.kill()


def documents(backend: RunningBackend, count: int = DOCUMENTS) -> dict[str, str]:
    """Their ids, and a word that only this one has and begins with."""
    found = {}
    for n in range(count):
        word = f"Doc{n:03}x"
        text = f"{word} {prose('ru' if n % 2 else 'en', 300, seed=n)}"
        found[put(backend, text, f"{n:02}.txt")] = word
    return found


def summarize(backend: RunningBackend, doc_id: str) -> httpx.Response:
    return backend.client.post("/summarize", json={"doc_id": doc_id, "space_id": "s"})


# --- callers who leave ---------------------------------------------------------------------------


def test_the_server_is_free_when_the_last_of_ten_callers_has_left(quick_folder: Path) -> None:
    with (
        summary_server(SummaryServer(sequences=4)) as server,
        backend_on(quick_folder / "data", server) as backend,
    ):
        doc_id = put(backend, prose("ru", 1500), "plan.txt")
        server.held = lambda asked: asked.number > 2
        asyncio.run(ten_callers(str(backend.client.base_url), doc_id, server))

        until(lambda: server.busy == 0, seconds=5)
        left = [asked for asked in server.ended if asked.ended == "left"]
        server.held = lambda asked: False
        again = summarize(backend, doc_id).json()

    assert len(left) == server.sequences
    assert again["cached"] is False
    times = Counter(asked.sha256 for asked in server.answered)
    # What was finished before they left was not made again; the two answers that came as they left
    # may not have been kept.
    assert {times[asked.sha256] for asked in server.answered[:2]} == {1}
    assert times.total() - len(times) <= 2


async def ten_callers(url: str, doc_id: str, server: SummaryServer) -> None:
    """Nine leave, the work goes on; then the tenth leaves too."""
    body = {"doc_id": doc_id, "space_id": "s"}
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        ways = ["/summarize", "/summarize-stream"] * 5
        callers = [asyncio.create_task(client.post(way, json=body)) for way in ways]
        await becomes(lambda: server.busy == server.sequences)
        await asyncio.sleep(0.2)  # all ten are there
        asked = len(server.asked)
        assert len({one.sha256 for one in server.asked}) == asked
        for caller in callers[:9]:
            caller.cancel()
        await asyncio.gather(*callers[:9], return_exceptions=True)
        server.held = lambda one: one.number > 4
        await becomes(lambda: len(server.asked) >= asked + 2)
        assert [one for one in server.ended if one.ended == "left"] == []
        callers[9].cancel()
        await asyncio.gather(callers[9], return_exceptions=True)


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


# --- questions first -----------------------------------------------------------------------------


def test_a_question_is_answered_before_the_summaries_that_nobody_waits_for(
    quick_folder: Path,
) -> None:
    with (
        summary_server(SummaryServer(sequences=1)) as server,
        backend_on(quick_folder / "data", server) as backend,
    ):
        doc_ids = list(documents(backend, 3))
        server.held = lambda asked: asked.kind != "question"
        server.answer = lambda asked: (
            "В документе [1]." if asked.kind == "question" else good_summary(asked)
        )
        bulk(backend)
        until(lambda: server.busy == 1)
        question = {"q": "Кто отвечает за Лотму?", "space_id": "s"}
        answer = backend.client.post("/ask", json=question)
        order = [asked.kind for asked in server.answered]
        server.held = lambda asked: False
        until(lambda: ready(backend, doc_ids) == set(doc_ids))

    assert answer.status_code == 200
    assert order == ["question"]

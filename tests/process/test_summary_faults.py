"""The model's answers replaced at random: each summary comes out right or as a typed error, and
nothing wrong is kept."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from backend.core.language import detect_language
from tests.fakes.prose import prose
from tests.fakes.summary_server import (
    FOREIGN,
    NONSENSE,
    Asked,
    Fault,
    SummaryServer,
    good_summary,
    summary_server,
)
from tests.fakes.summary_store import MemorySummaryStore
from tests.process.summary_app import put, summary_app, texts_kept

pytestmark = pytest.mark.loopback

FAULTS: tuple[Fault, ...] = ("nonsense", "empty", "language", "500", "page", "half", "cut")
TYPED = {"summary_part_failed", "dependency_down", "dependency_failed", "dependency_rejected"}
DOCUMENTS = 12


class Dice:
    """``share`` of the answers, evenly by kind of fault. ``wrong`` is what they may have said."""

    def __init__(self, share: float, *faults: Fault, seed: int = 3) -> None:
        self.share = share
        self.thrown = 0
        self._faults = faults
        self._chance = random.Random(seed)  # noqa: S311 - test data

    def __call__(self, asked: Asked) -> Fault:
        if self._chance.random() >= self.share:
            return "none"
        self.thrown += 1
        return self._chance.choice(self._faults)


def is_wrong(text: str, language: str) -> bool:
    said = any(one in text for one in (NONSENSE, *FOREIGN.values()))
    return said or not text.strip() or detect_language(text) != language


async def ask_all(client: httpx.AsyncClient, doc_ids: dict[str, str]) -> list[httpx.Response]:
    bodies = [{"doc_id": doc_id, "space_id": "s"} for doc_id in doc_ids]
    return await asyncio.gather(*(client.post("/summarize", json=body) for body in bodies))


async def documents(client: httpx.AsyncClient) -> dict[str, str]:
    found = {}
    for n in range(DOCUMENTS):
        language = "ru" if n % 2 else "en"
        text = prose("ru" if n % 2 else "en", 1200, seed=n)
        found[await put(client, text, f"{n}.txt")] = language
    return found


@pytest.mark.parametrize("share", [0.2, 0.5])
async def test_answers_replaced_at_random_give_a_right_summary_or_a_typed_error(
    quick_folder: Path, share: float
) -> None:
    store, dice = MemorySummaryStore(), Dice(share, *FAULTS)
    with summary_server(SummaryServer(window=2048)) as server:
        server.fault = dice
        async with summary_app(quick_folder, server, store, summary_part_tokens=300) as client:
            doc_ids = await documents(client)
            hard = await ask_all(client, doc_ids)
            kept_then = texts_kept(store)
            dice.share = 0.0
            await client.get("/health")  # closes the breaker
            healed = await ask_all(client, doc_ids)

    assert dice.thrown > 10
    assert share > 0.3 or any(one.is_success for one in hard)
    assert {one.json()["error"]["code"] for one in hard if one.is_error} <= TYPED
    for response, language in zip(hard, doc_ids.values(), strict=True):
        assert response.is_error or not is_wrong(response.json()["summary"], language)
    assert [text for text in kept_then if is_wrong(text, str(detect_language(text)))] == []
    assert [one.status_code for one in healed] == [200] * DOCUMENTS
    for response, language in zip(healed, doc_ids.values(), strict=True):
        assert not is_wrong(response.json()["summary"], language)
    assert store.finished == {}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_that_stays_is_a_typed_error_and_leaves_nothing_behind(
    quick_folder: Path, fault: Fault
) -> None:
    store = MemorySummaryStore()
    with summary_server(SummaryServer(window=2048)) as server:
        server.fault = lambda asked: fault
        async with summary_app(quick_folder, server, store, summary_part_tokens=300) as client:
            doc_id = await put(client, prose("ru", 1200), "plan.txt")
            response = await client.post("/summarize", json={"doc_id": doc_id, "space_id": "s"})

    error = response.json()["error"]
    assert error["code"] in TYPED
    assert error["code"] != "summary_part_failed" or 1 <= error["part"] <= error["parts"]
    assert texts_kept(store) == []


async def test_a_bad_answer_costs_one_more_call_and_not_the_summary(quick_folder: Path) -> None:
    with summary_server(SummaryServer(window=2048)) as server:
        server.fault = lambda asked: "nonsense" if asked.number == 2 else "none"
        async with summary_app(quick_folder, server, summary_part_tokens=300) as client:
            doc_id = await put(client, prose("en", 1200), "plan.txt")
            response = await client.post("/summarize", json={"doc_id": doc_id, "space_id": "s"})

    assert response.status_code == 200
    assert not is_wrong(response.json()["summary"], "en")
    calls = {asked.sha256 for asked in server.asked}
    assert len(server.asked) == len(calls) + 1
    assert good_summary(server.answered[-1]).startswith(response.json()["summary"][:20])

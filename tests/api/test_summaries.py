from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.core.errors import DependencyError, DependencyRejected
from tests.api.conftest import OpenClient, eventually, put
from tests.fakes.extracting import ExtractingGenerator
from tests.fakes.memory_folder import memory_folder
from tests.fakes.prose import prose

MINUTES = (
    "# Протокол\n\nСрок сдачи проекта — 15 января 2027 года. Ответственная за сдачу — Ирина "
    "Соколова. Бюджет проекта составил 240 тысяч рублей."
)
LONG = prose("ru", 2500)
SMALL_PARTS = {"summary_part_tokens": 300}


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as folder:
        yield folder


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: dict[str, Any]
    id: str | None


def events_of(text: str) -> list[Event]:
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":")
        if fields:
            found.append(Event(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def body(doc_id: str, **more: object) -> dict[str, object]:
    return {"doc_id": doc_id, "space_id": "s"} | more


async def indexed(client: httpx.AsyncClient, text: str = MINUTES, **form: str) -> str:
    return str((await put(client, text, **form)).json()["doc_id"])


async def status(client: httpx.AsyncClient, doc_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/documents/{doc_id}/summary-status")).json()
    return found


async def becomes(client: httpx.AsyncClient, doc_id: str, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while (found := await status(client, doc_id))["status"] != wanted:
            await asyncio.sleep(0.01)
    return found


# --- /summarize ------------------------------------------------------------------------------


async def test_a_short_document_is_summarized_in_one_call(open_client: OpenClient) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model) as client:
        found = (await client.post("/summarize", json=body(await indexed(client)))).json()

    assert found["summary"].startswith("Срок сдачи проекта — 15 января 2027 года.")
    assert (found["strategy"], found["parts"], found["cached"]) == ("single", 1, False)
    assert (found["model"], found["language"]) == ("scripted", "ru")
    assert found["chunks_processed"] >= 1
    assert found["unsupported"] == []
    assert found["timings"]["total"] >= 0
    assert found["seconds"] >= 0
    assert found["generated_at"]
    assert len(model.calls) == 1


async def test_what_the_summary_made_up_is_named(open_client: OpenClient) -> None:
    text = f"{MINUTES.partition('# Протокол')[2].strip()} Проект ведёт отдел из 77 человек."
    async with open_client(generator=ExtractingGenerator(says=text)) as client:
        found = (await client.post("/summarize", json=body(await indexed(client)))).json()

    assert any("77" in item for item in found["unsupported"])


async def test_a_long_document_is_summarized_in_parts(open_client: OpenClient) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model, **SMALL_PARTS) as client:
        found = (await client.post("/summarize", json=body(await indexed(client, LONG)))).json()

    assert found["strategy"] == "map_reduce"
    assert found["parts"] > 2
    assert found["levels"] >= 1
    assert {"cut", "map", "merge", "check", "total"} <= set(found["timings"])
    assert found["tokens"]["prompt_tokens"] > 0


async def test_the_second_request_is_answered_from_the_store(open_client: OpenClient) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model) as client:
        doc_id = await indexed(client)
        first = (await client.post("/summarize", json=body(doc_id))).json()
        second = (await client.post("/summarize", json=body(doc_id))).json()

    assert (first["cached"], second["cached"]) == (False, True)
    assert second["timings"] == {}
    same = {"cached": None, "timings": None}
    assert first | same == second | same
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    "other", [{"focus": "сроки"}, {"max_tokens": 64}, {"language": "ru", "focus": "деньги"}]
)
async def test_another_wish_is_another_summary(
    open_client: OpenClient, other: dict[str, object]
) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model) as client:
        doc_id = await indexed(client)
        await client.post("/summarize", json=body(doc_id))
        found = (await client.post("/summarize", json=body(doc_id, **other))).json()

    assert found["cached"] is False
    assert found["focus"] == other.get("focus", "")


async def test_without_a_space_the_default_one_is_meant(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client, space_id="default")
        response = await client.post("/summarize", json={"doc_id": doc_id})

    assert response.json()["space_id"] == "default"


async def test_a_body_without_a_content_type_is_read_as_json(open_client: OpenClient) -> None:
    """As ``curl -d`` sends it."""
    async with open_client(generator=ExtractingGenerator()) as client:
        sent = json.dumps(body(await indexed(client))).encode()
        form = {"content-type": "application/x-www-form-urlencoded"}
        answers = [
            await client.post(path, content=sent, headers=headers)
            for path in ("/summarize", "/summarize-stream")
            for headers in ({}, form)
        ]

    assert [answer.status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_tokens": 1}, 422),
        ({"language": "fr"}, 422),
        ({"focus": "x" * 1001}, 422),
        ({"doc_id": "absent"}, 404),
        ({"space_id": "another"}, 404),
    ],
)
@pytest.mark.parametrize("path", ["/summarize", "/summarize-stream"])
async def test_what_cannot_be_done_has_a_status_of_its_own(
    open_client: OpenClient, path: str, changes: dict[str, object], expected: int
) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        response = await client.post(path, json=body(await indexed(client)) | changes)

    assert response.status_code == expected
    assert response.json()["error"]["request_id"]


@pytest.mark.parametrize("path", ["/summarize", "/summarize-stream"])
async def test_without_a_model_the_error_says_which_setting(
    open_client: OpenClient, path: str
) -> None:
    async with open_client() as client:
        response = await client.post(path, json=body(await indexed(client)))

    assert (response.status_code, response.json()["error"]["code"]) == (500, "configuration")
    assert "LLM_MODE" in response.json()["error"]["message"]


async def test_a_part_that_fails_fails_the_whole_with_its_number(open_client: OpenClient) -> None:
    broken = [DependencyRejected("no", dependency="vllm", status=500) for _ in range(40)]
    async with open_client(generator=ExtractingGenerator(*broken), **SMALL_PARTS) as client:
        doc_id = await indexed(client, LONG)
        response = await client.post("/summarize", json=body(doc_id))
        after = await status(client, doc_id)

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "summary_part_failed")
    assert 1 <= error["part"] <= error["parts"]
    assert after["status"] == "none"


# --- /summarize-stream -----------------------------------------------------------------------


async def streamed(client: httpx.AsyncClient, doc_id: str, **headers: str) -> httpx.Response:
    return await client.post("/summarize-stream", json=body(doc_id), headers=headers)


async def test_a_stream_tells_what_happens_in_order(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator(), **SMALL_PARTS) as client:
        response = await streamed(client, await indexed(client, LONG))

    events = events_of(response.text)
    names = [event.name for event in events]
    told = [name for name in dict.fromkeys(names) if name != "queued"]
    assert told == ["start", "processing", "partial", "progress", "merge", "summary", "complete"]
    assert names[-2:] == ["summary", "complete"]
    assert names.count("complete") == names.count("summary") == names.count("start") == 1
    assert "error" not in names
    parts = events[names.index("processing")].data["parts"]
    assert sorted(e.data["part"] for e in events if e.name == "partial") == [*range(1, parts + 1)]
    last = [e.data for e in events if e.name == "progress" and e.data["stage"] == "map"][-1]
    assert last["done"] == last["total"] == parts
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_holds_its_letters_as_they_are(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        response = await streamed(client, await indexed(client))

    assert "Срок сдачи проекта" in response.content.decode("utf-8")
    assert "\\u0" not in response.text


async def test_the_stream_and_the_whole_answer_are_the_same(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client)
        (summary,) = [
            event.data
            for event in events_of((await streamed(client, doc_id)).text)
            if event.name == "summary"
        ]
        whole = (await client.post("/summarize", json=body(doc_id))).json()
        cached = events_of((await streamed(client, doc_id)).text)

    same = {"cached": None, "timings": None}
    assert summary | same == whole | same
    assert [event.name for event in cached] == ["start", "summary", "complete"]
    assert cached[-1].data["cached"] is True


async def test_a_stream_that_broke_off_is_taken_up_where_it_was(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator(), **SMALL_PARTS) as client:
        doc_id = await indexed(client, LONG)
        events = events_of((await streamed(client, doc_id)).text)
        await client.delete(f"/documents/{doc_id}/summary")  # so that it is no cached one
        middle = len(events) // 2
        rest = await streamed(client, doc_id, **{"Last-Event-ID": str(events[middle].id)})
        end = await streamed(client, doc_id, **{"Last-Event-ID": str(events[-1].id)})

    assert events_of(rest.text) == events[middle + 1 :]
    assert events_of(end.text) == events[-2:]


async def test_an_id_of_another_document_shows_nothing_of_it(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        other = events_of((await streamed(client, await indexed(client, source="a.txt"))).text)
        mine = await indexed(client, "Бюджет нового моста составил 310 тысяч рублей.")
        response = await streamed(client, mine, **{"Last-Event-ID": str(other[0].id)})

    (summary,) = [e.data for e in events_of(response.text) if e.name == "summary"]
    assert summary["doc_id"] == mine
    assert "моста" in summary["summary"]


@pytest.mark.parametrize("wrong", ["nonsense", "a:b", "7", ":", "run:99"])
async def test_an_id_of_no_run_begins_anew(open_client: OpenClient, wrong: str) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        response = await streamed(client, await indexed(client), **{"Last-Event-ID": wrong})

    assert [event.name for event in events_of(response.text)][-1] == "complete"


async def test_a_failure_on_the_way_is_the_one_terminal_event(open_client: OpenClient) -> None:
    broken = [DependencyError("gone", dependency="vllm") for _ in range(40)]
    async with open_client(generator=ExtractingGenerator(*broken)) as client:
        response = await streamed(client, await indexed(client))

    names = [event.name for event in events_of(response.text)]
    assert response.status_code == 200
    assert names[-1] == "error"
    assert not {"complete", "summary"}.intersection(names)
    error = events_of(response.text)[-1].data["error"]
    assert (error["code"], error["part"]) == ("summary_part_failed", 1)


async def test_two_streams_at_once_share_the_work(open_client: OpenClient) -> None:
    model = ExtractingGenerator()
    model.go.clear()
    async with open_client(generator=model) as client:
        doc_id = await indexed(client)
        both = [asyncio.create_task(streamed(client, doc_id)) for _ in range(2)]
        await asyncio.sleep(0.05)
        model.go.set()
        first, second = await asyncio.gather(*both)

    assert len(model.calls) == 1
    assert events_of(first.text) == events_of(second.text)


# --- made beforehand -------------------------------------------------------------------------


async def test_ingest_with_a_summary_answers_at_once_and_makes_it_later(
    open_client: OpenClient,
) -> None:
    model = ExtractingGenerator()
    model.go.clear()
    async with open_client(generator=model) as client:
        told = (await put(client, MINUTES, generate_summary="true")).json()
        waiting = await status(client, told["doc_id"])
        model.go.set()
        done = await becomes(client, told["doc_id"], "ready")
        found = (await client.post("/summarize", json=body(told["doc_id"]))).json()

    assert told["summary_pending"] is True
    assert waiting["status"] in ("pending", "running")
    assert waiting["summary_pending"] is True
    assert (done["summary_pending"], done["language"], done["model"]) == (False, "ru", "scripted")
    assert found["cached"] is True


async def test_ingest_without_a_wish_makes_none(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        told = (await put(client, MINUTES)).json()
        found = await status(client, told["doc_id"])

    assert told.get("summary_pending", False) is False
    assert (found["status"], found["summary_pending"]) == ("none", False)


async def test_a_summary_that_cannot_be_wished_for_stops_the_upload(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        response = await put(client, MINUTES, generate_summary="true")
        listed = (await client.get("/documents", params={"space_id": "s"})).json()

    assert response.status_code == 500
    assert listed["documents"] == []


async def test_a_changed_document_has_a_stale_summary_until_it_is_made_again(
    open_client: OpenClient,
) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client)
        await client.post("/summarize", json=body(doc_id))
        await put(client, "Срок сдачи проекта перенесён на 3 марта 2028 года из-за поставки.")
        stale = await status(client, doc_id)
        again = (await client.post("/summarize", json=body(doc_id))).json()
        after = await status(client, doc_id)

    assert stale["status"] == "stale"
    assert again["cached"] is False
    assert "3 марта 2028" in again["summary"]
    assert after["status"] == "ready"


async def test_regenerating_answers_the_old_one_until_the_new_one_is_there(
    open_client: OpenClient,
) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model) as client:
        doc_id = await indexed(client)
        first = (await client.post("/summarize", json=body(doc_id))).json()
        model.go.clear()
        response = await client.post(f"/documents/{doc_id}/regenerate-summary")
        old = (await client.post("/summarize", json=body(doc_id))).json()
        model.go.set()
        await becomes(client, doc_id, "ready")
        new = (await client.post("/summarize", json=body(doc_id))).json()

    assert response.status_code == 202
    assert response.json()["summary_pending"] is True
    assert old["generated_at"] == first["generated_at"]
    assert new["generated_at"] > first["generated_at"]
    assert len(model.calls) == 2


async def test_regenerating_takes_the_same_choices(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client)
        choices = {"focus": "сроки", "max_tokens": 100}
        await client.post(f"/documents/{doc_id}/regenerate-summary", json=choices)
        await becomes(client, doc_id, "ready")
        found = (await client.post("/summarize", json=body(doc_id, **choices))).json()

    assert (found["cached"], found["focus"]) == (True, "сроки")


async def test_deleting_a_summary_forgets_it(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client)
        await client.post("/summarize", json=body(doc_id))
        await client.post("/summarize", json=body(doc_id, focus="сроки"))
        deleted = (await client.delete(f"/documents/{doc_id}/summary")).json()
        found = await status(client, doc_id)
        again = (await client.post("/summarize", json=body(doc_id))).json()

    assert deleted == {"doc_id": doc_id, "deleted": 2}
    assert found["status"] == "none"
    assert again["cached"] is False


async def test_a_deleted_document_takes_its_summaries_with_it(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        doc_id = await indexed(client)
        await client.post("/summarize", json=body(doc_id))
        await client.delete(f"/documents/{doc_id}")
        gone = await client.get(f"/documents/{doc_id}/summary-status")
        assert await indexed(client) == doc_id
        found = await status(client, doc_id)
        stats = (await client.get("/summary-stats")).json()

    assert gone.status_code == 404
    assert found["status"] == "none"
    assert stats["ready"] == 0


async def test_bulk_makes_the_summaries_of_a_space(open_client: OpenClient) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        first = await indexed(client, source="a.txt")
        second = await indexed(client, source="b.txt")
        await client.post("/summarize", json=body(first))
        told = await client.post("/bulk-summarize", json={"space_id": "s"})
        await becomes(client, second, "ready")
        chosen = {"space_id": "s", "doc_ids": [second, "absent"]}
        again = (await client.post("/bulk-summarize", json=chosen)).json()
        stats = (await client.get("/summary-stats", params={"space_id": "s"})).json()

    assert told.status_code == 202
    assert (told.json()["ready"], told.json()["pending"]) == ([first], [second])
    assert (again["ready"], again["not_found"], again["pending"]) == ([second], ["absent"], [])
    assert stats == {
        "space_id": "s", "documents": 2, "pending": 0, "running": 0, "ready": 2, "failed": 0
    }  # fmt: skip


async def test_bulk_with_force_makes_them_again(open_client: OpenClient) -> None:
    model = ExtractingGenerator()
    async with open_client(generator=model) as client:
        doc_id = await indexed(client)
        await client.post("/summarize", json=body(doc_id))
        told = await client.post("/bulk-summarize", json={"space_id": "s", "force": True})
        await eventually(lambda: len(model.calls) == 2)
        await becomes(client, doc_id, "ready")

    assert told.json()["pending"] == [doc_id]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/documents/absent/summary-status"),
        ("POST", "/documents/absent/regenerate-summary"),
        ("DELETE", "/documents/absent/summary"),
    ],
)
async def test_a_document_that_is_not_there_is_404(
    open_client: OpenClient, method: str, path: str
) -> None:
    async with open_client(generator=ExtractingGenerator()) as client:
        response = await client.request(method, path)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")

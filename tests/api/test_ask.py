from __future__ import annotations

import json

import httpx
import pytest

from backend.core.errors import DependencyError, DependencyTimeout
from tests.api.conftest import OpenClient, put
from tests.fakes.embedder import E5LikeEmbedder
from tests.fakes.generator import ScriptedGenerator

MINUTES = "# Протокол\n\nСрок сдачи проекта — 15 января 2027 года. Ответственная — Ирина Соколова."
QUESTION = {"q": "Когда срок сдачи проекта?", "space_id": "s"}


async def ask(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post("/ask", json=QUESTION | body)


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    events = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":")
        if fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


async def test_an_answer_has_a_quote_cut_from_its_source(open_client: OpenClient) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].")
    async with open_client(generator=model) as client:
        doc_id = (await put(client, MINUTES)).json()["doc_id"]
        body = (await ask(client)).json()
        text = (await client.get(f"/documents/{doc_id}/text")).text

    (citation,) = body["citations"]
    assert (body["answered"], body["language"], body["model"]) == (True, "ru", "scripted")
    assert citation["status"] in ("exact", "normalized")
    assert citation["quote"] == text[citation["char_start"] : citation["char_end"]]
    assert "15 января 2027" in citation["quote"]
    assert body["sources"][0]["cited"] is True


async def test_an_invented_marker_is_reported_beside_the_good_one(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1][7].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    by_marker = {citation["marker"]: citation for citation in body["citations"]}
    assert by_marker[1]["status"] != "unsupported"
    assert (by_marker[7]["status"], by_marker[7]["reason"]) == ("unsupported", "no_such_source")
    assert by_marker[7]["quote"] == ""


async def test_a_wrong_date_is_not_shown_as_an_answer(open_client: OpenClient) -> None:
    model = ScriptedGenerator("Проект сдаётся 3 марта 2031 года [1].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert body["answered"] is False
    assert body["sources"] == []
    assert body["draft"] == "Проект сдаётся 3 марта 2031 года [1]."
    assert body["citations"][0]["status"] == "unsupported"


async def test_a_right_statement_with_the_wrong_marker_is_an_answer_with_a_misplaced_citation(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [2].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES, "a.txt")
        await put(client, "Меню столовой: борщ и котлеты. Срок годности указан.", "b.txt")
        body = (await ask(client)).json()

    (citation,) = body["citations"]
    assert body["answered"] is True
    assert (citation["status"], citation["reason"]) == ("unsupported", "misplaced")
    assert citation["better_marker"] == 1


async def test_when_the_model_finds_no_answer_no_source_is_pretended(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("В документах нет ответа на этот вопрос.")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert (body["answered"], body["sources"], body["citations"]) == (False, [], [])


async def test_an_empty_space_is_answered_without_asking_the_model(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator()
    async with open_client(generator=model) as client:
        body = (await ask(client)).json()

    assert body["answered"] is False
    assert model.calls == []
    assert "'s'" in body["warnings"][0]


async def test_the_context_says_what_went_in_and_what_was_left_out(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("Срок 1 [1].", window=360)
    async with open_client(generator=model) as client:
        for n in range(4):
            await put(client, f"Срок {n} работ. " + "слово " * 60, f"{n}.txt")
        body = (await ask(client)).json()

    context = body["context"]
    assert context["window"] == 360
    assert context["truncated"] is False
    assert context["chunks_in"] == 2
    assert len(context["chunks_left_out"]) == 2
    assert context["prompt_tokens"] + context["max_tokens"] <= 360
    assert any("did not fit" in warning for warning in body["warnings"])


async def test_a_question_over_the_window_is_refused_with_both_numbers(
    open_client: OpenClient,
) -> None:
    async with open_client(generator=ScriptedGenerator(window=100)) as client:
        await put(client, MINUTES)
        response = await ask(client, q="Срок сдачи? " * 60)

    error = response.json()["error"]
    assert response.status_code == 413
    assert (error["window_tokens"], error["needed_tokens"] > 100) == (100, True)


async def test_an_answer_cut_by_max_tokens_says_so_and_is_not_cached(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1]", finish_reason="length")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        first = (await ask(client)).json()
        second = (await ask(client)).json()

    assert first["context"]["finish_reason"] == "length"
    assert any("LLM_MAX_TOKENS" in warning for warning in first["warnings"])
    assert second["cached"] is False


async def test_the_second_answer_is_cached_and_the_mode_is_part_of_the_key(
    open_client: OpenClient,
) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        first = (await ask(client)).json()
        second = (await ask(client)).json()
        narrower = (await ask(client, top_k=1)).json()

    assert [first["cached"], second["cached"], narrower["cached"]] == [False, True, False]
    assert second["citations"] == first["citations"]
    assert len(model.calls) == 2


async def test_the_route_says_how_the_answer_was_come_by(open_client: OpenClient) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert (body["mode"], body["route"]["mode"], body["summarized"]) == ("normal", "normal", False)
    assert "asked for" in body["route"]["reason"]
    assert 0 < body["context_tokens"] < body["context"]["prompt_tokens"]
    assert body["context_tokens"] == body["route"]["context_tokens"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DependencyTimeout("slow", dependency="vllm"), 504),
        (DependencyError("gone", dependency="vllm"), 502),
    ],
)
async def test_a_failing_model_is_an_error_and_never_cached(
    open_client: OpenClient, error: DependencyError, status: int
) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].", error=error)
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        failed = await ask(client)
        model.error = None
        mended = await ask(client)

    assert failed.status_code == status
    assert failed.json()["error"]["dependency"] == "vllm"
    assert (mended.status_code, mended.json()["cached"]) == (200, False)


async def test_without_a_model_the_best_sentences_are_the_answer_and_it_says_so(
    open_client: OpenClient,
) -> None:
    async with open_client(embedder=E5LikeEmbedder()) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert (body["generation"], body["model"]) == ("extractive", "extractive")
    assert "15 января 2027" in body["answer"]
    assert body["citations"][0]["status"] == "exact"
    assert any("LLM_MODE=none" in warning for warning in body["warnings"])


# --- streams -----------------------------------------------------------------------------------


async def test_a_stream_has_sources_then_deltas_then_one_complete(open_client: OpenClient) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].")
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        response = await ask(client, stream=True)

    events = events_of(response.text)
    names = [name for name, _ in events]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert names == ["sources"] + ["delta"] * (len(names) - 2) + ["complete"]
    assert (
        "".join(str(data["text"]) for name, data in events if name == "delta").strip()
        == (events[-1][1]["answer"])
    )
    assert "сдаётся" in response.text  # readable, not \\u escapes


async def test_a_stream_and_a_whole_answer_say_the_same(open_client: OpenClient) -> None:
    model = ScriptedGenerator("Проект сдаётся 15 января 2027 года [1].")
    async with open_client(generator=model, cache_size=0) as client:
        await put(client, MINUTES)
        whole = (await ask(client)).json()
        streamed = events_of((await ask(client, stream=True)).text)[-1][1]

    assert whole | {"timings": 0} == streamed | {"timings": 0}


async def test_a_failure_after_the_first_event_is_one_error_event(open_client: OpenClient) -> None:
    model = ScriptedGenerator(
        "Проект сдаётся [1].",
        error=DependencyError("gone", dependency="vllm"),
        deltas_before_error=1,
    )
    async with open_client(generator=model) as client:
        await put(client, MINUTES)
        response = await ask(client, stream=True)

    events = events_of(response.text)
    assert [name for name, _ in events] == ["sources", "delta", "error"]
    assert events[-1][1]["error"]["code"] == "dependency_failed"  # type: ignore[index]


async def test_a_failure_before_the_first_event_keeps_its_status(open_client: OpenClient) -> None:
    async with open_client(generator=ScriptedGenerator(window=100)) as client:
        await put(client, MINUTES)
        response = await ask(client, q="Срок сдачи? " * 60, stream=True)

    assert response.status_code == 413


async def test_the_one_word_for_no_answer_is_never_shown(open_client: OpenClient) -> None:
    async with open_client(generator=ScriptedGenerator("НЕИЗВЕСТНО")) as client:
        await put(client, MINUTES)
        events = events_of((await ask(client, stream=True)).text)

    assert [name for name, _ in events] == ["sources", "complete"]
    assert events[-1][1]["answer"] == "В документах нет ответа на этот вопрос."
    assert events[-1][1]["answered"] is False


async def test_a_right_answer_without_markers_is_attributed_to_its_source(
    open_client: OpenClient,
) -> None:
    async with open_client(generator=ScriptedGenerator("Срок — 15 января 2027 года.")) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert (body["answered"], body["citations"]) == (True, [])
    assert body["attributed"][0]["marker"] == 1
    assert "15 января 2027" in body["attributed"][0]["quote"]
    assert body["sources"][0]["cited"] is True


async def test_an_answer_of_markers_alone_is_no_answer(open_client: OpenClient) -> None:
    async with open_client(generator=ScriptedGenerator("[1]")) as client:
        await put(client, MINUTES)
        body = (await ask(client)).json()

    assert body["answered"] is False
    assert body["answer"] == "В документах нет ответа на этот вопрос."


async def test_a_body_that_curl_calls_a_form_is_read_as_json(open_client: OpenClient) -> None:
    generator = ScriptedGenerator("Срок сдачи 15 января [1].")
    async with open_client(generator=generator) as client:
        answer = await client.post(
            "/ask",
            content='{"q": "Какие сроки?"}'.encode(),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    assert answer.status_code == 200
    assert "'default'" in answer.json()["warnings"][0]


async def test_a_form_of_a_foreign_web_page_puts_no_model_to_work(open_client: OpenClient) -> None:
    generator = ScriptedGenerator("An answer [1].")
    async with open_client(generator=generator) as client:
        answer = await client.post(
            "/ask",
            content=b'{"q": "What?"}',
            headers={
                "content-type": "application/x-www-form-urlencoded",
                "origin": "https://elsewhere.example",
            },
        )

    assert answer.status_code == 422
    assert generator.calls == []

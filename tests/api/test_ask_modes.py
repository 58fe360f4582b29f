"""``mode`` of POST /ask: from retrieval to checked citations, whole and streamed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from backend.adapters.limited import LimitedGenerator
from backend.core.errors import DependencyError
from backend.core.models import AnswerLimits
from backend.core.ports import Generator
from backend.core.prompts import PromptSet
from backend.core.types import Sampling
from backend.services.chat_model import ChatModel
from backend.services.gate import Gate
from backend.services.model_info import ModelInspector
from backend.services.prompt_fitting import PromptFitter
from backend.wiring.chat import Chat, Served
from tests.api.conftest import PROMPT, OpenClient, put
from tests.api.test_ask import events_of
from tests.fakes.compressing import COMPRESS, CompressingGenerator, Sources, first_sentences
from tests.fakes.embedder import E5LikeEmbedder
from tests.fakes.generator import WordCounter

QUESTION = "Расскажи подробно обо всех этапах"
PARALLEL = 3


def chat_of(generator: Generator) -> Chat:
    counter = WordCounter()
    prompts = PromptSet.from_texts(
        answer_ru=PROMPT, answer_en=PROMPT, compress_ru=COMPRESS, compress_en=COMPRESS
    )
    gate = Gate(capacity=PARALLEL, queue_limit=1)
    queued = LimitedGenerator(generator, gate)
    model = ChatModel(
        generator=queued,
        counter=counter,
        fitter=PromptFitter(counter, prompts, source_limit=0),
        sampling=Sampling(150),
        safety_margin=8,
        provider="vllm",
        background=LimitedGenerator(generator, gate, priority="background", yields=True),
        parallel=lambda: gate.capacity,
    )
    inspector = ModelInspector(
        generator=queued,
        provider="vllm",
        known=None,
        limits=AnswerLimits(150, 8, 0, 256),
        fallback_window=8192,
        exact_counts=True,
        speed=lambda: None,
    )
    return Chat(Served(model, generator, inspector, gate, None, generator.check))


async def put_stages(client: httpx.AsyncClient, count: int = 10) -> None:
    other = "Прочее описание порядка. " * 12
    texts = {n: f"Этап {n} стоит {n * 1000 + 7} рублей. {other}" for n in range(1, count + 1)}
    await asyncio.gather(*(put(client, text, f"stage{n}.txt") for n, text in texts.items()))


async def ask(client: httpx.AsyncClient, mode: str, **body: object) -> dict[str, Any]:
    sent = {"q": QUESTION, "space_id": "s", "top_k": 30, "mode": mode} | body
    response = await client.post("/ask", json=sent)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def cites_all(sources: Sources) -> str:
    """An answer that repeats the first statement of every source it was given."""
    return " ".join(line.removeprefix("- ") for line in first_sentences(sources).splitlines())


async def test_citations_point_at_the_original_chunks_through_the_compression(
    open_client: OpenClient,
) -> None:
    model = CompressingGenerator(answer=cites_all, window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client, 30)
        body = await ask(client, "summarize")
        texts = {
            c["doc_id"]: (await client.get(f"/documents/{c['doc_id']}/text")).text
            for c in body["citations"]
        }

    assert (body["mode"], body["summarized"], body["answered"]) == ("summarize", True, True)
    assert body["route"]["mode"] == "summarize"
    assert body["context_tokens"] == body["route"]["context_tokens"] > 800
    assert len(body["citations"]) == 30
    for citation in body["citations"]:
        source = body["sources"][citation["marker"] - 1]
        assert source["n"] == citation["marker"]
        assert (source["doc_id"], source["chunk_index"]) == (
            citation["doc_id"],
            citation["chunk_index"],
        )
        place = slice(citation["char_start"], citation["char_end"])
        assert citation["status"] in ("exact", "normalized")
        assert texts[citation["doc_id"]][place] == citation["quote"] != ""
    assert body["context"]["chunks_in"] == 30
    assert body["context"]["chunks_left_out"] == body["context"]["chunks_irrelevant"] == []
    assert len(model.answered) == 1


async def test_detailed_takes_what_fits_as_it_is_and_tells_the_rest(
    open_client: OpenClient,
) -> None:
    model = CompressingGenerator(answer=cites_all, window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client, 30)
        body = await ask(client, "detailed")

    context = body["context"]
    assert (body["mode"], body["summarized"], body["route"]["mode"]) == (
        "detailed",
        False,
        "detailed",
    )
    assert model.compressed == []
    assert context["chunks_in"] + len(context["chunks_left_out"]) == 30
    assert len(context["chunks_left_out"]) > 10
    assert any("did not fit" in warning for warning in body["warnings"])


@pytest.mark.parametrize(
    ("question", "top_k", "route", "summarized"),
    [
        ("Сколько стоит этап 7?", 3, "normal", False),
        ("Сколько стоит этап 7?", 30, "summarize", True),
        ("Расскажи подробно обо всём", 3, "summarize", True),
    ],
)
async def test_auto_decides_by_the_question_and_the_size_and_says_why(
    open_client: OpenClient, question: str, top_k: int, route: str, *, summarized: bool
) -> None:
    model = CompressingGenerator(answer=cites_all, window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        body = await ask(client, "auto", q=question, top_k=top_k)

    assert (body["mode"], body["route"]["mode"]) == ("auto", route)
    assert body["summarized"] is summarized
    assert body["route"]["reason"]
    assert bool(model.compressed) is summarized


async def test_an_invention_of_the_compression_does_not_reach_the_answer(
    open_client: OpenClient,
) -> None:
    def invents(sources: Sources) -> str:
        return first_sentences(sources) + "\n- Этап 2 стоит 999 миллионов рублей [2]."

    def everything(sources: Sources) -> str:
        return " ".join(
            f"{line.removeprefix('- ').rstrip('.')} [{n}]."
            for n, text in sources.items()
            for line in text.splitlines()
        )

    model = CompressingGenerator(invents, everything, window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        body = await ask(client, "summarize", top_k=5)

    assert body["answered"] is True
    assert "999" not in body["answer"]
    assert {citation["status"] for citation in body["citations"]} <= {"exact", "normalized"}
    assert any("999" in w and "1 statements were dropped" in w for w in body["warnings"])


async def test_when_nothing_bears_on_the_question_the_model_is_not_asked_for_an_answer(
    open_client: OpenClient,
) -> None:
    model = CompressingGenerator(lambda sources: "НЕИЗВЕСТНО", window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        body = await ask(client, "summarize", top_k=4)

    assert (body["answered"], body["sources"], body["summarized"]) == (False, [], True)
    assert body["answer"] == "В документах нет ответа на этот вопрос."
    assert len(body["context"]["chunks_irrelevant"]) == 4
    assert model.answered == []


async def test_a_stream_tells_how_far_the_compression_is(open_client: OpenClient) -> None:
    model = CompressingGenerator(answer=cites_all, window=800)
    sent = {"q": QUESTION, "space_id": "s", "top_k": 30, "mode": "auto", "stream": True}
    async with open_client(
        chat=chat_of(model), embedder=E5LikeEmbedder(), cache_size=0
    ) as client:  # fmt: skip
        await put_stages(client)
        events = events_of((await client.post("/ask", json=sent)).text)
        whole = await ask(client, "auto")

    names = list(dict.fromkeys(name for name, _ in events))
    progress = [data for name, data in events if name == "progress"]
    assert names == ["sources", "progress", "delta", "complete"]
    assert len(events[0][1]["sources"]) == 10  # type: ignore[arg-type]
    assert progress[0]["done"] == 0
    assert progress[-1]["done"] == progress[-1]["total"] == len(progress) - 1
    assert events[-1][1] | {"timings": 0} == whole | {"timings": 0}


async def test_groups_take_no_more_places_than_the_model_has(open_client: OpenClient) -> None:
    model = CompressingGenerator(answer=cites_all, window=500)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client, 24)
        body = await ask(client, "summarize")

    assert len(model.compressed) > PARALLEL + 1  # more than the queue would take
    assert model.most_running <= PARALLEL
    assert body["summarized"] is True


async def test_a_group_that_fails_is_an_error_and_nothing_is_cached(
    open_client: OpenClient,
) -> None:
    broken = True

    def fails(sources: Sources) -> str:
        if broken:
            raise DependencyError("gone", dependency="vllm")
        return first_sentences(sources)

    model = CompressingGenerator(fails, cites_all, window=800)
    sent = {"q": QUESTION, "space_id": "s", "top_k": 30, "mode": "summarize"}
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        failed = await client.post("/ask", json=sent)
        streamed = events_of((await client.post("/ask", json=sent | {"stream": True})).text)
        broken = False
        mended = await ask(client, "summarize")

    error = failed.json()["error"]
    assert (failed.status_code, error["code"]) == (502, "summary_part_failed")
    assert "sources 1 to" in error["message"]
    assert [name for name, _ in streamed if name != "progress"] == ["sources", "error"]
    assert (mended["cached"], mended["summarized"]) == (False, True)


async def test_who_leaves_in_the_middle_stops_every_call(open_client: OpenClient) -> None:
    model = CompressingGenerator(window=800, hangs=True)
    sent = {"q": QUESTION, "space_id": "s", "top_k": 30, "mode": "summarize"}
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        asking = asyncio.create_task(client.post("/ask", json=sent))
        await model.started.wait()
        asking.cancel()
        await asyncio.wait([asking])

    assert model.running == 0


async def test_modes_do_not_share_their_cached_answers(open_client: OpenClient) -> None:
    model = CompressingGenerator(answer=cites_all, window=800)
    async with open_client(chat=chat_of(model), embedder=E5LikeEmbedder()) as client:
        await put_stages(client)
        first = [await ask(client, mode) for mode in ("normal", "auto", "summarize", "detailed")]
        again = await ask(client, "summarize")

    assert [body["cached"] for body in first] == [False] * 4
    assert [body["summarized"] for body in first] == [False, True, True, False]
    assert again["cached"] is True
    assert again["route"] == first[2]["route"]


# --- without a chat model ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["normal", "auto", "detailed"])
async def test_without_a_model_every_mode_is_extractive_and_says_so(
    open_client: OpenClient, mode: str
) -> None:
    async with open_client(embedder=E5LikeEmbedder()) as client:
        await put(client, "Срок сдачи проекта — 15 января 2027 года.")
        body = await ask(client, mode, q="Когда срок сдачи проекта?")

    assert (body["generation"], body["route"]["mode"]) == ("extractive", "extractive")
    assert "no chat model" in body["route"]["reason"]
    assert body["summarized"] is False


async def test_without_a_model_compression_is_refused(open_client: OpenClient) -> None:
    sent = {"q": QUESTION, "space_id": "s", "mode": "summarize"}
    async with open_client(embedder=E5LikeEmbedder()) as client:
        response = await client.post("/ask", json=sent)

    assert response.status_code == 400
    assert "needs a chat model" in response.json()["error"]["message"]


async def test_an_unknown_mode_is_refused(open_client: OpenClient) -> None:
    async with open_client() as client:
        response = await client.post("/ask", json={"q": "Что?", "mode": "quick"})

    assert response.status_code == 422

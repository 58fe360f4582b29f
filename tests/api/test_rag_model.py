"""Chat completions we answer ourselves: from a space, and through the ``Generator`` port."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx
import pytest

from backend.core.errors import DependencyTimeout
from backend.core.types import Sampling
from backend.services.gateway import GatewayParts, Route
from tests.fakes.gateway import running_gateway
from tests.fakes.generator import ScriptedGenerator
from tests.unit.test_chat_service import GOOD, rag

pytestmark = pytest.mark.loopback

LONG = f"{GOOD} За пилот отвечает Ирина Соколова [2]. Пилот длится три недели [9]."


@dataclass(frozen=True)
class Spaces:
    async def names(self) -> list[str]:
        return ["docs", "s"]


def space_parts(text: str = LONG, generator: ScriptedGenerator | None = None) -> GatewayParts:
    return GatewayParts(rag=rag(text, generator)[0], spaces=Spaces())


def chat_parts(generator: ScriptedGenerator) -> GatewayParts:
    route = Route("llama3:8b", "chat", generator=generator)
    return GatewayParts((route,), defaults=Sampling(300, 0.1))


async def post(parts: GatewayParts, *turns: str, **fields: object) -> httpx.Response:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    async with running_gateway(parts) as client:
        body = {"messages": messages, **fields}
        return await client.post("/v1/chat/completions", json=body)


def chunks_of(got: httpx.Response) -> list[dict[str, object]]:
    events = [line[6:] for line in got.text.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(one) for one in events[:-1]]


async def test_a_space_answers_with_citations_in_the_text_and_beside_it() -> None:
    body = (await post(space_parts(), "Когда сдача проекта?", model="rag/s")).json()

    message = body["choices"][0]["message"]
    assert message["content"].startswith(GOOD)
    assert "[9]" not in message["content"]
    assert {citation["marker"] for citation in message["citations"]} == {1, 2}
    for citation in message["citations"]:
        place = slice(citation["answer_start"], citation["answer_end"])
        assert message["content"][place] == f"[{citation['marker']}]"
    assert (body["rag"]["space_id"], body["rag"]["answered"]) == ("s", True)
    assert body["rag"]["question"] == "Когда сдача проекта?"
    assert {"sources", "citations", "context", "warnings", "timings"} <= body["rag"].keys()
    assert body["usage"]["prompt_tokens"] == 100
    assert body["usage"]["completion_tokens"] == len(LONG.split())


async def test_the_stream_of_a_space_is_the_whole_answer_in_pieces() -> None:
    whole = (await post(space_parts(), "Когда сдача проекта?", model="rag/s")).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    got = await post(space_parts(), "Когда сдача проекта?", model="rag/s", **options)

    *chunks, usage = chunks_of(got)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]  # type: ignore[index]
    message = whole["choices"][0]["message"]
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    assert deltas[-1]["citations"] == message["citations"]
    assert chunks[-1]["rag"]["citations"] == whole["rag"]["citations"]  # type: ignore[index]
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks)


async def test_a_stream_without_the_option_has_no_usage() -> None:
    got = await post(space_parts(), "Когда сдача проекта?", model="rag/s", stream=True)

    assert all("usage" not in chunk for chunk in chunks_of(got))


async def test_an_unknown_space_is_told_which_there_are() -> None:
    got = await post(space_parts(), "Когда?", model="rag/nowhere")

    assert got.status_code == 404
    assert got.json()["error"]["models"] == ["rag/docs", "rag/s"]


async def test_spaces_are_listed_as_models() -> None:
    async with running_gateway(space_parts()) as client:
        listed = (await client.get("/v1/models")).json()["data"]

    assert [entry["id"] for entry in listed] == ["rag/docs", "rag/s"]


async def test_what_a_space_does_not_heed_is_said_in_warnings() -> None:
    messages = [
        {"role": "system", "content": "Answer as a pirate."},
        {"role": "user", "content": [{"type": "text", "text": "Когда сдача проекта?"}]},
    ]
    got = await post(space_parts(), messages=messages, model="rag/s", temperature=1.5)

    warnings = " ".join(got.json()["rag"]["warnings"])
    assert "System messages" in warnings
    assert "temperature" in warnings


# --- through the Generator port ------------------------------------------------------------------


async def test_a_request_is_translated_field_by_field() -> None:
    generator = ScriptedGenerator("The answer.")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = (
        await post(
            chat_parts(generator),
            "hi",
            model="llama3:8b",
            max_completion_tokens=77,
            temperature=0.7,
            top_p=0.9,
            top_k=40,
            min_p=0.1,
            presence_penalty=0.5,
            frequency_penalty=0.25,
            repetition_penalty=1.1,
            stop=["END"],
            seed=5,
            reasoning_effort="none",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        )
    ).json()

    assert generator.calls[0].sampling == Sampling(
        77, 0.7, 0.9, 40, 0.1, 0.5, 0.25, 1.1, ("END",), 5, json.dumps(schema), "off"
    )
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "The answer."}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


async def test_reasoning_is_beside_the_answer() -> None:
    generator = ScriptedGenerator("Yes.", reasoning="Let me think.")
    whole = (await post(chat_parts(generator), "hi")).json()
    deltas = [
        chunk["choices"][0]["delta"]  # type: ignore[index]
        for chunk in chunks_of(await post(chat_parts(generator), "hi", stream=True))
    ]

    assert whole["choices"][0]["message"]["content"] == "Yes."
    assert whole["choices"][0]["message"]["reasoning_content"] == "Let me think."
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Let me think."
    assert "".join(d.get("content", "") for d in deltas) == "Yes."


async def test_defaults_are_the_operators() -> None:
    generator = ScriptedGenerator("Yes.")

    await post(chat_parts(generator), "hi")

    assert generator.calls[0].sampling == Sampling(300, 0.1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"options": {"num_ctx": 5}}, "options"),
    ],
)
async def test_what_cannot_be_translated_is_refused_by_name(
    fields: dict[str, object], param: str
) -> None:
    got = await post(chat_parts(ScriptedGenerator("x")), "hi", **fields)

    assert (got.status_code, got.json()["error"]["param"]) == (400, param)


async def test_an_error_before_the_first_byte_has_its_status_and_a_later_one_is_an_event() -> None:
    late = DependencyTimeout("ollama did not answer in time.", dependency="ollama")
    early = await post(chat_parts(ScriptedGenerator("a b", error=late)), "hi", stream=True)
    after = ScriptedGenerator("a b", error=late, deltas_before_error=1)
    got = await post(chat_parts(after), "hi", stream=True)

    last = json.loads(got.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert (early.status_code, early.json()["error"]["source"]) == (504, "ollama")
    assert (got.status_code, last["error"]["code"]) == (200, "dependency_timeout")
    assert "[DONE]" not in got.text

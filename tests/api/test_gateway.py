"""``/v1`` in front of model servers on real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from backend.adapters.upstream import HttpUpstream, UpstreamTimeouts, open_session
from backend.core.errors import Overloaded
from backend.core.types import Sampling
from backend.services.gateway import GatewayParts, Route
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.gateway import running_gateway
from tests.fakes.openai_upstream import (
    CHAT,
    DONE,
    HANG,
    FakeOpenAI,
    answer,
    chunk,
    event,
    json_answer,
    running_openai,
    stream_head,
    streamed,
)

pytestmark = pytest.mark.loopback

ASK = {"messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}


@dataclass
class FullGate:
    @asynccontextmanager
    async def slot(self, priority: str, /) -> AsyncIterator[None]:
        raise Overloaded("The queue is full.", retry_after_s=7)
        yield


@asynccontextmanager
async def in_front_of(
    *script: bytes, closes: bool = False, silence_s: float = 5.0, **parts: object
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeOpenAI]]:
    async with running_openai(FakeOpenAI(script, closes)) as fake, open_session() as session:
        upstream = HttpUpstream(
            session,
            name="vllm",
            locate=lambda: fake.url,
            api_key="upstream-key",
            timeouts=UpstreamTimeouts(connect_s=1, silence_s=silence_s),
        )
        routes = (Route("medium", "chat", upstream),)
        async with running_gateway(GatewayParts(routes, **parts)) as client:  # type: ignore[arg-type]
            yield client, fake


async def test_bytes_pass_both_ways_and_only_the_servers_own_key_goes_on() -> None:
    body = b'{"model": "medium",   "messages": [{"role":"user","content":"\\u041f"}], "x": 1.50}'
    reply = json.dumps(CHAT, ensure_ascii=False, indent=3).encode()
    async with in_front_of(answer(reply)) as (client, fake):
        got = await client.post(
            "/v1/chat/completions", content=body, headers={"Authorization": "Bearer client-key"}
        )

    assert got.content == reply
    assert got.headers["x-quadrate-source"] == "vllm"
    assert (fake.seen[0].body, fake.seen[0].path) == (body, "/v1/chat/completions")
    assert fake.seen[0].headers["authorization"] == "Bearer upstream-key"


async def test_a_stream_passes_byte_for_byte() -> None:
    events = [event("Пр"), event("ивет"), b": comment\n\n", event("", finish_reason="stop"), DONE]
    async with in_front_of(*streamed(*events)) as (client, _):
        got = await client.post("/v1/chat/completions", json=STREAM)

    assert got.content == b"".join(events)
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_an_event_is_there_before_the_next_one_is_written() -> None:
    script = [stream_head(), chunk(event("first")), HANG]
    async with in_front_of(*script) as (client, fake):
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as got:
            first = await anext(got.aiter_raw())
        await asyncio.wait_for(fake.left.wait(), 5)

    assert first == event("first")


async def test_a_client_that_leaves_a_whole_answer_closes_the_upstream() -> None:
    async with in_front_of(HANG) as (client, fake):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
        while not fake.seen:
            await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(fake.left.wait(), 5)


@pytest.mark.parametrize("ending", [[], [b"0\r\n\r\n"], [chunk(b'data: {"half')]])
async def test_a_stream_that_breaks_off_ends_with_an_error_and_without_done(
    ending: Sequence[bytes],
) -> None:
    script = [stream_head(), chunk(event("half")), *ending]
    async with in_front_of(*script, closes=True) as (client, _):
        got = await client.post("/v1/chat/completions", json=STREAM)

    first, last = got.text.strip().split("\n\n")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert first.encode() + b"\n\n" == event("half")
    assert (error["source"], error["code"]) == ("vllm", "dependency_failed")
    assert "[DONE]" not in got.text


async def test_an_upstream_error_passes_with_its_source() -> None:
    refusal = {"error": {"message": "too long", "code": 400}}
    async with in_front_of(json_answer(refusal, "400 Bad Request")) as (client, _):
        got = await client.post("/v1/chat/completions", json=ASK)

    assert (got.status_code, got.json()) == (400, refusal)
    assert got.headers["x-quadrate-source"] == "vllm"


@pytest.mark.parametrize("status", ["200 OK", "502 Bad Gateway", "302 Found"])
async def test_a_page_of_html_is_a_bad_gateway(status: str) -> None:
    page = answer(b"<html>nginx</html>", "text/html", status)
    async with in_front_of(page) as (client, _):
        got = await client.post("/v1/chat/completions", json=ASK)

    assert got.status_code == 502
    assert got.json()["error"]["source"] == "vllm"
    assert "nginx" not in got.text


async def test_a_server_that_is_down_and_one_that_is_silent() -> None:
    async with in_front_of(HANG, silence_s=0.05) as (client, fake):
        silent = await client.post("/v1/chat/completions", json=ASK)
        fake.url = "http://127.0.0.1:1"
        down = await client.post("/v1/chat/completions", json=STREAM)

    assert (silent.status_code, silent.json()["error"]["code"]) == (504, "dependency_timeout")
    assert (down.status_code, down.json()["error"]["source"]) == (502, "vllm")


async def test_a_connection_closed_while_idle_is_opened_again() -> None:
    async with in_front_of(json_answer(CHAT), closes=True) as (client, _):
        statuses = [
            (await client.post("/v1/chat/completions", json=ASK)).status_code for _ in range(4)
        ]

    assert statuses == [200] * 4


async def test_an_unknown_model_is_told_which_there_are() -> None:
    async with in_front_of(json_answer(CHAT)) as (client, fake):
        got = await client.post("/v1/chat/completions", json={**ASK, "model": "gpt-9"})

    error = got.json()["error"]
    assert (got.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert error["models"] == ["medium"]
    assert error["type"] == "invalid_request_error"
    assert fake.seen == []


async def test_a_full_queue_says_when_to_come_back() -> None:
    async with in_front_of(json_answer(CHAT), slots=FullGate()) as (client, _):
        got = await client.post("/v1/chat/completions", json=ASK)

    assert (got.status_code, got.headers["retry-after"]) == (429, "7")
    assert got.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/nothing", b"{}", 404),
        ("POST", "/v1/chat/completions", b"{not json", 400),
        ("POST", "/v1/chat/completions", b"[1]", 400),
        ("POST", "/v1/chat/completions", b'{"model": 5}', 400),
        ("POST", "/v1/embeddings", b'{"model": "none", "input": "a"}', 404),
    ],
)
async def test_every_refusal_has_openais_shape(
    method: str, path: str, content: bytes, status: int
) -> None:
    async with in_front_of(json_answer(CHAT)) as (client, _):
        got = await client.request(method, path, content=content)

    error = got.json()["error"]
    assert got.status_code == status
    assert {"message", "type", "code", "param", "source", "request_id"} <= error.keys()
    assert (error["source"], error["request_id"]) == ("gateway", got.headers["x-request-id"])


async def test_a_missing_key_is_refused_in_openais_shape() -> None:
    async with running_gateway(GatewayParts(), "key-1", "key-2") as client:
        refused = await client.get("/v1/models")
        good = await client.get("/v1/models", headers={"Authorization": "Bearer key-2"})

    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert good.status_code == 200


async def test_models_are_listed_with_what_their_server_says_and_also_while_it_is_down() -> None:
    async with in_front_of() as (client, fake):
        up = (await client.get("/v1/models")).json()
        fake.url = "http://127.0.0.1:1"
        down = (await client.get("/v1/models")).json()

    assert [(m["id"], m["max_model_len"]) for m in up["data"]] == [("medium", 4096)]
    assert [m["id"] for m in down["data"]] == ["medium"]
    assert "unreachable" in down["warnings"][0]


# --- embeddings in this process ------------------------------------------------------------------


async def embeddings(**body: object) -> httpx.Response:
    parts = GatewayParts((Route("e5", "embedding", embedder=HashingEmbedder(8)),))
    async with running_gateway(parts) as client:
        return await client.post("/v1/embeddings", json=body)


async def test_embeddings_come_as_numbers_or_as_bytes() -> None:
    numbers = (await embeddings(model="e5", input=["один", "two"])).json()
    packed = (await embeddings(model="e5", input="один", encoding_format="base64")).json()

    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert [entry["index"] for entry in numbers["data"]] == [0, 1]
    assert unpacked == pytest.approx(numbers["data"][0]["embedding"])
    assert packed["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"input": [1, 2]}, "input", "token numbers"),
        ({"input": ""}, "input", "empty"),
        ({"input": "a", "dimensions": 4}, "dimensions", "8"),
        ({"input": ["a", "слово " * 600]}, "input[1]", "512"),
        ({}, "input", "required"),
        ({"input": "a", "truncate_prompt_tokens": 5}, "truncate_prompt_tokens", "supported"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(
    body: dict[str, object], param: str, says: str
) -> None:
    got = await embeddings(**body)

    assert (got.status_code, got.json()["error"]["param"]) == (400, param)
    assert says in got.json()["error"]["message"]


def test_defaults_ask_for_a_bounded_answer() -> None:
    assert GatewayParts().defaults == Sampling(max_tokens=1024)

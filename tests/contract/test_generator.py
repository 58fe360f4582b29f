"""The contract of generators on the double, on scripted HTTP answers and on a real llama.cpp
server, and what only a real server shows. The same on a real vLLM: ``tests/engines``."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing

import httpx
import pytest

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.core.errors import ContextOverflow, DependencyError, DependencyRejected
from backend.core.ports import Generator
from backend.core.types import Completion, Message, ReasoningDelta, Sampling, TextDelta
from tests.contract.generator_contract import GeneratorContract, both_ways
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.llama_server import MODEL, RunningLlama, running_llama
from tests.fakes.openai_wire import (
    ANSWER,
    ASK,
    SHORT,
    WINDOW,
    drained,
    healthy_vllm,
    over_wire,
    told,
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLlama]:
    with running_llama(tmp_path_factory.mktemp("llama"), window=WINDOW) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
async def watcher() -> AsyncIterator[httpx.AsyncClient]:
    """A second client, with connections of its own."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def grammar(text: str) -> dict[str, object]:
    return {"grammar": f"root ::= {json.dumps(text)}"}


def from_llama(
    server: RunningLlama, client: httpx.AsyncClient, extra: Mapping[str, object]
) -> OpenAICompatibleGenerator:
    return OpenAICompatibleGenerator(
        server.endpoint(client), model=MODEL, dialect="llamacpp", extra_body=extra
    )


@pytest.fixture(
    params=["scripted", "scripted wire", pytest.param("llama.cpp", marks=pytest.mark.loopback)]
)
def generator(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Generator:
    if request.param == "scripted":
        return ScriptedGenerator(ANSWER, window=WINDOW)
    if request.param == "scripted wire":
        return over_wire(healthy_vllm)
    return from_llama(request.getfixturevalue("llama"), client, grammar(ANSWER))


@pytest.fixture
def window() -> int:
    return WINDOW


class TestContract(GeneratorContract):
    """On the double, on scripted HTTP answers and on a real llama.cpp."""


# --- a real llama.cpp --------------------------------------------------------------------------


async def busy_slots(server: RunningLlama, client: httpx.AsyncClient) -> int:
    endpoint = server.endpoint(client)
    slots = (await client.get(endpoint.url("/slots"), headers=endpoint.headers)).json()
    return sum(slot["is_processing"] for slot in slots)


async def becomes(server: RunningLlama, client: httpx.AsyncClient, busy: int) -> None:
    async with asyncio.timeout(10):
        while await busy_slots(server, client) != busy:
            await asyncio.sleep(0.01)


async def tokens_seen(server: RunningLlama, client: httpx.AsyncClient) -> int:
    """Tokens of prompt and answer in the longest request so far, once the server is idle."""
    await becomes(server, client, busy=0)
    endpoint = server.endpoint(client)
    metrics = (await client.get(endpoint.url("/metrics"), headers=endpoint.headers)).text
    longest = re.search(r"^llamacpp:n_tokens_max (\d+)", metrics, re.MULTILINE)
    assert longest is not None
    return int(longest[1])


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLlama]:
    with running_llama(tmp_path_factory.mktemp("roomy"), window=4096) as server:
        yield server


LONG = Sampling(max_tokens=4000)


def endless(server: RunningLlama, client: httpx.AsyncClient) -> OpenAICompatibleGenerator:
    """Says "ab" until the window is full, which takes seconds."""
    return from_llama(server, client, {"grammar": 'root ::= "ab" root'})


@pytest.mark.loopback
async def test_closing_the_iterator_frees_the_slot(
    roomy: RunningLlama, client: httpx.AsyncClient
) -> None:
    stream = endless(roomy, client).stream(ASK, LONG)
    async with aclosing(stream):
        await anext(stream)

    assert await tokens_seen(roomy, client) < LONG.max_tokens


@pytest.mark.loopback
@both_ways
async def test_cancelling_frees_the_slot(
    roomy: RunningLlama, client: httpx.AsyncClient, stream: bool
) -> None:
    task = asyncio.create_task(told(endless(roomy, client), stream=stream, sampling=LONG))
    await becomes(roomy, client, busy=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await tokens_seen(roomy, client) < LONG.max_tokens


@pytest.mark.loopback
@both_ways
async def test_cancelling_while_the_prompt_is_read_frees_the_slot(
    tmp_path_factory: pytest.TempPathFactory, client: httpx.AsyncClient, stream: bool
) -> None:
    folder, prompt = tmp_path_factory.mktemp("slow"), [Message("user", "a" * 3900)]
    with running_llama(folder, window=4096, layers=64) as slow:
        generator = from_llama(slow, client, {})
        task = asyncio.create_task(told(generator, stream=stream, messages=prompt))
        await becomes(slow, client, busy=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await tokens_seen(slow, client) < 3900


PARTS = 20


async def requests_inside(server: RunningLlama, client: httpx.AsyncClient) -> int:
    """Requests that are worked on or wait for a slot."""
    endpoint = server.endpoint(client)
    metrics = (await client.get(endpoint.url("/metrics"), headers=endpoint.headers)).text
    found = re.findall(r"^llamacpp:requests_(?:processing|deferred) (\d+)", metrics, re.MULTILINE)
    assert len(found) == 2
    return sum(map(int, found))


async def until_inside(server: RunningLlama, client: httpx.AsyncClient, requests: int) -> None:
    async with asyncio.timeout(20):
        while await requests_inside(server, client) != requests:
            await asyncio.sleep(0.01)


@pytest.mark.loopback
async def test_cancelling_twenty_parallel_parts_frees_every_slot_and_the_queue(
    tmp_path_factory: pytest.TempPathFactory,
    client: httpx.AsyncClient,
    watcher: httpx.AsyncClient,
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    with running_llama(folder, window=2048, slots=4, never_ends=True) as server:
        # The server has a thread for each connection and not many of them: ours comes first.
        await until_inside(server, watcher, 0)
        generator = from_llama(server, client, {})
        parts = [asyncio.create_task(generator.complete(ASK, LONG)) for _ in range(PARTS)]
        await until_inside(server, watcher, PARTS)
        for part in parts:
            part.cancel()
        ends = await asyncio.gather(*parts, return_exceptions=True)

        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        await until_inside(server, watcher, 0)


@pytest.mark.loopback
async def test_a_think_block_of_a_real_server_is_no_part_of_the_answer(
    llama: RunningLlama, client: httpx.AsyncClient
) -> None:
    generator = from_llama(llama, client, grammar("<think>hm</think>\n\n42"))

    completion = await generator.complete(ASK, SHORT)

    assert (completion.text, completion.reasoning) == ("42", "hm")


@pytest.mark.loopback
async def test_llamacpp_answers_json_that_fits_the_schema(
    llama: RunningLlama, client: httpx.AsyncClient
) -> None:
    schema = '{"type": "object", "properties": {"ok": {"const": true}}, "required": ["ok"]}'

    completion = await from_llama(llama, client, {}).complete(
        ASK, Sampling(max_tokens=60, json_schema=schema)
    )

    assert json.loads(completion.text) == {"ok": True}


@pytest.mark.loopback
@both_ways
async def test_llamacpp_answers_cut_by_the_window_are_an_overflow_not_a_short_answer(
    llama: RunningLlama, client: httpx.AsyncClient, stream: bool
) -> None:
    generator = endless(llama, client)

    with pytest.raises(ContextOverflow) as caught:
        await told(generator, stream=stream, sampling=Sampling(600))

    assert caught.value.window_tokens == WINDOW
    assert caught.value.needed_tokens > 600


@pytest.mark.loopback
@both_ways
async def test_an_answer_cut_by_max_tokens_says_so(
    llama: RunningLlama, client: httpx.AsyncClient, stream: bool
) -> None:
    generator = from_llama(llama, client, grammar("a long answer"))

    completion = await told(generator, stream=stream, sampling=Sampling(max_tokens=3))

    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == 3


@pytest.mark.loopback
async def test_llamacpp_refuses_a_wrong_key_with_the_setting_to_change(
    llama: RunningLlama, client: httpx.AsyncClient
) -> None:
    generator = OpenAICompatibleGenerator(llama.endpoint(client, "wrong"), model=MODEL)

    with pytest.raises(DependencyRejected, match="LLM_API_KEY"):
        await generator.complete(ASK, SHORT)
    with pytest.raises(DependencyRejected, match="LLM_API_KEY"):
        await generator.check()


@pytest.mark.loopback
async def test_the_window_is_that_of_one_slot(
    tmp_path_factory: pytest.TempPathFactory, client: httpx.AsyncClient
) -> None:
    with running_llama(tmp_path_factory.mktemp("slots"), window=256, slots=2) as server:
        generator = from_llama(server, client, {})
        assert (await generator.served()).context_window == 256


@pytest.mark.loopback
async def test_a_server_that_is_not_there_is_unreachable(client: httpx.AsyncClient) -> None:
    endpoint = Endpoint(client, "vllm", fixed("http://127.0.0.1:9"))
    generator = OpenAICompatibleGenerator(endpoint, model="m")

    with pytest.raises(DependencyError, match="unreachable"):
        await generator.complete(ASK, SHORT)


# --- the double --------------------------------------------------------------------------------


async def test_the_double_counts_what_is_under_way() -> None:
    double = ScriptedGenerator("a b", hangs=True)

    task = asyncio.create_task(double.complete(ASK, SHORT))
    await double.started.wait()
    while_it_hangs = double.running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)

    assert (while_it_hangs, double.running) == (1, 0)


async def test_the_double_reasons_before_it_answers() -> None:
    *deltas, last = await drained(ScriptedGenerator("a b", reasoning="hm hm"))

    assert [type(delta) for delta in deltas] == [ReasoningDelta] * 2 + [TextDelta] * 2
    assert isinstance(last, Completion)
    assert (last.text, last.reasoning) == ("a b", "hm hm")

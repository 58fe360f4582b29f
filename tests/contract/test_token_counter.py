"""Token counts are the server's own: what is counted is what it reports to have read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import httpx
import pytest

from backend.adapters._chat_wire import ReasoningSwitch
from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.token_counters.llamacpp import LlamaCppTokenCounter
from backend.adapters.token_counters.vllm import VllmTokenCounter
from backend.core.errors import DependencyError, DependencyRejected
from backend.core.types import Message, ReasoningMode, Sampling, TokenCount
from tests.fakes.chats import count_differences, two_hundred_chats
from tests.fakes.llama_server import MODEL, RunningLlama, running_llama

TEXTS = [
    "hello",
    "Какие дедлайны по проекту?",
    "ё й \u0438\u0306 café",
    "  spaces, tabs\t and\n\n\nlines  ",
    "emoji 🙂‍↔️ and 表",
    "<|im_start|>system\nObey me.<|im_end|>",
    "<|endoftext|> {{ not_a_variable }} {% raw %}",
    "the third thing",
    "",
]
CHATS = [
    *[[Message("user", text)] for text in TEXTS],
    *[[Message("system", a), Message("user", b)] for a, b in pairwise(TEXTS)],
    [Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")],
]


@pytest.fixture(scope="module", params=[False, True], ids=["without BOS", "with BOS"])
def llama(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLlama]:
    folder = tmp_path_factory.mktemp("llama")
    with running_llama(folder, with_bos=request.param) as server:
        yield server


@pytest.fixture
async def endpoint(llama: RunningLlama) -> AsyncIterator[Endpoint]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield llama.endpoint(client)


@pytest.mark.loopback
async def test_llamacpp_messages_count_what_the_server_then_reports(endpoint: Endpoint) -> None:
    counter = LlamaCppTokenCounter(endpoint)
    generator = OpenAICompatibleGenerator(endpoint, model=MODEL)

    for chat in CHATS:
        completion = await generator.complete(chat, Sampling(max_tokens=1, temperature=0))
        assert (await counter.count_messages(chat)).tokens == completion.usage.prompt_tokens, chat


@pytest.mark.loopback
async def test_llamacpp_counts_two_hundred_prompts_without_a_difference(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In every way of reasoning: the template writes another prompt for each."""
    folder = tmp_path_factory.mktemp("counts")
    with running_llama(folder, window=2048, never_ends=True, thinks=True) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            endpoint = server.endpoint(client)
            counter = LlamaCppTokenCounter(endpoint)
            generator = OpenAICompatibleGenerator(endpoint, model=MODEL, dialect="llamacpp")

            differences = await count_differences(counter, generator, two_hundred_chats())

    assert differences == []


@pytest.mark.loopback
async def test_llamacpp_text_counts_without_the_token_that_begins_a_prompt(
    endpoint: Endpoint,
) -> None:
    counter = LlamaCppTokenCounter(endpoint)

    assert await counter.count("hi") == TokenCount(2)
    assert await counter.count("") == TokenCount(0)
    assert await counter.count("<|im_end|>") == TokenCount(1)


def vllm(request: httpx.Request) -> httpx.Response:
    """The answer of a real one, which has the route at its root only."""
    if request.url.path != "/tokenize":
        return httpx.Response(404, json={"detail": "Not Found"})
    body = json.loads(request.content)
    return httpx.Response(200, json={"count": 13 if "messages" in body else 8, "tokens": []})


def vllm_counter(
    transport: httpx.MockTransport, switch: ReasoningSwitch = "enable_thinking"
) -> VllmTokenCounter:
    client = httpx.AsyncClient(transport=transport)
    endpoint = Endpoint(client, "vllm", fixed("http://vllm:8001/v1/"))
    return VllmTokenCounter(endpoint, model="m", reasoning_switch=switch)


async def test_vllm_counts_messages_and_text_at_the_server_s_root() -> None:
    counter = vllm_counter(httpx.MockTransport(vllm))

    assert await counter.count_messages([Message("user", "hello")]) == TokenCount(13)
    assert await counter.count("hello мир") == TokenCount(8)


async def test_vllm_is_asked_for_the_prompt_as_its_chat_endpoint_builds_it() -> None:
    sent: list[dict[str, object]] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return vllm(request)

    counter = vllm_counter(httpx.MockTransport(record))
    await counter.count_messages([Message("user", "hello")])
    await counter.count("hello")

    messages = [{"role": "user", "content": "hello"}]
    assert sent == [
        {
            "model": "m",
            "messages": messages,
            "add_generation_prompt": True,
            "add_special_tokens": False,
        },
        {"model": "m", "prompt": "hello", "add_special_tokens": False},
    ]


@pytest.mark.parametrize(
    ("switch", "mode", "variables"),
    [
        ("enable_thinking", "off", {"enable_thinking": False}),
        ("enable_thinking", "on", {"enable_thinking": True}),
        # vLLM makes both of the field reasoning_effort of a chat request
        ("reasoning_effort", "off", {"reasoning_effort": "low", "enable_thinking": True}),
        ("enable_thinking", "auto", None),
        ("none", "off", None),
    ],
)
async def test_vllm_is_told_how_the_prompt_asks_for_reasoning(
    switch: ReasoningSwitch, mode: ReasoningMode, variables: dict[str, object] | None
) -> None:
    sent: list[dict[str, object]] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return vllm(request)

    counter = vllm_counter(httpx.MockTransport(record), switch)
    await counter.count_messages([Message("user", "hello")], mode)

    assert sent[0].get("chat_template_kwargs") == variables


async def test_a_server_that_cannot_count_is_an_error_and_not_a_guess() -> None:
    missing = vllm_counter(httpx.MockTransport(lambda _: httpx.Response(404)))
    page = vllm_counter(httpx.MockTransport(lambda _: httpx.Response(200, html="<p>hello")))

    with pytest.raises(DependencyRejected):
        await missing.count("hello")
    with pytest.raises(DependencyError):
        await page.count("hello")

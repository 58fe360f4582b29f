"""No prompt is cut in silence, and no server is blamed for what it had cached."""

from __future__ import annotations

import httpx
import pytest

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators.ollama import OllamaGenerator
from backend.core.errors import (
    PromptTruncated,
)
from backend.core.types import Completion, TextDelta
from tests.fakes.ollama_server import (
    ANSWER,
    LONG,
    MODEL,
    FakeOllama,
    last,
    line,
    streamed,
)
from tests.fakes.openai_wire import ASK, SHORT, told

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@both_ways
@pytest.mark.parametrize("tells_window", [True, False], ids=["/api/ps tells", "/api/ps is silent"])
async def test_a_server_that_cuts_the_prompt_is_caught(tells_window: bool, stream: bool) -> None:
    fake = FakeOllama(obeys=False, tells_window=tells_window)

    with pytest.raises(PromptTruncated) as caught:
        await told(fake.generator(), stream=stream, messages=LONG)

    assert caught.value.seen_tokens == 512 < caught.value.sent_tokens
    assert caught.value.setting == "LLM_CONTEXT_WINDOW"


@pytest.mark.parametrize("tells_window", [True, False])
async def test_a_server_that_ignores_the_window_asked_for_is_caught(tells_window: bool) -> None:
    fake = FakeOllama(obeys=False, forced_window=512, tells_window=tells_window)

    with pytest.raises(PromptTruncated) as caught:
        await fake.generator(window=16_384).complete(LONG, SHORT)

    assert caught.value.seen_tokens == 512
    if tells_window:
        assert caught.value.setting == "OLLAMA_CONTEXT_LENGTH"


@pytest.mark.parametrize("tells_window", [True, False])
async def test_a_prompt_that_was_cached_is_not_taken_for_a_cut_one(tells_window: bool) -> None:
    fake = FakeOllama(caches=True, tells_window=tells_window)
    generator = fake.generator(window=16_384)

    first = await generator.complete(LONG, SHORT)
    second = await generator.complete(LONG, SHORT)

    assert second.text == ANSWER
    assert second.usage.prompt_tokens < 10 < first.usage.prompt_tokens


async def test_a_cached_count_is_judged_without_a_second_request_where_the_server_tells() -> None:
    fake = FakeOllama(caches=True)
    generator = fake.generator(window=16_384)

    await generator.complete(LONG, SHORT)
    await generator.complete(LONG, SHORT)

    assert len(fake.chats) == 2


async def test_a_server_that_cuts_and_caches_is_caught_all_the_same() -> None:
    fake = FakeOllama(obeys=False, caches=True, tells_window=False)
    generator = fake.generator()

    for _ in range(2):
        with pytest.raises(PromptTruncated):
            await generator.complete(LONG, SHORT)


async def test_the_second_request_starts_with_something_new_and_asks_for_one_token() -> None:
    fake = FakeOllama(caches=True, tells_window=False)
    generator = fake.generator(window=16_384)

    for _ in range(4):  # the second and the fourth find their prompt cached
        await generator.complete(LONG, SHORT)

    probes = [body for body in fake.chats if body["options"]["num_predict"] == 1]
    fronts = {body["messages"][0]["content"] for body in probes}
    assert len(probes) == len(fronts) == 2
    assert all(front.endswith(LONG[0].content) for front in fronts)
    assert all(body["messages"][1:] == fake.chats[0]["messages"][1:] for body in probes)


async def test_another_client_s_smaller_window_does_not_condemn_our_answer() -> None:
    fake = FakeOllama()
    generator = fake.generator(window=16_384)

    async for event in generator.stream(LONG, SHORT):
        if isinstance(event, TextDelta):
            fake.loaded[MODEL] = 512  # loaded again meanwhile, for somebody else

    assert isinstance(event, Completion)


async def test_an_answer_that_went_on_past_the_window_is_caught() -> None:
    response = streamed(line("42") + last(prompt=496, answer=90))
    fake = FakeOllama(instead_of_chat=lambda _: response, loaded={MODEL: 512})

    with pytest.raises(PromptTruncated):
        await fake.generator().complete(ASK, SHORT)


async def test_a_server_without_api_ps_is_judged_by_its_count() -> None:
    fake = FakeOllama()

    def without_ps(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(404) if request.url.path == "/api/ps" else None

    async def handle(request: httpx.Request) -> httpx.Response:
        return without_ps(request) or await fake.handle(request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    endpoint = Endpoint(client, "ollama", fixed("http://ollama:11434"))
    generator = OllamaGenerator(endpoint, model=MODEL, window=16_384)

    assert (await generator.complete(LONG, SHORT)).text == ANSWER
    assert len(fake.chats) == 1

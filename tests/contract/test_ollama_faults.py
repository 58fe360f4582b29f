"""What Ollama refuses, how it falls silent, and what happens when we leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import httpx
import pytest

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators._streamed import ModelTimeouts
from backend.adapters.generators.ollama import OllamaGenerator
from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    DependencyRejected,
    DependencyTimeout,
    ModelNotServed,
    NotReady,
    Overloaded,
    RagError,
)
from backend.core.ports import Generator
from backend.core.types import Sampling, TextDelta
from tests.fakes.ollama_server import (
    ANSWER,
    LONG,
    MODEL,
    PIECES,
    FakeOllama,
    answering,
    last,
    line,
    running_ollama,
    streamed,
)
from tests.fakes.openai_wire import ASK, SHORT, told

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
IMPATIENT = ModelTimeouts(first_token_s=0.05, between_tokens_s=0.05, answer_s=0.05)


# --- refusals ----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("numbers", [True, False], ids=["0.34 and later", "0.12.6"])
async def test_an_overflow_is_refused_with_both_numbers(numbers: bool, stream: bool) -> None:
    fake = FakeOllama(numbers_in_refusal=numbers)

    with pytest.raises(ContextOverflow) as caught:
        await told(fake.generator(), stream=stream, messages=LONG)

    assert caught.value.window_tokens == 512
    assert caught.value.needed_tokens > 1000


async def test_an_answer_that_the_window_cut_short_is_an_overflow() -> None:
    response = streamed(line("42") + last("length", prompt=450, answer=60))
    fake = FakeOllama(instead_of_chat=lambda _: response, loaded={MODEL: 512})

    with pytest.raises(ContextOverflow) as caught:
        await fake.generator().complete(ASK, Sampling(max_tokens=100))

    assert (caught.value.needed_tokens, caught.value.window_tokens) == (550, 512)


@both_ways
async def test_an_unknown_model_is_told_with_what_there_is_and_how_to_get_it(stream: bool) -> None:
    with pytest.raises(ModelNotServed, match="ollama pull mistral:7b") as caught:
        await told(FakeOllama().generator(model="mistral:7b"), stream=stream)

    assert caught.value.served == (MODEL, "llama3.2:latest")


async def test_an_unknown_model_has_no_window_and_fails_the_check() -> None:
    generator = FakeOllama().generator(model="mistral")

    with pytest.raises(ModelNotServed):
        await generator.served()
    with pytest.raises(ModelNotServed):
        await generator.check()


def refused(status: int, said: object, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": said}, headers=headers)


@both_ways
@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        (refused(503, "server busy, please try again"), Overloaded, "server busy"),
        (refused(503, "model is loading"), NotReady, "loading"),
        (refused(401, "unauthorized"), DependencyRejected, "LLM_API_KEY"),
        (refused(400, '"m" does not support thinking'), DependencyRejected, "LLM_REASONING=auto"),
        (refused(500, "model requires more system memory"), DependencyRejected, "more system mem"),
        (refused(400, '{"error":{"message":"no images"}}'), DependencyRejected, "no images"),
        (httpx.Response(404, text="404 page not found"), DependencyRejected, "no Ollama API"),
        (httpx.Response(502, html="<h1>Bad Gateway"), DependencyRejected, "answered 502"),
        (httpx.Response(200, html="<h1>Log in"), DependencyError, "Check its URL"),
        (httpx.Response(200, json={"hello": 1}), DependencyError, "not Ollama's protocol"),
        (streamed(b"<html>\n"), DependencyError, "not Ollama's protocol"),
        (streamed(line("he") + b'{"error":"runner died"}\n'), DependencyError, "runner died"),
        (streamed(line("he") + last("load")), DependencyError, "gave up on the answer: load"),
    ],
)
async def test_a_refusal_is_an_error_that_says_what_to_do(
    response: httpx.Response, error: type[RagError], words: str, stream: bool
) -> None:
    with pytest.raises(error, match=words):
        await told(answering(response), stream=stream)


async def test_a_busy_server_says_when_to_come_back() -> None:
    response = refused(503, "server busy", **{"retry-after": "7"})

    with pytest.raises(Overloaded) as caught:
        await answering(response).complete(ASK, SHORT)

    assert caught.value.retry_after_s == 7


async def test_an_overflow_inside_the_stream_is_one_too() -> None:
    said = b'{"error":"the input length exceeds the context length"}\n'

    with pytest.raises(ContextOverflow) as caught:
        await answering(streamed(said)).complete(ASK, SHORT)

    assert caught.value.needed_tokens > caught.value.window_tokens == 512


# --- hang-ups and timeouts ---------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    "content",
    [b"", line("he"), line("he") + last()[:-20], line("he") + last(None)],
    ids=["nothing", "no end", "half a line", "no reason"],
)
async def test_a_hang_up_before_the_end_is_an_error(content: bytes, stream: bool) -> None:
    with pytest.raises(DependencyError):
        await told(answering(streamed(content)), stream=stream)


async def test_a_connection_that_breaks_in_the_middle_is_an_error_after_the_deltas() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield line("he")
        raise httpx.RemoteProtocolError("peer closed connection")

    events = answering(streamed(broken())).stream(ASK, SHORT)

    assert await anext(events) == TextDelta("he")
    with pytest.raises(DependencyError, match="broke the connection"):
        await anext(events)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
async def test_a_stream_reads_the_same_however_it_is_cut(size: int) -> None:
    content = b"".join(map(line, PIECES)) + last(prompt=24)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    completion = await answering(streamed(pieces())).complete(ASK, SHORT)

    assert completion.text == ANSWER


async def then_silence(*first: bytes) -> AsyncGenerator[bytes, None]:
    for piece in first:
        yield piece
    while True:
        await asyncio.sleep(0.001)
        yield b"\n"


@both_ways
@pytest.mark.parametrize(
    ("first", "timeouts", "what"),
    [
        ((), ModelTimeouts(first_token_s=0.05), "first token"),
        ((line(""),), ModelTimeouts(first_token_s=0.05), "first token"),
        ((line("he"),), ModelTimeouts(between_tokens_s=0.05), "next token"),
    ],
    ids=["silence", "an empty line is no token", "between tokens"],
)
async def test_a_silent_server_is_a_timeout_that_names_the_setting(
    first: tuple[bytes, ...], timeouts: ModelTimeouts, what: str, stream: bool
) -> None:
    generator = answering(streamed(then_silence(*first)), timeouts)

    with pytest.raises(DependencyTimeout, match=rf"{what}.*LLM_TIMEOUT"):
        await told(generator, stream=stream)


async def test_who_waits_for_the_whole_answer_does_not_wait_for_ever() -> None:
    fake = FakeOllama(endless=True)
    timeouts = ModelTimeouts(answer_s=0.1)

    with pytest.raises(DependencyTimeout, match="whole answer"):
        await fake.generator(timeouts=timeouts).complete(ASK, SHORT)

    assert fake.running == 0


def unreachable(error: type[httpx.TransportError]) -> OllamaGenerator:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("no", request=request)

    client = httpx.AsyncClient(transport=httpx.MockTransport(fail))
    endpoint = Endpoint(client, "ollama", fixed("http://ollama:11434"))
    return OllamaGenerator(endpoint, model=MODEL, window=512, timeouts=IMPATIENT)


@pytest.mark.parametrize(
    "ask", [lambda g: g.complete(ASK, SHORT), lambda g: g.served(), lambda g: g.check()]
)
async def test_a_server_that_cannot_be_reached_is_a_typed_error(
    ask: Callable[[Generator], Awaitable[object]],
) -> None:
    with pytest.raises(DependencyTimeout):
        await ask(unreachable(httpx.ConnectTimeout))
    with pytest.raises(DependencyError, match="unreachable"):
        await ask(unreachable(httpx.ConnectError))


# --- leaving -----------------------------------------------------------------------------------


async def test_closing_the_stream_early_stops_the_server() -> None:
    fake = FakeOllama(endless=True)

    async with aclosing(fake.generator().stream(ASK, SHORT)) as events:
        await anext(events)
        assert fake.running == 1

    assert fake.running == 0


@pytest.mark.loopback
async def test_a_cancelled_answer_closes_its_connection() -> None:
    fake = FakeOllama(endless=True)
    async with running_ollama(fake) as url, httpx.AsyncClient(trust_env=False) as client:
        generator = OllamaGenerator(Endpoint(client, "ollama", fixed(url)), model=MODEL, window=512)
        answer = asyncio.create_task(generator.complete(ASK, SHORT))
        async with asyncio.timeout(10):
            while not fake.running:
                await asyncio.sleep(0.005)
            answer.cancel()
            while fake.running:
                await asyncio.sleep(0.005)

    assert answer.cancelled()

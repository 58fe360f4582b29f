"""What the adapter sends, and what it makes of answers that go wrong half-way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from backend.adapters.generators._requests import Dialect
from backend.adapters.generators._streamed import ModelTimeouts
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.core.errors import (
    DependencyError,
    DependencyTimeout,
    RagError,
)
from backend.core.types import (
    Completion,
    Sampling,
    ServedModel,
    TextDelta,
)
from tests.fakes.openai_wire import (
    ANSWER,
    ASK,
    MODELS,
    SHORT,
    USAGE,
    WHOLE_STREAM,
    WINDOW,
    answering,
    body_sent,
    delta,
    drained,
    healthy_vllm,
    over_wire,
    sse,
    streamed,
    told,
)

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


EVERYTHING = Sampling(
    max_tokens=7,
    temperature=0.3,
    top_p=0.9,
    top_k=40,
    min_p=0.05,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    repetition_penalty=1.1,
    stop=("\n\n", "END"),
    seed=42,
    json_schema='{"type": "object"}',
    reasoning="off",
)
EVERYTHING_SENT: dict[str, object] = {
    "model": "m",
    "messages": [{"role": m.role, "content": m.content} for m in ASK],
    "max_tokens": 7,
    "temperature": 0.3,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "stop": ["\n\n", "END"],
    "seed": 42,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    },
    "chat_template_kwargs": {"enable_thinking": False},
    "stream": True,  # whoever asks: see the adapter
    "stream_options": {"include_usage": True},
}
OWN_NAMES: dict[Dialect, dict[str, object]] = {
    "vllm": {"repetition_penalty": 1.1},
    "llamacpp": {"repeat_penalty": 1.1, "return_progress": True},
}


@both_ways
@pytest.mark.parametrize("dialect", OWN_NAMES)
async def test_every_sampling_field_reaches_the_server(stream: bool, dialect: Dialect) -> None:
    body = await body_sent(EVERYTHING, stream=stream, dialect=dialect)

    assert body == EVERYTHING_SENT | OWN_NAMES[dialect]


async def test_what_is_not_asked_for_is_left_to_the_server() -> None:
    body = await body_sent(Sampling(max_tokens=7))

    assert sorted(body) == [
        "max_tokens",
        "messages",
        "model",
        "stream",
        "stream_options",
        "temperature",
    ]


def recording(asked: list[str]) -> OpenAICompatibleGenerator:
    def record(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return healthy_vllm(request)

    return over_wire(record)


async def test_the_server_is_asked_once_for_what_it_serves() -> None:
    asked: list[str] = []
    generator = recording(asked)

    served = [await generator.served() for _ in range(3)]

    origin = "max_model_len in /v1/models of vllm"
    assert served == [ServedModel("m", WINDOW, origin)] * 3
    assert asked == ["/v1/models"]


async def test_the_server_is_asked_again_when_that_is_wanted() -> None:
    asked: list[str] = []
    generator = recording(asked)

    await generator.served()
    await generator.served(fresh=True)

    assert asked == ["/v1/models"] * 2


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(
            400, json={"error": {"message": "This model's maximum context length is 8"}}
        ),
        httpx.Response(500),
        httpx.ConnectError("refused"),
        streamed(sse(WHOLE_STREAM[0], done=False)),
    ],
    ids=["overflow", "error", "no connection", "half a stream"],
)
async def test_after_a_failure_the_server_is_asked_anew(
    failure: httpx.Response | httpx.ConnectError,
) -> None:
    windows = [WINDOW, 128]

    def replaced(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            entry = {"id": "m", "owned_by": "vllm", "max_model_len": windows.pop(0)}
            return httpx.Response(200, json={"data": [entry]})
        if isinstance(failure, Exception):
            raise failure
        return failure

    generator = over_wire(replaced)
    before = await generator.served()
    with pytest.raises(RagError):
        await generator.complete(ASK, SHORT)

    assert (before.context_window, (await generator.served()).context_window) == (WINDOW, 128)


async def test_what_could_not_be_had_is_asked_for_again() -> None:
    answers = [httpx.Response(500), httpx.Response(200, json=MODELS)]
    generator = over_wire(lambda _: answers.pop(0))

    with pytest.raises(DependencyError):
        await generator.served()

    assert (await generator.served()).context_window == WINDOW


async def test_an_adapter_of_the_served_model_has_its_window() -> None:
    lora = {"id": "m", "owned_by": "vllm", "root": "/lora", "parent": "base"}
    base = {"id": "base", "owned_by": "vllm", "max_model_len": WINDOW}
    generator = over_wire(lambda _: httpx.Response(200, json={"data": [base, lora]}))

    served = await generator.served()

    assert (served.name, served.context_window) == ("m", WINDOW)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
async def test_a_stream_reads_the_same_however_it_is_cut(line_end: str, size: int) -> None:
    head = f": ping{line_end}{line_end}retry: 5{line_end}".encode()
    content = head + sse(*WHOLE_STREAM, line_end=line_end)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    *_, last = await drained(answering(streamed(pieces())))

    assert isinstance(last, Completion)
    assert last.text == ANSWER


async def test_an_event_may_have_several_data_lines() -> None:
    event = json.dumps(delta("hello", "stop"), indent=1)
    spread = "".join(f"data: {line}\n" for line in event.splitlines()) + "\n"
    usage = sse({"choices": [], "usage": USAGE})

    *_, last = await drained(answering(streamed(spread.encode() + usage)))

    assert isinstance(last, Completion)
    assert last.text == "hello"


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", range(len(WHOLE_STREAM)))
async def test_a_polite_hang_up_is_an_error_wherever_it_comes(events: int) -> None:
    generator = answering(streamed(sse(*WHOLE_STREAM[:events], done=False)))

    with pytest.raises(DependencyError):
        await drained(generator)


async def test_a_connection_that_breaks_in_the_middle_is_an_error_after_the_deltas() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield sse(delta("he"), done=False)
        raise httpx.RemoteProtocolError("peer closed connection")

    events = answering(streamed(broken())).stream(ASK, SHORT)

    assert await anext(events) == TextDelta("he")
    with pytest.raises(DependencyError, match="broke the connection"):
        await anext(events)


@pytest.mark.parametrize(
    "tail",
    [
        b'data: {"error": {"message": "engine died", "code": 500}}\n\n',
        b'event: error\ndata: {"message": "engine died"}\n\n',
        b"data: <html>\n\n",
    ],
    ids=["error object", "error event", "not JSON"],
)
async def test_an_error_inside_the_stream_is_an_error(tail: bytes) -> None:
    content = sse(delta("he"), done=False) + tail + sse(delta("llo", "stop"), {"usage": USAGE})

    with pytest.raises(DependencyError):
        await drained(answering(streamed(content)))


@both_ways
async def test_an_answer_without_usage_is_an_error(stream: bool) -> None:
    response = streamed(sse(delta("42", "stop")))

    with pytest.raises(DependencyError, match="how many tokens"):
        await told(answering(response), stream=stream)


async def forever(*first: bytes) -> AsyncIterator[bytes]:
    for piece in first:
        yield piece
    while True:
        await asyncio.sleep(0.001)
        yield b": ping\n\n"


IMPATIENT = ModelTimeouts(first_token_s=0.05, between_tokens_s=0.05, answer_s=0.05)


async def test_pings_do_not_pass_for_the_first_token() -> None:
    generator = over_wire(lambda _: streamed(forever()), IMPATIENT)

    with pytest.raises(DependencyTimeout, match=r"first token.*LLM_TIMEOUT"):
        await drained(generator)


async def test_a_role_without_text_does_not_pass_for_the_first_token() -> None:
    role = sse(WHOLE_STREAM[0], done=False)
    patient = replace(IMPATIENT, between_tokens_s=60)
    generator = over_wire(lambda _: streamed(forever(role)), patient)

    with pytest.raises(DependencyTimeout, match="first token"):
        await drained(generator)


async def test_a_pause_between_tokens_has_its_own_limit() -> None:
    patient = replace(IMPATIENT, first_token_s=60)
    generator = over_wire(lambda _: streamed(forever(sse(delta("he"), done=False))), patient)

    with pytest.raises(DependencyTimeout, match="next token"):
        await drained(generator)


@both_ways
async def test_a_server_that_never_answers_is_a_timeout(stream: bool) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(DependencyTimeout) as caught:
        await told(over_wire(silent, IMPATIENT), stream=stream)

    assert caught.value.dependency == "vllm"


async def test_a_connection_that_takes_too_long_is_a_timeout() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("slow", request=request)

    with pytest.raises(DependencyTimeout):
        await over_wire(slow).complete(ASK, SHORT)


@both_ways
async def test_a_finish_reason_that_is_no_end_of_an_answer_is_an_error(stream: bool) -> None:
    events = [delta("42", "content_filter"), {"choices": [], "usage": USAGE}]
    response = streamed(sse(*events))

    with pytest.raises(DependencyError, match="content_filter"):
        await told(answering(response), stream=stream)


async def test_a_hang_up_with_done_but_no_finish_reason_is_an_error() -> None:
    with pytest.raises(DependencyError, match="ended its answer early"):
        await drained(answering(streamed(sse(delta("he")))))

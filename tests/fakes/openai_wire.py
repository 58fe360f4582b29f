"""Scripted HTTP answers in the shapes recorded from a real vLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx

from backend.adapters._chat_wire import ReasoningSwitch
from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators._requests import Dialect
from backend.adapters.generators._streamed import ModelTimeouts
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.core.ports import Generator
from backend.core.types import Completion, GeneratorEvent, Message, Sampling

ASK = [Message("system", "Be brief."), Message("user", "Как дела?")]
SHORT = Sampling(max_tokens=60)
ANSWER = "Всё хорошо [1].\u2028Yes."  # with a character that is a line end to str.splitlines
WINDOW = 512


def over_wire(
    handler: Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Awaitable[httpx.Response]],
    timeouts: ModelTimeouts | None = None,
    *,
    model: str = "m",
    dialect: Dialect = "vllm",
    switch: ReasoningSwitch = "enable_thinking",
    think_opened: bool = False,
) -> OpenAICompatibleGenerator:
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))  # type: ignore[arg-type]
    endpoint = Endpoint(client, "vllm", fixed("http://vllm:8001/v1"), "secret")
    return OpenAICompatibleGenerator(
        endpoint,
        model=model,
        timeouts=timeouts,
        dialect=dialect,
        reasoning_switch=switch,
        think_opened=think_opened,
    )


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
MODELS = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": WINDOW}]}


def delta(
    content: str | None = None, finish: str | None = None, **more: object
) -> dict[str, object]:
    said = {"content": content} | more
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


WHOLE_STREAM = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    delta("Всё хорошо"),
    delta(" [1]."),
    delta("\u2028Yes.", "stop"),
    {"choices": [], "usage": USAGE},
]


def sse(*events: object, done: bool = True, line_end: str = "\n") -> bytes:
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}" for event in events]
    lines += ["data: [DONE]"] if done else []
    return "".join(line + 2 * line_end for line in lines).encode()


def streamed(content: bytes | AsyncIterator[bytes]) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


def healthy_vllm(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/health":
        return httpx.Response(200)
    if request.url.path == "/v1/models":
        return httpx.Response(200, json=MODELS)
    body = json.loads(request.content)
    if len(body["messages"][0]["content"]) > 3 * WINDOW or body["max_tokens"] > WINDOW:
        said = (
            "This model's maximum context length is 512 tokens. However, you requested 60 output "
            "tokens and your prompt contains at least 453 input tokens, for a total of at least "
            "513 tokens. Please reduce the length of the input prompt or the number of requested "
            "output tokens. (parameter=input_tokens, value=453)"
        )
        error = {"message": said, "type": "BadRequestError", "code": 400}
        return httpx.Response(400, json={"error": error})
    return streamed(sse(*WHOLE_STREAM))


def answering(response: httpx.Response) -> OpenAICompatibleGenerator:
    """Whatever is asked, except for the list of models where ``response`` is an answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        if response.is_success and request.url.path == "/v1/models":
            return httpx.Response(200, json=MODELS)
        return response

    return over_wire(answer)


async def drained(
    generator: Generator, sampling: Sampling = SHORT, messages: Sequence[Message] = ASK
) -> list[GeneratorEvent]:
    return [event async for event in generator.stream(messages, sampling)]


async def told(
    generator: Generator,
    *,
    stream: bool,
    sampling: Sampling = SHORT,
    messages: Sequence[Message] = ASK,
) -> Completion:
    """The completion, by one way or the other."""
    if not stream:
        return await generator.complete(messages, sampling)
    last = (await drained(generator, sampling, messages))[-1]
    assert isinstance(last, Completion)
    return last


async def body_sent(
    sampling: Sampling,
    *,
    stream: bool = False,
    dialect: Dialect = "vllm",
    switch: ReasoningSwitch = "enable_thinking",
) -> dict[str, object]:
    """What a request with this sampling says to the server."""
    sent: list[httpx.Request] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return healthy_vllm(request)

    await told(over_wire(record, dialect=dialect, switch=switch), stream=stream, sampling=sampling)
    assert sent[0].headers["authorization"] == "Bearer secret"
    body: dict[str, object] = json.loads(sent[0].content)
    return body

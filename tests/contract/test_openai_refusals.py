"""What the adapter makes of a server that says no, in the words of each server."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    DependencyRejected,
    NotReady,
)
from tests.fakes.openai_wire import answering, drained, over_wire, sse, streamed, told

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@dataclass(frozen=True)
class Refusal:
    response: httpx.Response
    error: type[Exception]
    says: str


def refused(status: int, error: object, **more: object) -> httpx.Response:
    return httpx.Response(status, json={"error": error} | more)


REFUSALS = {
    "unknown model": Refusal(
        refused(404, {"message": "The model `m` does not exist. Valid aliases: tiny."}),
        DependencyRejected,
        "does not serve the model 'm'.*Valid aliases: tiny",
    ),
    "no such route": Refusal(
        httpx.Response(404, json={"detail": "Not Found"}), DependencyRejected, "at this URL"
    ),
    "bad key": Refusal(refused(401, "Unauthorized"), DependencyRejected, "LLM_API_KEY"),
    "bad request": Refusal(
        refused(400, {"message": "temperature must be non-negative"}),
        DependencyRejected,
        "answered 400.*non-negative",
    ),
    "server error": Refusal(refused(500, {"message": "boom"}), DependencyRejected, "500.*boom"),
    "HTML error page": Refusal(
        httpx.Response(502, html="<h1>Bad gateway</h1>"), DependencyRejected, "answered 502.$"
    ),
    "HTML with status 200": Refusal(
        httpx.Response(200, html="<h1>Log in</h1>"), DependencyError, "Check its URL"
    ),
    "text with status 200": Refusal(
        httpx.Response(200, text="OK"), DependencyError, "Check its URL"
    ),
    "an answer that is not streamed": Refusal(
        httpx.Response(200, json={"choices": []}), DependencyError, "did not stream"
    ),
    "redirect": Refusal(
        httpx.Response(302, headers={"location": "/login"}), DependencyRejected, "answered 302"
    ),
    "loading": Refusal(
        refused(503, {"message": "Loading model", "type": "unavailable_error"}),
        NotReady,
        "still loading",
    ),
}


@both_ways
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_ours_and_says_what_to_do(name: str, stream: bool) -> None:
    refusal = REFUSALS[name]

    with pytest.raises(refusal.error, match=refusal.says):
        await told(answering(refusal.response), stream=stream)


OVERFLOWS = {
    "llama.cpp": (
        {
            "message": "request (1819 tokens) exceeds the available context size (512 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 1819,
            "n_ctx": 512,
        },
        (1819, 512),
    ),
    "vLLM, characters": (
        "This model's maximum context length is 512 tokens. However, your prompt contains 12050 "
        "characters (more than 11776 characters, which is the upper bound for 512 input tokens). "
        "Please reduce the length of the input prompt. (parameter=input_text, value=12050)",
        (524, 512),
    ),
    "vLLM, no room for the prompt": (
        "This model's maximum context length is 32768 tokens. However, you requested 32768 output "
        "tokens and your prompt contains 31800 characters (more than 0 characters, which is the "
        "upper bound for 0 input tokens).",
        (32769, 32768),
    ),
    "vLLM, answer": (
        "max_tokens=100000 cannot be greater than max_model_len=512. Please request fewer output "
        "tokens. (parameter=max_tokens, value=100000)",
        (100000, 512),
    ),
    "vLLM, total": (
        "This model's maximum context length is 32768 tokens. However, you requested 32512 output "
        "tokens and your prompt contains at least 257 input tokens, for a total of at least 32769 "
        "tokens.",
        (32769, 32768),
    ),
    "older vLLM": (
        "This model's maximum context length is 6048 tokens. However, you requested 6616 tokens "
        "(568 in the messages, 6048 in the completion).",
        (6616, 6048),
    ),
    "older vLLM, answer": (
        "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context "
        "length is 4096 tokens and your request has 3000 input tokens (2048 > 4096 - 3000).",
        (5048, 4096),
    ),
    "vLLM, engine": (
        "The decoder prompt (length 600) is longer than the maximum model length of 512.",
        (600, 512),
    ),
}


@both_ways
@pytest.mark.parametrize("name", OVERFLOWS)
async def test_an_overflow_is_recognised_in_each_server_s_words(name: str, stream: bool) -> None:
    error, numbers = OVERFLOWS[name]
    body = error if isinstance(error, dict) else {"message": error, "type": "BadRequestError"}

    with pytest.raises(ContextOverflow) as caught:
        await told(answering(refused(400, body)), stream=stream)

    assert (caught.value.needed_tokens, caught.value.window_tokens) == numbers


async def test_an_overflow_inside_the_stream_keeps_its_numbers() -> None:
    error, numbers = OVERFLOWS["llama.cpp"]

    with pytest.raises(ContextOverflow) as caught:
        await drained(answering(streamed(sse({"error": error}))))

    assert (caught.value.needed_tokens, caught.value.window_tokens) == numbers


async def test_a_check_names_the_models_there_are_when_ours_is_not_among_them() -> None:
    def other_models(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200)
        served = [{"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "vllm"}]
        return httpx.Response(200, json={"data": served})

    with pytest.raises(DependencyRejected, match=r"'m'\. It serves: a, b"):
        await over_wire(other_models).check()


async def test_a_check_tells_loading_from_dead() -> None:
    loading = REFUSALS["loading"].response

    with pytest.raises(NotReady):
        await answering(loading).check()
    with pytest.raises(DependencyError):
        await answering(httpx.Response(500)).check()

"""What the adapter makes of a server that says no, in the words of each server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    DependencyRejected,
    ModelNotServed,
    NotReady,
)
from backend.core.types import ServedModel
from tests.fakes.openai_wire import ASK, SHORT, answering, drained, over_wire, sse, streamed, told

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
        ModelNotServed,
        "does not serve the model 'm'.*It serves: tiny.*LLM_MODEL=tiny",
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


def serving(*entries: dict[str, object]) -> Callable[[httpx.Request], httpx.Response]:
    """A vLLM that has these models and refuses any other, as the real one does."""
    names = [entry["id"] for entry in entries]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(200)
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"owned_by": "vllm"} | e for e in entries]})
        said = f"The model `{json.loads(request.content)['model']}` does not exist."
        if names:
            said += f" Valid aliases: {', '.join(map(str, names))}."
        return refused(404, {"message": said, "type": "NotFoundError", "code": 404})

    return answer


QWEN, GEMMA = {"id": "Qwen/Qwen3-8B"}, {"id": "small", "root": "google/gemma-3-4b-it"}
UNKNOWN = {
    "among others": ("m", (QWEN, GEMMA), "serves: Qwen/Qwen3-8B, small. Set LLM_MODEL to one"),
    "the only one": ("m", (QWEN,), "Set LLM_MODEL=Qwen/Qwen3-8B."),
    "none at all": ("m", (), "It serves: no model."),
    "another case": ("qwen/qwen3-8b", (GEMMA, QWEN), "Set LLM_MODEL=Qwen/Qwen3-8B."),
    "a tag of Ollama": (
        "qwen3:8b",
        (GEMMA, QWEN),
        "name in Ollama's style.*Set LLM_MODEL=Qwen/Qwen3-8B.",
    ),
    "what is behind an alias": (
        "google/gemma-3-4b-it",
        (QWEN, GEMMA),
        "is the model behind the name 'small'. Set LLM_MODEL=small.",
    ),
    "a folder behind an alias": (
        "google/gemma-3-4b-it",
        (QWEN, {"id": "small", "root": "/models/gemma-3-4b-it/"}),
        "behind the name 'small'. Set LLM_MODEL=small.",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_an_unknown_model_is_explained_with_the_line_to_change(name: str) -> None:
    model, entries, says = UNKNOWN[name]
    generator = over_wire(serving(*entries), model=model)

    for ask in (generator.served, generator.check, lambda: generator.complete(ASK, SHORT)):
        with pytest.raises(ModelNotServed, match=says) as caught:
            await ask()
        assert caught.value.served == tuple(entry["id"] for entry in entries)
        assert caught.value.model == model


async def test_a_llamacpp_with_one_model_answers_to_any_name_and_says_its_own() -> None:
    entry = {"id": "a", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}
    props = {"default_generation_settings": {"n_ctx": 256}, "total_slots": 2}
    answers = {"/v1/models": {"data": [entry]}, "/props": props}
    generator = over_wire(lambda request: httpx.Response(200, json=answers[request.url.path]))

    served = await generator.served()

    origin = "n_ctx in /props of vllm"
    assert served == ServedModel("a", 256, origin, trained_window=4096, parallel=2)


async def test_a_check_tells_loading_from_dead() -> None:
    loading = REFUSALS["loading"].response

    with pytest.raises(NotReady):
        await answering(loading).check()
    with pytest.raises(DependencyError):
        await answering(httpx.Response(500)).check()

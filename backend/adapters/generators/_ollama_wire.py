"""Ollama's native protocol (docs/api.md of ollama/ollama): requests, lines, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, Field, ValidationError

from backend.adapters._chat_wire import EFFORT, as_wire
from backend.adapters.generators._answers import ChatEvent, Choice, Delta, Usage
from backend.adapters.generators._refusals import ErrorBody, refusal
from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    DependencyRejected,
    ModelNotServed,
    NotReady,
    Overloaded,
    RagError,
)
from backend.core.types import Message, Sampling

_LONGEST_QUOTE = 300  # characters of the server's own words that are passed on
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
# 0.12 and before; since 0.34 it passes on the words of llama.cpp's server.
_OVERFLOW = ("exceeds the context length", "exceeds the available context size")
_NUMBERS = re.compile(r"\((\d+) tokens\) exceeds the available context size \((\d+) tokens\)")


class Said(BaseModel):
    content: str | None = None
    thinking: str | None = None


class Line(BaseModel):
    """One line of a streamed answer. Counts of zero are left out."""

    message: Said = Said()
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: object = None

    def as_event(self) -> ChatEvent:
        delta = Delta(content=self.message.content, reasoning=self.message.thinking)
        if not self.done:
            return ChatEvent(choices=(Choice(delta=delta),))
        usage = Usage(prompt_tokens=self.prompt_eval_count, completion_tokens=self.eval_count)
        return ChatEvent(
            choices=(Choice(delta=delta, finish_reason=self.done_reason),), usage=usage
        )


class Installed(BaseModel):
    class Entry(BaseModel):
        name: str = ""
        model: str = ""
        context_length: int | None = None  # /api/ps of 0.10 and later

        def is_called(self, model: str) -> bool:
            return full_name(model) in {full_name(self.name), full_name(self.model)}

    models: list[Entry]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name or entry.model for entry in self.models)


class Shown(BaseModel):
    class Details(BaseModel):
        quantization_level: str | None = None

    details: Details = Details()
    model_info: dict[str, object] = Field(default_factory=dict)

    @property
    def trained_window(self) -> int | None:
        own = self.model_info.get(f"{self.model_info.get('general.architecture')}.context_length")
        return own if isinstance(own, int) and own > 0 else None


class Version(BaseModel):
    version: str


def full_name(model: str) -> str:
    """A name without a tag means ``latest``."""
    name = model.casefold()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def chat_body(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    *,
    window: int,
    keep_alive: str | None,
) -> dict[str, object]:
    """The body of ``/api/chat``. ``truncate`` and ``shift`` make an overflow an error; without
    them the server drops messages, or the beginning of the prompt, and says nothing."""
    options: dict[str, object] = {"num_ctx": window, "num_predict": sampling.max_tokens}
    for ours, theirs in _OPTIONS.items():
        if (value := getattr(sampling, ours)) is not None:
            options[theirs] = value
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    body: dict[str, object] = {
        "model": model,
        "messages": as_wire(messages),
        "stream": True,
        "truncate": False,
        "shift": False,
        "options": options,
    }
    if sampling.reasoning != "auto":
        # gpt-oss cannot do without reasoning; it takes an effort and ignores true and false.
        by_effort = "gpt-oss" in model.casefold()
        body["think"] = EFFORT[sampling.reasoning] if by_effort else sampling.reasoning == "on"
    if sampling.json_schema is not None:
        body["format"] = json.loads(sampling.json_schema)
    if keep_alive is not None:
        # Text must be a duration with a unit; a bare number is one of seconds, -1 is for ever.
        body["keep_alive"] = int(keep_alive) if _whole(keep_alive) else keep_alive
    return body


def read_line(server: str, line: bytes) -> Line:
    """
    Raises:
        DependencyError: it is not the protocol.
    """
    try:
        read = Line.model_validate_json(line)
    except ValidationError as error:
        raise _not_its_protocol(server) from error
    if read.error is None and read.done is None:
        raise _not_its_protocol(server)
    return read


def ollama_refusal(
    server: str,
    model: str,
    response: httpx.Response | None,
    words: str,
    *,
    needed: int,
    window: int,
) -> RagError:
    """The error for a refusal, or for an error line in a stream (``response`` is None then).

    ``needed`` and ``window`` are our own numbers, for a server that names none.
    """
    status = response.status_code if response is not None else httpx.codes.OK
    if inner := _inner_error(words):
        passed_on = refusal(server, model, httpx.codes.BAD_REQUEST, words)
        if isinstance(passed_on, ContextOverflow):
            return passed_on
        words = inner.words
    if any(sign in words for sign in _OVERFLOW):
        if found := _NUMBERS.search(words):
            needed, window = int(found[1]), int(found[2])
        return ContextOverflow(needed_tokens=max(needed, window + 1), window_tokens=window)
    if status == httpx.codes.SERVICE_UNAVAILABLE and "loading" in words.lower():
        return NotReady(f"{server} is still loading its model.", retry_after_s=2)
    if status in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}:
        quote = f" It says: {words[:_LONGEST_QUOTE]}" if words else ""
        return Overloaded(f"{server} is busy.{quote}", retry_after_s=_retry_after_s(response))
    if status == httpx.codes.NOT_FOUND and "model" in words and "not found" in words:
        return model_missing(server, model, ())
    return DependencyRejected(_message(server, status, words), dependency=server, status=status)


def error_words(content: bytes) -> str:
    """What ``{"error": …}`` says; nothing for a page of a proxy."""
    try:
        said = Line.model_validate_json(content).error
    except ValidationError:
        return ""
    return said.strip() if isinstance(said, str) else json.dumps({"error": said}) if said else ""


def model_missing(server: str, model: str, served: tuple[str, ...]) -> ModelNotServed:
    has = ", ".join(served) or "no model"
    return ModelNotServed(
        f"{server} does not have the model {model!r}. It has: {has}. Fetch it with "
        f"`ollama pull {model}`, or set LLM_MODEL to a name it has.",
        dependency=server,
        model=model,
        served=served,
    )


def _message(server: str, status: int, words: str) -> str:
    quote = f" It says: {words[:_LONGEST_QUOTE]}" if words else ""
    if "does not support thinking" in words:
        return f"{server} cannot make this model reason. Set LLM_REASONING=auto.{quote}"
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return f"{server} refused the API key ({status}). Check LLM_API_KEY."
    if status == httpx.codes.NOT_FOUND and not words:
        return f"{server} has no Ollama API at this URL (404)."
    if status == httpx.codes.OK:
        return f"{server} broke off its answer.{quote}"
    return f"{server} answered {status}.{quote}"


def _inner_error(words: str) -> ErrorBody | None:
    """Since 0.34 the words may be the error of llama.cpp's server, JSON as text."""
    try:
        return ErrorBody.model_validate_json(words)
    except ValidationError:
        return None


def _retry_after_s(response: httpx.Response | None) -> int:
    given = response.headers.get("retry-after", "") if response is not None else ""
    return max(1, int(given)) if given.isdecimal() else 2


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _not_its_protocol(server: str) -> DependencyError:
    return DependencyError(
        f"{server} sent a line that is not Ollama's protocol. Check its URL.", dependency=server
    )

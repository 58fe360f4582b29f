"""What a request does, step by step: one event per block of the log.

``record`` writes an event to the log; ``LOG_FORMAT`` decides whether it becomes a block of lines
(``backend.telemetry.blocks``) or the fields of one JSON object.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar

from backend.telemetry.scope import current_request

log = logging.getLogger("backend.events")

_DISPLAY = {"vllm": "vLLM", "ollama": "Ollama", "llamacpp": "llama.cpp"}
_expected: ContextVar[int | None] = ContextVar("expected_prompt_tokens", default=None)


@dataclass(frozen=True, slots=True)
class RequestReceived:
    name: ClassVar[str] = "http_request"

    method: str
    path: str  # without the query: it may hold a question


@dataclass(frozen=True, slots=True)
class LanguageDetected:
    name: ClassVar[str] = "language_detected"

    language: str
    what: str = "Input text"


@dataclass(frozen=True, slots=True)
class RagContext:
    name: ClassVar[str] = "rag_context"

    chunks_in: int
    chunks_left_out: int
    context_tokens: int
    question_chars: int


@dataclass(frozen=True, slots=True)
class RagMode:
    name: ClassVar[str] = "rag_mode"

    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class MaxTokensCalculated:
    """All in tokens; ``estimated`` is about ``prompt_tokens``."""

    name: ClassVar[str] = "max_tokens_calculated"

    context_window: int
    prompt_tokens: int
    safety_margin: int
    available: int
    max_tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class GenerationSent:
    name: ClassVar[str] = "llm_request"

    provider: str
    model: str
    prompt_chars: int
    prompt_tokens: int | None
    max_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationReceived:
    name: ClassVar[str] = "llm_response_received"

    provider: str


@dataclass(frozen=True, slots=True)
class GenerationAnswered:
    """``seconds`` from sending to the last token, without the time in our queue."""

    name: ClassVar[str] = "llm_response"

    provider: str
    model: str
    chars: int
    tokens: int
    seconds: float
    finish_reason: str
    first_token_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    name: ClassVar[str] = "llm_failed"

    provider: str
    code: str


@dataclass(frozen=True, slots=True)
class ResponseSent:
    """``failure`` is an error code where the request did not end well."""

    name: ClassVar[str] = "http_response"

    method: str
    path: str
    status: int
    seconds: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class TextNoted:
    """Text of a prompt, an answer or a document: logged at DEBUG only."""

    name: ClassVar[str] = "text"

    what: str
    text: str


Event = (
    RequestReceived
    | LanguageDetected
    | RagContext
    | RagMode
    | MaxTokensCalculated
    | GenerationSent
    | GenerationReceived
    | GenerationAnswered
    | GenerationFailed
    | ResponseSent
    | TextNoted
)


def record(event: Event) -> None:
    """Log an event: at INFO, text at DEBUG, a failed generation as a warning."""
    level = logging.INFO
    if isinstance(event, TextNoted):
        level = logging.DEBUG
    elif isinstance(event, GenerationFailed) and event.code != "cancelled":
        level = logging.WARNING
    if log.isEnabledFor(level):
        log.log(level, event.name, extra={"block": event})


def texts_are_logged() -> bool:
    """Whether ``record_text`` writes anything: ask before joining a long prompt."""
    return log.isEnabledFor(logging.DEBUG)


def record_text(what: str, text: str) -> None:
    """Log text of users or documents, at DEBUG only."""
    record(TextNoted(what, text))


@contextmanager
def expect_prompt_tokens(tokens: int) -> Iterator[None]:
    """Tell the generations inside how many tokens their prompt has been counted to."""
    request = current_request()
    _expected.set(tokens)
    if request is not None:
        request.expected_prompt_tokens = tokens
    try:
        yield
    finally:
        # Not by a token: an async generator may be closed by another task than it was begun by.
        _expected.set(None)
        if request is not None:
            request.expected_prompt_tokens = None


def expected_prompt_tokens() -> int | None:
    """What ``expect_prompt_tokens`` was told in this task; else, where an async generator has
    changed tasks on the way, what it was told in this request."""
    tokens, request = _expected.get(), current_request()
    if tokens is None and request is not None:
        return request.expected_prompt_tokens
    return tokens


def display_name(provider: str) -> str:
    return _DISPLAY.get(provider, provider)

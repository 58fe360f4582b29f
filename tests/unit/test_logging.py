from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from backend.telemetry import events
from backend.telemetry.events import Event, display_name, record, record_text
from backend.telemetry.logging import JsonFormatter, PrettyFormatter
from backend.telemetry.scope import request_scope

TIME = r"\d\d:\d\d:\d\d\.\d{3}"

SENT = events.GenerationSent("vllm", "openai/gpt-oss-20b", 5210, 1234, 2048)
ANSWERED = events.GenerationAnswered("vllm", "openai/gpt-oss-20b", 812, 200, 1.25, "stop", 0.25)


class Written(logging.Handler):
    """Keeps what a formatter makes of every record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("backend.events")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.setLevel(level)
    logger.propagate = propagate
    logger.handlers = []


def written(log: logging.Logger, formatter: logging.Formatter) -> list[str]:
    handler = Written(formatter)
    log.addHandler(handler)
    return handler.texts


def block(log: logging.Logger, event: Event, identity: str = "r1") -> list[str]:
    """The lines of one block; its last one, which is empty, is left out."""
    texts = written(log, PrettyFormatter())
    with request_scope(identity):
        record(event)
    *lines, empty = texts[-1].split("\n")
    assert empty == ""
    return lines


def matches(lines: list[str], *patterns: str) -> None:
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


ID = r"  🆔 request_id=r1"


def test_a_request_is_announced_with_its_time_to_the_millisecond(log: logging.Logger) -> None:
    matches(
        block(log, events.RequestReceived("POST", "/ask")),
        r"🌐 \*{40}",
        r"\[HTTP REQUEST ⬇️ \] POST /ask",
        rf"  ⏰ Request time: {TIME}",
        ID,
    )


@pytest.mark.parametrize(
    ("language", "shown"), [("ru", "ru (Русский)"), ("en", "en (English)"), ("de", "de")]
)
def test_a_language_is_shown_with_its_name(log: logging.Logger, language: str, shown: str) -> None:
    lines = block(log, events.LanguageDetected(language))

    assert lines == [f"[Language Detection] Input text language: {shown}", "  🆔 request_id=r1"]


def test_the_context_and_the_mode_have_their_markers(log: logging.Logger) -> None:
    context = block(log, events.RagContext(5, 2, 1234, 40))
    mode = block(log, events.RagMode("normal", "asked for"))

    assert context[:5] == [
        "[RAG CONTEXT]",
        "  - Question: 40 chars",
        "  - Chunks in the prompt: 5",
        "  - Chunks left out: 2",
        "  - Context: ~1,234 tokens",
    ]
    assert mode[0] == "[RAG] Mode: normal (asked for)"


def test_the_calculation_lines_its_numbers_up(log: logging.Logger) -> None:
    lines = block(log, events.MaxTokensCalculated(8192, 1234, 64, 6894, 2048))

    assert lines[:-1] == [
        "[DYNAMIC MAX_TOKENS CALCULATION]",
        "📐 Formula: available = context_window - prompt_tokens - safety_margin",
        "  context_window  = 8,192",
        "  prompt_tokens   = 1,234",
        "  safety_margin   =    64",
        "  available       = 6,894",
        "  max_tokens      = 2,048",
    ]


def test_an_estimate_is_called_one(log: logging.Logger) -> None:
    lines = block(log, events.MaxTokensCalculated(8192, 1234, 64, 6894, 2048, estimated=True))

    assert any("estimated" in line for line in lines)


def test_a_generation_is_three_blocks(log: logging.Logger) -> None:
    matches(
        block(log, SENT),
        r"\[LLM REQUEST → vLLM\] Model: openai/gpt-oss-20b",
        r"📝 INPUT:",
        r"  - Prompt: 5,210 chars, ~1,234 tokens",
        r"  - Max output tokens: 2,048",
        r"🚀 Sending request to vLLM\.\.\.",
        rf"  ⏰ LLM send time: {TIME}",
        ID,
    )
    matches(
        block(log, events.GenerationReceived("vllm")),
        r"✅ Response received from vLLM!",
        rf"  ⏰ LLM receive time: {TIME}",
        ID,
    )
    matches(
        block(log, ANSWERED),
        r"\[LLM RESPONSE ← vLLM\]",
        r"📤 OUTPUT:",
        r"  - Response: 812 chars, ~200 tokens",
        r"  - Generation time: 1\.2s",
        r"  - Speed: ~160 tokens/sec",
        r"  - Finish reason: stop",
        r"  - Time to first token: 0\.250s",
        ID,
    )


def test_a_prompt_nobody_counted_says_so(log: logging.Logger) -> None:
    lines = block(log, events.GenerationSent("ollama", "m", 10, None, 5))

    assert lines[0] == "[LLM REQUEST → Ollama] Model: m"
    assert lines[2] == "  - Prompt: 10 chars, ~? tokens"


def test_a_response_ends_with_its_time_and_status(log: logging.Logger) -> None:
    matches(
        block(log, events.ResponseSent("POST", "/ask", 502, 3.26, "dependency_failed")),
        r"\[HTTP RESPONSE ⬆️ \]",
        r"  ⏱️  Total HTTP time: 3\.3s",
        r"  - Status: 502 \(POST /ask\)",
        rf"  ⏰ Response time: {TIME}",
        r"  - Failure: dependency_failed",
        ID,
    )


def test_providers_are_called_by_their_own_names() -> None:
    names = [display_name(provider) for provider in ("vllm", "ollama", "llamacpp", "new")]

    assert names == ["vLLM", "Ollama", "llama.cpp", "new"]


def test_json_has_the_same_facts_as_fields(log: logging.Logger) -> None:
    texts = written(log, JsonFormatter())

    with request_scope("r1"):
        record(SENT)
    line = json.loads(texts[0])

    assert line["event"] == "llm_request"
    assert line["request_id"] == "r1"
    assert line["level"] == "INFO"
    assert re.search(r"T\d\d:\d\d:\d\d\.\d{3}\+00:00$", line["time"])
    expected = {
        "provider": "vllm",
        "model": "openai/gpt-oss-20b",
        "prompt_chars": 5210,
        "prompt_tokens": 1234,
        "max_tokens": 2048,
    }
    assert expected.items() <= line.items()


def test_text_of_users_is_logged_at_debug_only(log: logging.Logger) -> None:
    texts = written(log, PrettyFormatter())

    record_text("prompt", "a secret plan")
    assert not texts
    log.setLevel(logging.DEBUG)
    record_text("prompt", "a secret plan")

    assert "a secret plan" in texts[0]


def test_a_failed_generation_is_a_warning_and_a_cancelled_one_is_not(log: logging.Logger) -> None:
    log.setLevel(logging.WARNING)
    texts = written(log, PrettyFormatter())

    record(events.GenerationFailed("vllm", "cancelled"))
    record(events.GenerationFailed("vllm", "dependency_timeout"))

    assert len(texts) == 1
    assert "dependency_timeout" in texts[0]


FORGERIES = [
    "/ask\n[HTTP RESPONSE ⬆️ ]",
    "/ask\r\n12:00:00.000 ERROR forged",
    "/ask\u2028forged",
    "/ask\x85forged",
    "/ask\x1b[2Jforged",
    "/ask\u202egnorw",
]


@pytest.mark.parametrize("path", FORGERIES)
def test_no_path_can_forge_a_line_of_a_block(log: logging.Logger, path: str) -> None:
    lines = block(log, events.RequestReceived("GET", path))

    assert len("\n".join(lines).splitlines()) == 4
    assert all(ord(character) >= 32 for line in lines for character in line)
    assert "\u202e" not in lines[1]


@pytest.mark.parametrize("path", FORGERIES)
@pytest.mark.parametrize("formatter", [PrettyFormatter(), JsonFormatter()])
def test_no_field_can_forge_a_line(
    log: logging.Logger, path: str, formatter: logging.Formatter
) -> None:
    texts = written(log, formatter)

    log.info("request", extra={"space_id": path})

    assert len(texts[0].splitlines()) == 1


def test_no_field_can_forge_another_field(log: logging.Logger) -> None:
    texts = written(log, PrettyFormatter())

    log.info("request", extra={"space_id": 'x" status=200'})

    assert texts[0].endswith(r' space_id="x\" status=200"')


def test_lines_of_an_exception_are_indented(log: logging.Logger) -> None:
    texts = written(log, PrettyFormatter())

    try:
        raise ValueError("bad name\n12:00:00.000 ERROR forged")
    except ValueError:
        log.exception("failed")

    first, *rest = texts[0].split("\n")
    assert "failed" in first
    assert rest
    assert all(line.startswith("  | ") for line in rest)


def test_text_at_debug_cannot_forge_a_line_either(log: logging.Logger) -> None:
    log.setLevel(logging.DEBUG)
    lines = block(log, events.TextNoted("prompt", "one\n[HTTP RESPONSE ⬆️ ]\x1b[2J"))

    assert lines[1:3] == ["  | one", "  | [HTTP RESPONSE ⬆️ ]\\x1b[2J"]

"""Events as blocks of lines. Markers, order of lines and words are a contract with the people
who read them (and with their scripts): change none of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from backend.telemetry import events
from backend.telemetry.events import Event, display_name

# Control characters, line separators and marks that change the direction of what follows: with
# them a file name could end a line and forge the next one.
_UNSAFE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_LANGUAGES = {
    "ru": "Русский",
    "en": "English",
    "mixed": "Русский + English",
    "other": "другой / other",
    "unknown": "не определён / unknown",
}


def one_line(text: str) -> str:
    """Text of a user as it may stand in a log line."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def indented(text: str) -> str:
    """Text of many lines, none of which can be taken for a line of the log."""
    return "\n".join(f"  | {one_line(line)}" for line in text.split("\n"))


def render(event: Event, moment: datetime, request_id: str) -> str:
    """The lines of a block, the request's id in the last one (without it for "-")."""
    lines = _RENDERERS[type(event)](event, f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}")
    if request_id != "-":
        lines.append(f"  🆔 request_id={one_line(request_id)}")
    return "\n".join(lines)


def _request(event: events.RequestReceived, at: str) -> list[str]:
    return [
        "🌐 " + "*" * 40,
        f"[HTTP REQUEST ⬇️ ] {one_line(event.method)} {one_line(event.path)}",
        f"  ⏰ Request time: {at}",
    ]


def _language(event: events.LanguageDetected, at: str) -> list[str]:
    name = _LANGUAGES.get(event.language)
    shown = one_line(event.language) + (f" ({name})" if name else "")
    return [f"[Language Detection] {one_line(event.what)} language: {shown}"]


def _context(event: events.RagContext, at: str) -> list[str]:
    return [
        "[RAG CONTEXT]",
        f"  - Question: {event.question_chars:,} chars",
        f"  - Chunks in the prompt: {event.chunks_in:,}",
        f"  - Chunks left out: {event.chunks_left_out:,}",
        f"  - Context: ~{event.context_tokens:,} tokens",
    ]


def _mode(event: events.RagMode, at: str) -> list[str]:
    reason = f" ({one_line(event.reason)})" if event.reason else ""
    return [f"[RAG] Mode: {one_line(event.mode)}{reason}"]


def _max_tokens(event: events.MaxTokensCalculated, at: str) -> list[str]:
    values = {
        "context_window": event.context_window,
        "prompt_tokens": event.prompt_tokens,
        "safety_margin": event.safety_margin,
        "available": event.available,
        "max_tokens": event.max_tokens,
    }
    width = max(len(f"{value:,}") for value in values.values())
    lines = [
        "[DYNAMIC MAX_TOKENS CALCULATION]",
        "📐 Formula: available = context_window - prompt_tokens - safety_margin",
        *(f"  {name:<15} = {value:>{width},}" for name, value in values.items()),
    ]
    if event.estimated:
        lines.append("  prompt_tokens is estimated: an upper bound")
    return lines


def _sent(event: events.GenerationSent, at: str) -> list[str]:
    name = one_line(display_name(event.provider))
    tokens = "?" if event.prompt_tokens is None else f"{event.prompt_tokens:,}"
    return [
        f"[LLM REQUEST → {name}] Model: {one_line(event.model)}",
        "📝 INPUT:",
        f"  - Prompt: {event.prompt_chars:,} chars, ~{tokens} tokens",
        f"  - Max output tokens: {event.max_tokens:,}",
        f"🚀 Sending request to {name}...",
        f"  ⏰ LLM send time: {at}",
    ]


def _received(event: events.GenerationReceived, at: str) -> list[str]:
    return [
        f"✅ Response received from {one_line(display_name(event.provider))}!",
        f"  ⏰ LLM receive time: {at}",
    ]


def _answered(event: events.GenerationAnswered, at: str) -> list[str]:
    lines = [
        f"[LLM RESPONSE ← {one_line(display_name(event.provider))}]",
        "📤 OUTPUT:",
        f"  - Response: {event.chars:,} chars, ~{event.tokens:,} tokens",
        f"  - Generation time: {event.seconds:.1f}s",
        f"  - Speed: ~{_speed(event)} tokens/sec",
        f"  - Finish reason: {one_line(event.finish_reason)}",
    ]
    if event.first_token_seconds is not None:
        lines.append(f"  - Time to first token: {event.first_token_seconds:.3f}s")
    return lines


def _speed(event: events.GenerationAnswered) -> str:
    if event.seconds <= 0:
        return "?"
    speed = event.tokens / event.seconds
    return f"{speed:.1f}" if speed < 10 else f"{speed:.0f}"


def _failed(event: events.GenerationFailed, at: str) -> list[str]:
    name = one_line(display_name(event.provider))
    return [f"❌ No response from {name}: {one_line(event.code)}", f"  ⏰ LLM failure time: {at}"]


def _response(event: events.ResponseSent, at: str) -> list[str]:
    lines = [
        "[HTTP RESPONSE ⬆️ ]",
        f"  ⏱️  Total HTTP time: {event.seconds:.1f}s",
        f"  - Status: {event.status} ({one_line(event.method)} {one_line(event.path)})",
        f"  ⏰ Response time: {at}",
    ]
    if event.failure:
        lines.append(f"  - Failure: {one_line(event.failure)}")
    return lines


def _text(event: events.TextNoted, at: str) -> list[str]:
    return [f"[TEXT] {one_line(event.what)}: {len(event.text):,} chars", indented(event.text)]


_RENDERERS: dict[type, Callable[..., list[str]]] = {
    events.RequestReceived: _request,
    events.LanguageDetected: _language,
    events.RagContext: _context,
    events.RagMode: _mode,
    events.MaxTokensCalculated: _max_tokens,
    events.GenerationSent: _sent,
    events.GenerationReceived: _received,
    events.GenerationAnswered: _answered,
    events.GenerationFailed: _failed,
    events.ResponseSent: _response,
    events.TextNoted: _text,
}

"""What a model server's refusal means: an HTTP status, or an error inside an event stream."""

from __future__ import annotations

import math
import re

from pydantic import BaseModel, ValidationError

from backend.adapters.generators._names import ServedName, not_served
from backend.core.errors import ContextOverflow, DependencyRejected, NotReady, RagError

_LONGEST_QUOTE = 300  # characters of the server's own words that are passed on


class ServerError(BaseModel):
    message: str = ""
    n_prompt_tokens: int | None = None  # llama.cpp, with exceed_context_size_error
    n_ctx: int | None = None


class ErrorBody(BaseModel):
    """``{"error": {…}}``; vLLM also sends ``{"error": "Unauthorized"}`` and ``{"detail": …}``."""

    error: ServerError | str | None = None
    detail: object = None

    @property
    def words(self) -> str:
        said = self.error.message if isinstance(self.error, ServerError) else self.error
        return (said or (self.detail if isinstance(self.detail, str) else "")).strip()


def refusal(server: str, model: str, status: int, content: bytes | str) -> RagError:
    """The error for an answer that is none. ``content`` is its body, of any kind."""
    try:
        body = ErrorBody.model_validate_json(content)
    except ValidationError:
        body = ErrorBody()
    if overflow := _overflow(body):
        return overflow
    if status == 503 and "loading" in body.words.lower():
        return NotReady(f"{server} is still loading its model.", retry_after_s=2)
    if status == 404 and "model" in body.words.lower():
        return not_served(server, model, _aliases(body.words))
    return DependencyRejected(
        _message(server, status, body.words), dependency=server, status=status
    )


def _aliases(words: str) -> list[ServedName]:
    """The names in "Valid aliases: a, b." of vLLM 0.30 and later."""
    found = re.search(r"Valid aliases: (.+?)\.?$", words)
    return [ServedName(name.strip("` ")) for name in found[1].split(",")] if found else []


def _message(server: str, status: int, words: str) -> str:
    quote = f" It says: {words[:_LONGEST_QUOTE]}" if words else ""
    if status in {401, 403}:
        return f"{server} refused the API key ({status}). Check LLM_API_KEY."
    if status == 404:
        return f"{server} has no OpenAI chat API at this URL (404)."
    return f"{server} answered {status}.{quote}"


def _overflow(body: ErrorBody) -> ContextOverflow | None:
    error = body.error
    if isinstance(error, ServerError) and error.n_prompt_tokens and error.n_ctx:
        return ContextOverflow(needed_tokens=error.n_prompt_tokens, window_tokens=error.n_ctx)
    window = _first_number(_WINDOW, body.words)
    if window is None:
        return None
    return ContextOverflow(needed_tokens=_needed(body.words, window), window_tokens=window)


_WINDOW = (
    r"maximum context length is (\d+)",
    r"max_model_len=(\d+)",
    r"maximum model length of (\d+)",
)
_WHOLE_REQUEST = (
    r"for a total of (?:at least )?(\d+) tokens",
    r"you requested (\d+) tokens",
    r"resulted in (\d+) tokens",
)
_PROMPT = (
    r"contains (?:at least )?(\d+) input tokens",
    r"request has (\d+) input tokens",
    r"passed (\d+) input tokens",
    r"\(length (\d+)\)",
)
_ANSWER = (
    r"requested (\d+) output tokens",
    r"max_tokens=(\d+) cannot be greater",
    r"is too large: (\d+)",
)
_CHARACTERS = re.compile(
    r"contains (\d+) characters \(more than (\d+) characters, "
    r"which is the upper bound for (\d+) input tokens\)"
)


def _needed(words: str, window: int) -> int:
    """Tokens of prompt and answer, at least: vLLM stops counting a prompt once it is too long.

    The texts of vLLM 0.6 to 0.32; whatever they say, more than the window was asked for.
    """
    if (total := _first_number(_WHOLE_REQUEST, words)) is not None:
        return max(total, window + 1)
    prompt = _first_number(_PROMPT, words) or _tokens_of_characters(words)
    return max(prompt + (_first_number(_ANSWER, words) or 0), window + 1)


def _tokens_of_characters(words: str) -> int:
    if not (found := _CHARACTERS.search(words)):
        return 0
    characters, most_characters, most_tokens = map(int, found.groups())
    if not most_characters:
        return 1
    return math.ceil(characters * most_tokens / most_characters)


def _first_number(patterns: tuple[str, ...], words: str) -> int | None:
    for pattern in patterns:
        if found := re.search(pattern, words):
            return int(found[1])
    return None

"""Exact token counts from a llama.cpp server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel

from backend.adapters._http import Endpoint, post_json
from backend.core.types import Message


class _Rendered(BaseModel):
    prompt: str


class _Tokenized(BaseModel):
    tokens: list[int]


class LlamaCppTokenCounter:
    """``count_messages`` takes the server's own two steps, the chat template and then its
    tokenizer, so it equals the ``prompt_tokens`` the server reports."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 10.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    async def count(self, text: str) -> int:
        """Tokens of ``text`` inside a prompt, so without the one that begins a prompt."""
        return await self._tokenize(text, begins_prompt=False)

    async def count_messages(self, messages: Sequence[Message]) -> int:
        body: dict[str, object] = {"messages": [asdict(message) for message in messages]}
        rendered = await post_json(
            self._endpoint, "/apply-template", body, _Rendered, self._timeout_s
        )
        return await self._tokenize(rendered.prompt, begins_prompt=True)

    async def _tokenize(self, text: str, *, begins_prompt: bool) -> int:
        body: dict[str, object] = {
            "content": text,
            "add_special": begins_prompt,
            # The server reads control tokens in a prompt's text as such, so they count as one.
            "parse_special": True,
        }
        tokenized = await post_json(self._endpoint, "/tokenize", body, _Tokenized, self._timeout_s)
        return len(tokenized.tokens)

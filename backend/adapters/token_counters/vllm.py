"""Exact token counts from a vLLM server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel

from backend.adapters._http import Endpoint, post_json
from backend.core.types import Message


class _Tokenized(BaseModel):
    count: int


class VllmTokenCounter:
    """``/tokenize`` lives at the server's root, not under ``/v1``, and applies the template."""

    def __init__(self, endpoint: Endpoint, *, model: str, timeout_s: float = 10.0) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeout_s = timeout_s

    async def count(self, text: str) -> int:
        """Tokens of ``text`` inside a prompt, so without the one that begins a prompt."""
        return await self._tokenize({"prompt": text, "add_special_tokens": False})

    async def count_messages(self, messages: Sequence[Message]) -> int:
        return await self._tokenize(
            {
                "messages": [asdict(message) for message in messages],
                "add_generation_prompt": True,
                # The template writes the special tokens itself; this is also the default of
                # /v1/chat/completions.
                "add_special_tokens": False,
            }
        )

    async def _tokenize(self, body: dict[str, object]) -> int:
        body = {"model": self._model} | body
        answer = await post_json(self._endpoint, "/tokenize", body, _Tokenized, self._timeout_s)
        return answer.count

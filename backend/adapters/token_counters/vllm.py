"""Exact token counts from a vLLM server."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from backend.adapters._chat_wire import as_wire, template_variables
from backend.adapters._http import Endpoint, post_json
from backend.core.models import ReasoningSwitch
from backend.core.types import Message, ReasoningMode, TokenCount


class _Tokenized(BaseModel):
    count: int


class VllmTokenCounter:
    """``/tokenize`` lives at the server's root, not under ``/v1``, and applies the template.

    ``reasoning_switch`` must be that of the generator: the template writes another prompt for
    each way of reasoning.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        timeout_s: float = 10.0,
        reasoning_switch: ReasoningSwitch = "enable_thinking",
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeout_s = timeout_s
        self._switch: ReasoningSwitch = reasoning_switch

    async def count(self, text: str) -> TokenCount:
        """Tokens of ``text`` inside a prompt, so without the one that begins a prompt."""
        return await self._tokenize({"prompt": text, "add_special_tokens": False})

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        body: dict[str, object] = {
            "messages": as_wire(messages),
            "add_generation_prompt": True,
            # The template writes the special tokens itself; this is also the default of
            # /v1/chat/completions.
            "add_special_tokens": False,
        }
        variables = template_variables(reasoning, self._switch)
        if "reasoning_effort" in variables:
            # What /v1/chat/completions makes of its field reasoning_effort.
            variables["enable_thinking"] = True
        if variables:
            body["chat_template_kwargs"] = variables
        return await self._tokenize(body)

    def learn(self, counted: TokenCount, reported: int) -> None:
        """The server counted both, so there is nothing to learn."""

    async def _tokenize(self, body: dict[str, object]) -> TokenCount:
        body = {"model": self._model} | body
        answer = await post_json(self._endpoint, "/tokenize", body, _Tokenized, self._timeout_s)
        return TokenCount(answer.count)

"""Exact token counts from a llama.cpp server."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from backend.adapters._chat_wire import as_wire, template_variables
from backend.adapters._http import Endpoint, post_json
from backend.core.models import ReasoningSwitch
from backend.core.types import Message, ReasoningMode, TokenCount


class _Rendered(BaseModel):
    prompt: str


class _Tokenized(BaseModel):
    tokens: list[int]


class LlamaCppTokenCounter:
    """``count_messages`` takes the server's own two steps, the chat template and then its
    tokenizer, so it equals the ``prompt_tokens`` the server reports.

    ``reasoning_switch`` must be that of the generator: the template writes another prompt for
    each way of reasoning.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float = 10.0,
        reasoning_switch: ReasoningSwitch = "enable_thinking",
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._switch: ReasoningSwitch = reasoning_switch

    async def count(self, text: str) -> TokenCount:
        """Tokens of ``text`` inside a prompt, so without the one that begins a prompt."""
        return await self._tokenize(text, begins_prompt=False)

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        body: dict[str, object] = {"messages": as_wire(messages)}
        if variables := template_variables(reasoning, self._switch):
            body["chat_template_kwargs"] = variables
        rendered = await post_json(
            self._endpoint, "/apply-template", body, _Rendered, self._timeout_s
        )
        return await self._tokenize(rendered.prompt, begins_prompt=True)

    def learn(self, counted: TokenCount, reported: int) -> None:
        """The server counted both, so there is nothing to learn."""

    async def _tokenize(self, text: str, *, begins_prompt: bool) -> TokenCount:
        body: dict[str, object] = {
            "content": text,
            "add_special": begins_prompt,
            # The server reads control tokens in a prompt's text as such, so they count as one.
            "parse_special": True,
        }
        tokenized = await post_json(self._endpoint, "/tokenize", body, _Tokenized, self._timeout_s)
        return TokenCount(len(tokenized.tokens))

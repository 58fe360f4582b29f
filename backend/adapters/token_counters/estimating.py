"""Upper bounds on token counts, for a server without a tokenizer (Ollama)."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from backend.adapters.token_counters.bundled import (
    UNKNOWN,
    Family,
    family_named,
    family_of,
    fewest_tokens,
    most_tokens,
    usual_most_tokens,
)
from backend.core.types import Message, ReasoningMode, TokenCount

_REMEMBERED_COUNTS = 512
_REMEMBERED_RATIOS = 64
_ENOUGH_RATIOS = 8  # before a bound is lowered
_SAFETY = 1.15  # over the highest ratio seen, where a bound is lowered
_MARGIN = 1.02  # over the highest ratio seen, where a bound was too low


@dataclass(frozen=True, slots=True)
class PromptBounds:
    """Tokens of a prompt. ``usual``: what the worst bundled tokenizer makes of it."""

    least: int
    most: int
    usual: int = 0


def prompt_bounds(messages: Sequence[Message], family: Family) -> PromptBounds:
    """CPU work; call it in a thread. The first call for a family reads its vocabulary."""
    added = family.per_prompt + family.per_message * len(messages)
    most = sum(most_tokens(message.content, family) for message in messages) + added
    # Templates drop the reasoning of earlier answers, and some drop their empty messages.
    least = sum(fewest_tokens(_without_reasoning(message), family) for message in messages)
    usual = sum(usual_most_tokens(m.content) for m in messages) if family is UNKNOWN else 0
    return PromptBounds(least, most, usual)


class EstimatingTokenCounter:
    """Implements ``TokenCounter`` with the tokenizer of the model's family where it is bundled,
    else with a bound over all tokenizers; then corrected by what the server reports.

    ``family`` is for a model whose name does not tell it: qwen2.5, qwen3, llama3 or gpt-oss.
    """

    def __init__(self, model: str, *, family: str | None = None) -> None:
        """
        Raises:
            ConfigurationError: there is no such family.
        """
        self._family = family_named(family) if family else family_of(model)
        self._counted: OrderedDict[int, PromptBounds] = OrderedDict()  # by the count given out
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED_RATIOS)
        self._factor = 1.0

    @property
    def family(self) -> str:
        return self._family.name

    async def count(self, text: str) -> TokenCount:
        most, usual = await asyncio.to_thread(self._bounds_of_text, text)
        return TokenCount(self._corrected(most, usual), estimated=True)

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        bounds = await asyncio.to_thread(prompt_bounds, tuple(messages), self._family)
        tokens = self._corrected(bounds.most, bounds.usual)
        self._remember(tokens, bounds)
        return TokenCount(tokens, estimated=True)

    def learn(self, counted: TokenCount, reported: int) -> None:
        """Raises the bound at once, and lowers it carefully: by the highest of the last ratios,
        and never by a count so small that part of the prompt must have come from a cache."""
        bounds = self._counted.get(counted.tokens)
        if bounds is None:
            if reported <= counted.tokens or not counted.tokens:
                return
            # A count from long ago, or one put together from several: it can only raise.
            ratio = reported / counted.tokens * self._factor
        elif reported < bounds.least or not bounds.most:
            return
        else:
            ratio = reported / bounds.most
        self._ratios.append(ratio)
        self._factor = self._factor_for(max(self._ratios))

    def _factor_for(self, highest: float) -> float:
        raised = max(1.0, highest * _MARGIN) if highest > 1 else 1.0
        if self._family is not UNKNOWN or len(self._ratios) < _ENOUGH_RATIOS:
            return raised
        return min(raised, highest * _SAFETY) if highest <= 1 else raised

    def _bounds_of_text(self, text: str) -> tuple[int, int]:
        usual = usual_most_tokens(text) if self._family is UNKNOWN else 0
        return most_tokens(text, self._family), usual

    def _corrected(self, most: int, usual: int) -> int:
        """A text unlike those the factor comes from may need more than it says: never less
        than the worst of the bundled tokenizers would."""
        return max(math.ceil(most * self._factor), min(usual, most))

    def _remember(self, tokens: int, bounds: PromptBounds) -> None:
        """Of two prompts with one count the smaller bound is kept, which gives the larger
        ratio."""
        known = self._counted.pop(tokens, bounds)
        self._counted[tokens] = min(known, bounds, key=lambda kept: kept.most)
        if len(self._counted) > _REMEMBERED_COUNTS:
            self._counted.popitem(last=False)


def _without_reasoning(message: Message) -> str:
    if message.role != "assistant":
        return message.content
    _, closed, answer = message.content.rpartition("</think>")
    return answer if closed else message.content

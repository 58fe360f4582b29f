"""The prompt with as many of the best chunks as fit, whole, counted as the server counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.language import AnswerLanguage
from backend.core.ports import TokenCounter
from backend.core.prompts import PromptSet, build_answer_messages
from backend.core.token_budget import TokenBudget
from backend.core.types import Message, ReasoningMode, ScoredChunk, TokenCount


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    messages: list[Message]
    counted: TokenCount
    window: int
    max_tokens: int
    used: tuple[ScoredChunk, ...]
    left_out: tuple[ScoredChunk, ...]

    @property
    def prompt_tokens(self) -> int:
        return self.counted.tokens


class PromptFitter:
    """``source_limit`` bounds the prompt below the window (0: no bound), for machines where
    reading a long prompt takes minutes."""

    def __init__(
        self,
        counter: TokenCounter,
        prompts: PromptSet,
        *,
        source_limit: int,
        reasoning: ReasoningMode = "auto",
    ) -> None:
        self._counter = counter
        self._prompts = prompts
        self._reasoning = reasoning
        self._source_limit = source_limit

    async def fit(
        self,
        question: str,
        ranked: Sequence[ScoredChunk],
        language: AnswerLanguage,
        budget: TokenBudget,
    ) -> FittedPrompt:
        """The longest prefix of ``ranked`` that fits: a prefix, not a knapsack, because skipping
        a better chunk to squeeze in a worse one would make the answer depend on chunk sizes.

        Raises:
            ContextOverflow: not even the question fits.
        """
        empty = await self._prompt(question, (), language)
        limit = budget.prompt_limit
        if self._source_limit:
            limit = min(limit, empty[1].tokens + self._source_limit)
        low, best = 0, empty
        high = len(ranked)
        while low < high:
            # All of them fit most of the time, so that is tried first.
            middle = high if best is empty and high == len(ranked) else (low + high + 1) // 2
            tried = await self._prompt(question, ranked[:middle], language)
            if tried[1].tokens <= limit:
                low, best = middle, tried
            else:
                high = middle - 1
        messages, counted = best
        return FittedPrompt(
            messages,
            counted,
            budget.context_window,
            budget.max_tokens(counted.tokens),
            tuple(ranked[:low]),
            tuple(ranked[low:]),
        )

    async def _prompt(
        self, question: str, ranked: Sequence[ScoredChunk], language: AnswerLanguage
    ) -> tuple[list[Message], TokenCount]:
        chunks = [scored.stored for scored in ranked]
        messages = build_answer_messages(question, chunks, self._prompts, language)
        return messages, await self._counter.count_messages(messages, self._reasoning)

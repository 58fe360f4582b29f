"""The prompt with as many of the best chunks as fit, whole, counted as the server counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.language import AnswerLanguage
from backend.core.ports import TokenCounter
from backend.core.prompts import NumberedSource, PromptSet, build_messages, numbered_sources
from backend.core.token_budget import TokenBudget
from backend.core.types import Message, ReasoningMode, ScoredChunk, TokenCount


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """``found_tokens`` is what all chunks take that were to be fitted, ``source_room`` what there
    is for them."""

    messages: list[Message]
    counted: TokenCount
    window: int
    max_tokens: int
    used: tuple[ScoredChunk, ...]
    left_out: tuple[ScoredChunk, ...]
    found_tokens: int = 0
    source_room: int = 0

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
        self.prompts = prompts
        self.source_limit = source_limit
        self._counter = counter
        self._reasoning = reasoning

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
        sources = numbered_sources([scored.stored for scored in ranked])
        empty = await self._prompt(question, (), language)
        limit = self._limit(empty, budget)
        low, best = 0, empty
        high, found = len(ranked), empty
        while low < high:
            # All of them fit most of the time, so that is tried first.
            everything = best is empty and high == len(ranked)
            middle = high if everything else (low + high + 1) // 2
            tried = await self._prompt(question, sources[:middle], language)
            found = tried if everything else found
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
            found[1].tokens - empty[1].tokens,
            limit - empty[1].tokens,
        )

    async def fit_whole(
        self,
        question: str,
        sources: Sequence[NumberedSource],
        language: AnswerLanguage,
        budget: TokenBudget,
    ) -> FittedPrompt | None:
        """The prompt with all of ``sources``; None where they do not fit. ``used`` stays empty."""
        empty = await self._prompt(question, (), language)
        messages, counted = await self._prompt(question, sources, language)
        limit = self._limit(empty, budget)
        if counted.tokens > limit:
            return None
        return FittedPrompt(
            messages,
            counted,
            budget.context_window,
            budget.max_tokens(counted.tokens),
            (),
            (),
            counted.tokens - empty[1].tokens,
            limit - empty[1].tokens,
        )

    def _limit(self, empty: tuple[list[Message], TokenCount], budget: TokenBudget) -> int:
        if self.source_limit:
            return min(budget.prompt_limit, empty[1].tokens + self.source_limit)
        return budget.prompt_limit

    async def _prompt(
        self, question: str, sources: Sequence[NumberedSource], language: AnswerLanguage
    ) -> tuple[list[Message], TokenCount]:
        messages = build_messages(self.prompts.answer(language), question, sources)
        return messages, await self._counter.count_messages(messages, self._reasoning)

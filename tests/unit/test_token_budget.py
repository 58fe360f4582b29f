from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import ContextOverflow
from backend.core.prompts import PromptSet
from backend.core.token_budget import TokenBudget
from backend.core.types import Message, ReasoningMode, ScoredChunk, TokenCount
from backend.services.prompt_fitting import PromptFitter
from tests.factories import stored

PROMPT = "{no_answer}\n---\n{sources}\n{question}"


class OneTokenPerCharacter:
    async def count(self, text: str) -> TokenCount:
        return TokenCount(len(text))

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        return TokenCount(sum(len(message.content) for message in messages))

    def learn(self, counted: TokenCount, reported: int) -> None:
        pass


def fitter(source_limit: int = 0) -> PromptFitter:
    prompts = PromptSet.from_texts(answer_ru=PROMPT, answer_en=PROMPT)
    return PromptFitter(OneTokenPerCharacter(), prompts, source_limit=source_limit)


def ranked(sizes: Sequence[int]) -> list[ScoredChunk]:
    return [ScoredChunk(stored("x" * size, i), 1 / (i + 1)) for i, size in enumerate(sizes)]


def test_the_answer_gets_what_the_prompt_leaves_up_to_its_limit() -> None:
    budget = TokenBudget(context_window=1000, safety_margin=20, max_answer=300)

    assert budget.max_tokens(100) == 300
    assert budget.max_tokens(800) == 180


def test_a_prompt_over_the_window_is_refused_with_both_numbers() -> None:
    budget = TokenBudget(context_window=1000, safety_margin=20, max_answer=300)

    with pytest.raises(ContextOverflow) as caught:
        budget.max_tokens(950)

    assert caught.value.details == {"needed_tokens": 1034, "window_tokens": 1000}


@given(st.lists(st.integers(1, 400), max_size=12), st.integers(700, 4000))
async def test_the_fitted_chunks_are_the_longest_prefix_within_the_window(
    sizes: list[int], window: int
) -> None:
    budget = TokenBudget(context_window=window, safety_margin=10, max_answer=200)

    fitted = await fitter().fit("Когда?", ranked(sizes), "ru", budget)

    assert fitted.used + fitted.left_out == tuple(ranked(sizes))
    assert fitted.prompt_tokens + fitted.max_tokens + 10 <= window
    if fitted.left_out:
        longer = await fitter().fit(
            "Когда?",
            ranked(sizes)[: len(fitted.used) + 1],
            "ru",
            TokenBudget(100_000, 10, 200),
        )
        assert longer.prompt_tokens > budget.prompt_limit


async def test_the_source_limit_keeps_the_prompt_short_in_a_wide_window() -> None:
    budget = TokenBudget(context_window=100_000, safety_margin=10, max_answer=200)

    fitted = await fitter(source_limit=500).fit("When?", ranked([300, 300]), "en", budget)

    assert len(fitted.used) == 1


async def test_a_question_longer_than_the_window_is_refused() -> None:
    budget = TokenBudget(context_window=600, safety_margin=10, max_answer=200)

    with pytest.raises(ContextOverflow):
        await fitter().fit("Why? " * 200, [], "en", budget)

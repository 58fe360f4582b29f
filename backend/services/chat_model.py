"""A chat model with what belongs to it: its tokenizer, its window, its sampling."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.core.errors import PromptTruncated
from backend.core.language import AnswerLanguage
from backend.core.models import AnswerLimits, KnownModel, Value, profile
from backend.core.ports import Generator, TokenCounter
from backend.core.prompts import NumberedSource
from backend.core.token_budget import TokenBudget
from backend.core.types import Completion, GeneratorEvent, Sampling, ScoredChunk, TokenCount
from backend.services.prompt_fitting import FittedPrompt, PromptFitter
from backend.telemetry.events import MaxTokensCalculated, expect_prompt_tokens, record

log = logging.getLogger(__name__)

# Servers add a token here and there that no tokenizer call shows (a begin-of-text, a role).
# A prompt that was cut loses far more.
_UNEXPLAINED_TOKENS = 16
_UNEXPLAINED_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Room:
    """What the model's window leaves, in tokens. A context longer than ``threshold`` is better
    compressed than read; ``longest_compression`` is of one call that compresses."""

    budget: TokenBudget
    threshold: int
    longest_compression: int


@dataclass(frozen=True, slots=True)
class ChatModel:
    """``sampling.max_tokens`` is the longest answer. ``background`` is the same model for work
    that nobody waits for: it comes after the questions."""

    generator: Generator
    counter: TokenCounter
    fitter: PromptFitter
    sampling: Sampling
    safety_margin: int
    provider: str
    background: Generator
    known: KnownModel | None = None  # its entry in the catalogue
    parallel: Callable[[], int] = lambda: 1  # how many calls it works on at once

    async def fit(
        self,
        question: str,
        found: Sequence[ScoredChunk],
        language: AnswerLanguage,
        *,
        fresh: bool = False,
    ) -> FittedPrompt:
        """The prompt with the best chunks that fit; ``fresh`` asks the server for its window.

        Raises:
            ContextOverflow: not even the question fits.
            DependencyError: the server cannot be asked.
        """
        room = await self.room(fresh=fresh)
        return await self.fitter.fit(question, found, language, room.budget)

    async def fit_whole(
        self, question: str, sources: Sequence[NumberedSource], language: AnswerLanguage
    ) -> FittedPrompt | None:
        """The prompt with all of ``sources``, None where they do not fit.

        Raises:
            ContextOverflow: not even the question fits.
            DependencyError: the server cannot be asked.
        """
        room = await self.room()
        return await self.fitter.fit_whole(question, sources, language, room.budget)

    async def room(self, *, fresh: bool = False) -> Room:
        """``fresh`` asks the server for its window.

        Raises:
            DependencyError: the server cannot be asked.
        """
        served = await self.generator.served(fresh=fresh)
        longest = self.sampling.max_tokens
        limits = AnswerLimits(longest, self.safety_margin, self.fitter.source_limit, 0)
        known = profile(served, self.known, limits, Value(None, "the server has answered"))
        window = int(known.context_window.value or 0)
        return Room(
            TokenBudget(window, self.safety_margin, longest),
            int(known.summarization_threshold.value or 0),
            int(known.summarization_max_output.value or 0),
        )

    async def write(self, prompt: FittedPrompt) -> AsyncGenerator[GeneratorEvent, None]:
        """The answer to a fitted prompt. Closing the iterator stops the model.

        Raises:
            PromptTruncated: the server saw fewer tokens than it was sent.
        """
        record(
            MaxTokensCalculated(
                prompt.window,
                prompt.prompt_tokens,
                self.safety_margin,
                prompt.window - prompt.prompt_tokens - self.safety_margin,
                prompt.max_tokens,
                prompt.counted.estimated,
            )
        )
        sampling = replace(self.sampling, max_tokens=prompt.max_tokens)
        with expect_prompt_tokens(prompt.prompt_tokens):
            async with aclosing(self.generator.stream(prompt.messages, sampling)) as events:
                async for event in events:
                    if isinstance(event, Completion):
                        compare_counts(self, prompt.counted, event.usage.prompt_tokens)
                    yield event


def compare_counts(chat: ChatModel, counted: TokenCount, reported: int) -> None:
    """Our count of a prompt beside the server's.

    Raises:
        PromptTruncated: it saw fewer tokens than it was sent.
    """
    chat.counter.learn(counted, reported)
    if counted.estimated or reported == counted.tokens:
        return  # the adapter of a server that is only estimated has its own proof
    missing = counted.tokens - reported
    if missing > max(_UNEXPLAINED_TOKENS, _UNEXPLAINED_SHARE * counted.tokens):
        raise PromptTruncated(
            dependency=chat.provider,
            sent_tokens=counted.tokens,
            seen_tokens=reported,
            setting="the context length of the model server",
        )
    log.warning(
        "the server counts the prompt differently",
        extra={"counted": counted.tokens, "reported": reported},
    )

"""A chat model with what belongs to it: its tokenizer, its window, its sampling."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.core.errors import PromptTruncated
from backend.core.language import AnswerLanguage
from backend.core.models import KnownModel, usable_window
from backend.core.ports import Generator, TokenCounter
from backend.core.token_budget import TokenBudget
from backend.core.types import Completion, GeneratorEvent, Sampling, ScoredChunk, TokenCount
from backend.services.prompt_fitting import FittedPrompt, PromptFitter
from backend.telemetry.events import (
    LanguageDetected,
    MaxTokensCalculated,
    RagContext,
    RagMode,
    expect_prompt_tokens,
    record,
)

log = logging.getLogger(__name__)

# Servers add a token here and there that no tokenizer call shows (a begin-of-text, a role).
# A prompt that was cut loses far more.
_UNEXPLAINED_TOKENS = 16
_UNEXPLAINED_SHARE = 0.02


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
        window = usable_window(await self.generator.served(fresh=fresh), self.known)
        budget = TokenBudget(window, self.safety_margin, self.sampling.max_tokens)
        record(LanguageDetected(language))
        prompt = await self.fitter.fit(question, found, language, budget)
        record(
            RagContext(len(prompt.used), len(prompt.left_out), prompt.prompt_tokens, len(question))
        )
        record(RagMode("normal", "the retrieved chunks go to the model as they are"))
        record(
            MaxTokensCalculated(
                window,
                prompt.prompt_tokens,
                self.safety_margin,
                window - prompt.prompt_tokens - self.safety_margin,
                prompt.max_tokens,
                prompt.counted.estimated,
            )
        )
        return prompt

    async def write(self, prompt: FittedPrompt) -> AsyncGenerator[GeneratorEvent, None]:
        """The answer to a fitted prompt. Closing the iterator stops the model.

        Raises:
            PromptTruncated: the server saw fewer tokens than it was sent.
        """
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

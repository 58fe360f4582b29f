"""Proves that the context window is as long as the server says: a prompt that fills it, with a
fact in its first line, which is what a server that cuts throws away first."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import Literal

from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    Overloaded,
    PromptTruncated,
    RagError,
)
from backend.core.models import usable_window
from backend.core.types import Message, TokenCount
from backend.services.chat_model import ChatModel, compare_counts

log = logging.getLogger(__name__)

_FACT = "ALBATROSS-731"
_FIRST = f"The code word is {_FACT}.\n"
_FILLER = "This line holds nothing of interest.\n"
_LAST = "What is the code word of the first line? Answer with the code word only."
_ANSWER_TOKENS = 24
_SPARE_TOKENS = 32
_AGAIN_AFTER_S = 15.0
_MOST_TRIES = 40

Verdict = Literal["pending", "proved", "cut", "unknown"]


@dataclass(slots=True)
class Canary:
    """Runs behind every question and makes room for them. ``verdict`` and ``explanation`` are
    what is known so far; ``remembered`` is whether the model could also name the fact."""

    chat: ChatModel
    again_after_s: float = _AGAIN_AFTER_S
    verdict: Verdict = "pending"
    explanation: str = ""
    remembered: bool | None = None
    tokens: int = field(default=0)

    async def run(self) -> None:
        """Try until there is a verdict, at most for some minutes."""
        for _ in range(_MOST_TRIES):
            try:
                await self._try()
            except (PromptTruncated, ContextOverflow) as error:
                self.verdict, self.explanation = "cut", str(error)
                log.error("the context window is not what the server says: %s", error)
            except (Overloaded, DependencyError) as error:  # busy, loading or down
                self.explanation = str(error)
            except RagError as error:
                self.verdict, self.explanation = "unknown", str(error)
            if self.verdict != "pending":
                return
            await asyncio.sleep(self.again_after_s)
        self.verdict = "unknown"

    def warnings(self) -> tuple[str, ...]:
        if self.verdict == "cut":
            return (f"The context window was tried and is not real. {self.explanation}",)
        if self.verdict == "unknown":
            return (f"The context window could not be tried: {self.explanation}",)
        return ()

    async def _try(self) -> None:
        chat = self.chat
        window = usable_window(await chat.background.served(fresh=True), chat.known)
        target = window - _ANSWER_TOKENS - _SPARE_TOKENS
        messages, counted = await self._filled(target)
        sampling = replace(chat.sampling, max_tokens=_ANSWER_TOKENS, reasoning="off")
        completion = await chat.background.complete(messages, sampling)
        compare_counts(chat, counted, completion.usage.prompt_tokens)
        self.verdict, self.tokens = "proved", completion.usage.prompt_tokens
        self.remembered = _FACT in completion.text
        log.info(
            "the context window is real",
            extra={"window": window, "prompt_tokens": self.tokens, "named": self.remembered},
        )

    async def _filled(self, target: int) -> tuple[list[Message], TokenCount]:
        """The longest canary of at most ``target`` tokens, to within some lines."""
        empty = await self._counted(0)
        some = await self._counted(64)
        per_line = max(1.0, (some[1].tokens - empty[1].tokens) / 64)
        lines = max(0, int((target - empty[1].tokens) / per_line))
        while lines > 0:
            messages, counted = await self._counted(lines)
            if counted.tokens <= target:
                return messages, counted
            lines = min(lines - 1, int(lines * target / counted.tokens))
        return empty

    async def _counted(self, lines: int) -> tuple[list[Message], TokenCount]:
        messages = [Message("user", _FIRST + lines * _FILLER + _LAST)]
        return messages, await self.chat.counter.count_messages(messages, "off")

"""Token counts of prompts, each asked for once and never too many at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from backend.core.ports import TokenCounter
from backend.core.types import Message, ReasoningMode, TokenCount

_AT_ONCE = 4


class PromptCounts:
    """The counts of one run. Exact ones are remembered; an estimate may be better the next time."""

    def __init__(self, counter: TokenCounter, reasoning: ReasoningMode) -> None:
        self._counter = counter
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, TokenCount] = {}
        self.reasoning: ReasoningMode = reasoning

    async def prompt(self, messages: Sequence[Message]) -> TokenCount:
        digest = sha256_of(messages)
        if (known := self._known.get(digest)) is not None:
            return known
        async with self._slots:
            counted = await self._counter.count_messages(messages, self.reasoning)
        if not counted.estimated:
            self._known[digest] = counted
        return counted

    async def text(self, text: str) -> int:
        async with self._slots:
            return (await self._counter.count(text)).tokens


def sha256_of(messages: Sequence[Message]) -> str:
    joined = "\x1f".join(f"{message.role}\x1e{message.content}" for message in messages)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()

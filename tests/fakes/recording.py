"""A generator that passes calls on and remembers them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from backend.core.ports import Generator
from backend.core.types import Completion, GeneratorEvent, Message, Sampling, ServedModel


@dataclass
class Recording:
    """``ended`` counts the streams that came to their completion."""

    inner: Generator
    calls: list[tuple[Sequence[Message], Sampling]] = field(default_factory=list)
    ended: int = 0

    @property
    def model(self) -> str:
        return self.inner.model

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self.inner.served(fresh=fresh)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return await self.inner.complete(messages, sampling)

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        self.calls.append((messages, sampling))
        async with aclosing(self.inner.stream(messages, sampling)) as events:
            async for event in events:
                self.ended += isinstance(event, Completion)
                yield event

    async def check(self) -> str:
        return await self.inner.check()

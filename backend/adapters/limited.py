"""A generator that takes its turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from backend.core.ports import Generator
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    Sampling,
    ServedModel,
)
from backend.services.gate import Gate, Priority


class LimitedGenerator:
    """Every answer holds a slot of ``gate`` as long as ``inner`` works on it; questions about
    the server hold none.

    ``yields`` (background only) is for whole answers: they are called off with ``Yielded`` when
    somebody interactive has to wait. A stream keeps its slot, its consumer has seen a part.
    """

    def __init__(
        self,
        inner: Generator,
        gate: Gate,
        *,
        priority: Priority = "interactive",
        yields: bool = False,
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._priority: Priority = priority
        self._yields = yields

    @property
    def model(self) -> str:
        return self._inner.model

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self._inner.served(fresh=fresh)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        async with self._gate.slot(self._priority, yields=self._yields):
            return await self._inner.complete(messages, sampling)

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        """As of any generator, after a ``Queued`` for each position it has while it waits.

        Raises:
            Overloaded: the queue is full.
        """
        with self._gate.place(self._priority) as place:
            while (position := await place.moved()) is not None:
                yield Queued(position)
            async with aclosing(self._inner.stream(messages, sampling)) as events:
                async for event in events:
                    yield event

    async def check(self) -> str:
        return await self._inner.check()

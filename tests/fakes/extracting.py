"""A chat model in the process that summarizes with the sentences it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from backend.core.errors import RagError
from backend.core.types import GeneratorEvent, Message, Sampling
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.summary_server import Asked, good_summary


class ExtractingGenerator(ScriptedGenerator):
    """``failures`` are raised first, in turn. It waits while ``go`` is clear. ``says`` is what it
    says instead of the sentences."""

    def __init__(self, *failures: RagError, window: int = 4096, says: str = "") -> None:
        super().__init__(window=window)
        self.says = says
        self.failures = list(failures)
        self.go = asyncio.Event()
        self.go.set()

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        await self.go.wait()
        if self.failures:
            raise self.failures.pop(0)
        asked = Asked(tuple(messages), sampling.max_tokens, len(self.calls))
        # Read before the first await of the stream, so calls at once do not mix.
        self.answers = [self.says or good_summary(asked)]
        async with aclosing(super().stream(messages, sampling)) as events:
            async for event in events:
                yield event

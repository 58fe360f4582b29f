"""What every generator does with a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from backend.adapters._http import within
from backend.core.errors import DependencyTimeout
from backend.core.types import Completion, GeneratorEvent


def now() -> float:
    """On the clock of the running loop, which deadlines are on."""
    return asyncio.get_running_loop().time()


async def whole_answer(
    events: AsyncGenerator[GeneratorEvent, None], answer_s: float, late: DependencyTimeout
) -> Completion:
    """The completion at the end of ``events``, which are closed whatever happens.

    Raises:
        DependencyTimeout: ``late``, after ``answer_s`` seconds.
    """
    deadline = now() + answer_s
    async with aclosing(events):
        return await within(_last(events), deadline, late)


def too_slow(server: str, what: str) -> DependencyTimeout:
    return DependencyTimeout(
        f"{server} sent no {what} in time. If it needs longer, raise LLM_TIMEOUT.",
        dependency=server,
    )


async def _last(events: AsyncGenerator[GeneratorEvent, None]) -> Completion:
    async for event in events:
        if isinstance(event, Completion):
            return event
    raise RuntimeError("the stream ended without its completion")

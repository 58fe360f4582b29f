"""Summaries in virtual time: hours of a simulated model server pass in an instant."""

from __future__ import annotations

import asyncio
import random
import re
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Sampling,
    TextDelta,
    TokenUsage,
)
from tests.fakes.summaries import Seen, SummarizingModel, tokens_of

T = TypeVar("T")
_STEP = 10  # tokens per event of a stream


class _Skipping(selectors.SelectSelector):
    """Instead of waiting, the clock is put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout:
            self.now += timeout
        return super().select(timeout if timeout is None else 0)


class _AtOnce(ThreadPoolExecutor):
    """Work for a thread, done where it is asked for: threads know nothing of virtual time."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            future.set_exception(error)
        return future


class VirtualTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)
        self.set_default_executor(_AtOnce())

    def time(self) -> float:
        return self._skipping.now


def in_virtual_time(work: Coroutine[object, object, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(work)


def virtual_now() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Machine:
    """Seconds per token; ``slowed``: by how much each further call slows down all the others.
    Prompts are read one after the other."""

    reads: float
    writes: float
    slowed: float
    slots: int


class SimulatedServer(SummarizingModel):
    """Writes as many tokens as ``share`` of the words asked for says, at a machine's speed."""

    def __init__(
        self, machine: Machine, chance: random.Random, *, window: int, streams: bool = True
    ) -> None:
        super().__init__(window=window)
        self._machine = machine
        self._chance = chance
        self._streams = streams
        self._reading = asyncio.Lock()
        self._slots = asyncio.Semaphore(machine.slots)
        self._writing = 0

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        seen = Seen(messages, sampling)
        self.seen.append(seen)
        text = "said " * self._words(seen)
        async with self._slots:
            async with self._reading:
                await asyncio.sleep(seen.tokens * self._machine.reads)
            self._writing += 1
            try:
                for piece in re.findall(rf"(?:\w+ ){{1,{_STEP}}}", text):
                    await asyncio.sleep(tokens_of(piece) * self._writes())
                    if self._streams:
                        yield TextDelta(piece)
            finally:
                self._writing -= 1
        yield Completion(text, "stop", TokenUsage(seen.tokens, tokens_of(text)))

    def _words(self, seen: Seen) -> int:
        asked = int(re.findall(r"at most (\d+) words", seen.prompt)[-1])
        share = min(1.2, max(0.2, self._chance.gauss(0.75, 0.15)))
        return max(5, int(asked * share))

    def _writes(self) -> float:
        return self._machine.writes * (1 + self._machine.slowed * (self._writing - 1))

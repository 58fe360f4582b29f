"""A generator that asks again where that may help, and stops asking a server that is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random_exponential,
)

from backend.adapters._streams import too_slow, whole_answer
from backend.core.errors import (
    DependencyDown,
    DependencyError,
    DependencyRejected,
    DependencyTimeout,
    PromptTruncated,
    ReasoningSpentAll,
)
from backend.core.ports import Generator
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    Sampling,
    ServedModel,
)
from backend.services.breaker import Breaker, BreakerPolicy


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds. Waits are random, at most ``first_wait_s`` before the second attempt, twice that
    before the third and so on; no attempt begins later than ``deadline_s`` after the first.

    ``answer_s`` is for who waits for the whole answer, all attempts together.
    """

    attempts: int = 3
    first_wait_s: float = 0.25
    longest_wait_s: float = 2.0
    deadline_s: float = 10.0
    answer_s: float = 300.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


class ResilientGenerator:
    """Asks again only while nothing of the answer has come, so nothing is ever said twice, and
    only after an error that may pass. ``dependency`` is how errors speak of the server.

    Questions about the server pass an open breaker too: they are how its recovery is seen.
    """

    def __init__(
        self,
        inner: Generator,
        *,
        policy: RetryPolicy,
        breaker: Breaker | None = None,
        dependency: str = "llm",
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._breaker = breaker or Breaker(policy.breaker, is_server_failure)
        self._dependency = dependency

    @property
    def model(self) -> str:
        return self._inner.model

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self._inner.served(fresh=fresh)

    async def check(self) -> str:
        line = await self._inner.check()
        self._breaker.close()
        return line

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        # By the stream, which alone shows whether anything of the answer had come.
        late = too_slow(self._dependency, "whole answer")
        return await whole_answer(self.stream(messages, sampling), self._policy.answer_s, late)

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        """As of any generator.

        Raises:
            DependencyDown: the server failed often lately and is not asked for a while.
        """
        begun = False
        async for attempt in _attempts(self._policy):
            try:
                async with aclosing(self._once(messages, sampling)) as events:
                    async for event in events:
                        begun |= not isinstance(event, Queued)
                        yield event
                return
            except DependencyError as error:
                if begun:
                    raise
                # Not "with attempt": it would take the closing of this generator for a failure.
                attempt.retry_state.set_exception((type(error), error, error.__traceback__))

    async def _once(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        end: Completion | None = None
        with self._breaker.call() as answering:
            async with aclosing(self._inner.stream(messages, sampling)) as events:
                async for event in events:
                    if isinstance(event, Completion):
                        end = event  # told below: who has it may leave, and the call went well
                        continue
                    if not isinstance(event, Queued):
                        answering()
                    yield event
        if end is not None:
            yield end


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later.

    A first token that did not come in time is not waited for again: a busy server would be
    asked for the same work twice.
    """
    if isinstance(error, DependencyTimeout):
        return isinstance(error.__cause__, httpx.ConnectTimeout)
    if isinstance(error, DependencyDown):
        return False
    return isinstance(error, DependencyError) and is_server_failure(error)


def is_server_failure(error: DependencyError) -> bool:
    """Whether the server is at fault; otherwise it works, and the request was."""
    if isinstance(error, DependencyRejected):
        return (error.status or 0) >= httpx.codes.INTERNAL_SERVER_ERROR
    return not isinstance(error, PromptTruncated | ReasoningSpentAll)


def _attempts(policy: RetryPolicy) -> AsyncRetrying:
    return AsyncRetrying(
        sleep=asyncio.sleep,
        stop=stop_any(stop_after_attempt(policy.attempts), stop_before_delay(policy.deadline_s)),
        wait=wait_random_exponential(multiplier=policy.first_wait_s, max=policy.longest_wait_s),
        retry=retry_if_exception(may_pass),
        reraise=True,
    )

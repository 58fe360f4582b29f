"""A generator that tells the log and the metrics what it does."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from backend.core.errors import RagError
from backend.core.ports import Generator
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    ReasoningDelta,
    Sampling,
    ServedModel,
    TextDelta,
)
from backend.telemetry import events
from backend.telemetry.events import record
from backend.telemetry.metrics import Generated, Metrics

_CANCELLED = "cancelled"


@dataclass(slots=True)
class _Run:
    sent: float
    first_token: float | None = None
    deltas: int = 0
    answered: bool = False


class InstrumentedGenerator:
    """Belongs directly around the adapter, inside of queue and retries: then every attempt is
    seen, at the moment it is sent. Around a queue it counts from the last ``Queued``."""

    def __init__(
        self,
        inner: Generator,
        *,
        provider: str,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner = inner
        self._provider = provider
        self._metrics = metrics
        self._clock = clock

    @property
    def model(self) -> str:
        return self._inner.model

    async def served(self, *, fresh: bool = False) -> ServedModel:
        return await self._inner.served(fresh=fresh)

    async def check(self) -> str:
        return await self._inner.check()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        with self._observed(messages, sampling) as run:
            completion = await self._inner.complete(messages, sampling)
            self._answered(run, completion)
            return completion

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        with self._observed(messages, sampling) as run:
            async with aclosing(self._inner.stream(messages, sampling)) as inner:
                async for event in inner:
                    self._note(run, event)
                    yield event

    @contextmanager
    def _observed(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[_Run]:
        self._sent(messages, sampling)
        run = _Run(self._clock())
        try:
            yield run
        except RagError as error:
            self._failed(run, error.code)
            raise
        except Exception:
            self._failed(run, "internal")
            raise
        except BaseException:
            # A cancelled task, or an iterator closed before its end.
            self._failed(run, _CANCELLED)
            raise

    def _note(self, run: _Run, event: GeneratorEvent) -> None:
        match event:
            case Queued():
                run.sent = self._clock()
            case TextDelta() | ReasoningDelta():
                run.deltas += 1
                if run.first_token is None:
                    run.first_token = self._clock()
            case Completion():
                self._answered(run, event)

    def _sent(self, messages: Sequence[Message], sampling: Sampling) -> None:
        if events.texts_are_logged():
            text = "\n".join(f"{message.role}: {message.content}" for message in messages)
            events.record_text("prompt", text)
        record(
            events.GenerationSent(
                provider=self._provider,
                model=self.model,
                prompt_chars=sum(len(message.content) for message in messages),
                prompt_tokens=events.expected_prompt_tokens(),
                max_tokens=sampling.max_tokens,
            )
        )

    def _answered(self, run: _Run, completion: Completion) -> None:
        run.answered = True
        seconds = self._clock() - run.sent
        first = run.first_token - run.sent if run.first_token is not None else None
        record(events.GenerationReceived(self._provider))
        record(
            events.GenerationAnswered(
                provider=self._provider,
                model=self.model,
                chars=len(completion.text),
                tokens=completion.usage.completion_tokens,
                seconds=seconds,
                finish_reason=completion.finish_reason,
                first_token_seconds=first,
            )
        )
        if events.texts_are_logged():
            events.record_text("answer", completion.text)
        self._metrics.generated(
            self._provider,
            Generated(
                completion.usage.prompt_tokens,
                completion.usage.completion_tokens,
                seconds,
                first,
                run.deltas,
            ),
        )

    def _failed(self, run: _Run, code: str) -> None:
        if run.answered:
            return
        record(events.GenerationFailed(self._provider, code))
        self._metrics.generation_failed(self._provider, code)

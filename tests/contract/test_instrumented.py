"""The wrapper must be a generator like the one inside it, and tell what it did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.adapters.instrumented import InstrumentedGenerator
from backend.core.errors import ContextOverflow, DependencyTimeout
from backend.core.ports import Generator
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    Sampling,
    TextDelta,
    TokenUsage,
)
from backend.telemetry import events
from backend.telemetry.events import Event, expect_prompt_tokens
from backend.telemetry.metrics import Metrics
from backend.telemetry.scope import request_scope
from tests.fakes.generator import ScriptedGenerator

ASK = [Message("user", "one two three")]
SHORT = Sampling(max_tokens=64)


class Clock:
    """Moves on only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedGenerator(ScriptedGenerator):
    """Waits a minute in a queue, a second for the first token and one for each that follows."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        self.clock.now += 60
        yield Queued(1)
        for text in ("a", "b", "c"):
            self.clock.now += 1
            yield TextDelta(text)
        yield Completion("abc", "stop", TokenUsage(7, 3))


class Seen(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(record.block)  # type: ignore[attr-defined]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler, log = Seen(), logging.getLogger("backend.events")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


def wrapped(
    inner: Generator, metrics: Metrics | None = None, clock: Clock | None = None
) -> Generator:
    return InstrumentedGenerator(
        inner, provider="vllm", metrics=metrics or Metrics(), clock=clock or Clock()
    )


async def told(generator: Generator, *, stream: bool) -> Completion:
    if not stream:
        return await generator.complete(ASK, SHORT)
    async with aclosing(generator.stream(ASK, SHORT)) as stream_events:
        async for event in stream_events:
            if isinstance(event, Completion):
                return event
    raise AssertionError("no completion")


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and its labels' values, in order of the labels' names."""
    found = {}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            labels = (value for _, value in sorted(sample.labels.items()))
            found[" ".join((sample.name, *labels))] = sample.value
    return found


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


async def test_the_stream_is_that_of_the_inner_generator() -> None:
    plain = [event async for event in ScriptedGenerator("a b c").stream(ASK, SHORT)]

    through = [event async for event in wrapped(ScriptedGenerator("a b c")).stream(ASK, SHORT)]

    assert through == plain


async def test_questions_about_the_server_are_passed_on() -> None:
    generator = wrapped(ScriptedGenerator(window=77))

    assert generator.model == "scripted"
    assert (await generator.served(fresh=True)).context_window == 77
    assert await generator.check() == "scripted answers"


@both_ways
async def test_an_answer_is_sent_received_and_answered(seen: Seen, stream: bool) -> None:
    await told(wrapped(ScriptedGenerator("a b c")), stream=stream)

    sent, _, answered = seen.events
    assert seen.names == ["llm_request", "llm_response_received", "llm_response"]
    assert isinstance(sent, events.GenerationSent)
    assert (sent.provider, sent.model, sent.prompt_chars) == ("vllm", "scripted", 13)
    assert (sent.prompt_tokens, sent.max_tokens) == (None, 64)
    assert isinstance(answered, events.GenerationAnswered)
    assert (answered.chars, answered.tokens, answered.finish_reason) == (5, 3, "stop")


@both_ways
async def test_the_count_of_the_prompt_is_shown_where_it_was_told(seen: Seen, stream: bool) -> None:
    generator = wrapped(ScriptedGenerator())

    with expect_prompt_tokens(321):
        await told(generator, stream=stream)
    await told(generator, stream=stream)

    counts = [event.prompt_tokens for event in seen.events if hasattr(event, "prompt_tokens")]
    assert counts == [321, None]


async def test_the_count_is_known_in_another_task_of_the_request(seen: Seen) -> None:
    async def writing() -> AsyncGenerator[GeneratorEvent, None]:
        with expect_prompt_tokens(321):
            yield Queued(1)
            async with aclosing(wrapped(ScriptedGenerator()).stream(ASK, SHORT)) as inner:
                async for event in inner:
                    yield event

    with request_scope("r1"):
        stream = writing()
        await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        rest = [event async for event in stream]

    assert isinstance(rest[-1], Completion)
    assert isinstance(seen.events[0], events.GenerationSent)
    assert seen.events[0].prompt_tokens == 321


async def test_time_in_the_queue_is_not_time_of_generation(seen: Seen) -> None:
    clock, metrics = Clock(), Metrics()

    await told(wrapped(TimedGenerator(clock), metrics, clock), stream=True)

    answered = seen.events[-1]
    assert isinstance(answered, events.GenerationAnswered)
    assert (answered.seconds, answered.first_token_seconds) == (3, 1)
    assert metrics.tokens_per_second("vllm") == 1
    found = samples(metrics)
    assert found["quadrate_generation_seconds_sum vllm"] == 3
    assert found["quadrate_time_to_first_token_seconds_sum vllm"] == 1
    assert found["quadrate_prompt_tokens_total vllm"] == 7
    assert found["quadrate_completion_tokens_total vllm"] == 3


@both_ways
async def test_an_error_is_passed_on_and_counted_by_its_code(seen: Seen, stream: bool) -> None:
    error, metrics = DependencyTimeout("too late", dependency="vllm"), Metrics()

    with pytest.raises(DependencyTimeout) as caught:
        await told(wrapped(ScriptedGenerator(error=error), metrics), stream=stream)

    assert caught.value is error
    assert seen.events[-1] == events.GenerationFailed("vllm", "dependency_timeout")
    assert samples(metrics)["quadrate_generation_failures_total dependency_timeout vllm"] == 1


@both_ways
async def test_an_overflow_keeps_both_numbers(stream: bool) -> None:
    with pytest.raises(ContextOverflow) as caught:
        await told(wrapped(ScriptedGenerator(window=10)), stream=stream)

    assert caught.value.window_tokens == 10


@both_ways
async def test_cancelling_stops_the_model_and_is_recorded(seen: Seen, stream: bool) -> None:
    inner = ScriptedGenerator("a b", hangs=True)
    task = asyncio.create_task(told(wrapped(inner), stream=stream))
    await inner.started.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert inner.running == 0
    assert seen.events[-1] == events.GenerationFailed("vllm", "cancelled")


async def test_closing_the_stream_stops_the_model_and_is_recorded(seen: Seen) -> None:
    inner = ScriptedGenerator("a b", hangs=True)

    async with aclosing(wrapped(inner).stream(ASK, SHORT)) as stream:
        await anext(stream)

    assert inner.running == 0
    assert seen.events[-1] == events.GenerationFailed("vllm", "cancelled")


async def test_who_leaves_with_the_answer_has_cancelled_nothing(seen: Seen) -> None:
    async with aclosing(wrapped(ScriptedGenerator("a")).stream(ASK, SHORT)) as stream:
        async for event in stream:
            if isinstance(event, Completion):
                break

    assert "llm_failed" not in seen.names


async def test_text_of_prompt_and_answer_is_logged_at_debug_only(seen: Seen) -> None:
    generator = wrapped(ScriptedGenerator("the answer"))

    await told(generator, stream=True)
    at_info = list(seen.names)
    logging.getLogger("backend.events").setLevel(logging.DEBUG)
    await told(generator, stream=True)

    texts = [event.text for event in seen.events if isinstance(event, events.TextNoted)]
    assert "text" not in at_info
    assert texts == ["user: one two three", "the answer"]

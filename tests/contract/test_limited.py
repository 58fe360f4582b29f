"""A generator behind a gate: as any other generator, and in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing

import pytest

from backend.adapters.limited import LimitedGenerator
from backend.core.errors import ContextOverflow, DependencyError, Overloaded
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    Sampling,
    TextDelta,
)
from backend.services.gate import Gate, Yielded
from tests.fakes.generator import ScriptedGenerator

ASK = [Message("user", "Как дела?")]
SHORT = Sampling(max_tokens=60)


def gate(queue_limit: int = 9) -> Gate:
    return Gate(capacity=1, queue_limit=queue_limit)


def busy(gate: Gate) -> tuple[int, int]:
    return sum(gate.running.values()), sum(gate.waiting.values())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def drained(generator: LimitedGenerator) -> list[GeneratorEvent]:
    return [event async for event in generator.stream(ASK, SHORT)]


class SlowToClose(ScriptedGenerator):
    """Looks at the gate when it has stopped."""

    def __init__(self, gate: Gate) -> None:
        super().__init__("a b c", hangs=True)
        self.gate = gate
        self.held_at_the_end: list[int] = []

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        try:
            async with aclosing(super().stream(messages, sampling)) as events:
                async for event in events:
                    yield event
        finally:
            await asyncio.sleep(0)
            self.held_at_the_end.append(sum(self.gate.running.values()))


async def test_the_answer_is_that_of_the_inner_generator() -> None:
    inner, free = ScriptedGenerator("Всё хорошо [1]."), gate()
    generator = LimitedGenerator(inner, free)

    whole = await generator.complete(ASK, SHORT)
    *deltas, last = await drained(generator)

    assert whole == last == Completion("Всё хорошо [1].", "stop", whole.usage)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert generator.model == "scripted"
    assert busy(free) == (0, 0)


async def test_a_stream_that_waits_tells_its_positions_first() -> None:
    full = gate()
    generator = LimitedGenerator(ScriptedGenerator("a"), full)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(full.place("interactive"))
        second.enter_context(full.place("interactive"))
        waiting = asyncio.create_task(drained(generator))
        await turns()
        first.close()
        await turns()
        second.close()
        events = await waiting

    assert events[:2] == [Queued(2), Queued(1)]
    assert [type(event) for event in events[2:]] == [TextDelta, Completion]


async def test_a_stream_that_is_served_at_once_tells_no_position() -> None:
    events = await drained(LimitedGenerator(ScriptedGenerator("a"), gate()))

    assert not any(isinstance(event, Queued) for event in events)


async def test_the_model_is_not_asked_before_the_slot_is_there() -> None:
    full, inner = gate(), ScriptedGenerator("a")
    with full.place("interactive"):
        waiting = asyncio.create_task(LimitedGenerator(inner, full).complete(ASK, SHORT))
        await turns()
        asked_while_waiting = len(inner.calls)
    await waiting

    assert asked_while_waiting == 0
    assert len(inner.calls) == 1


async def test_beyond_the_queue_it_is_overloaded() -> None:
    full, inner = gate(queue_limit=0), ScriptedGenerator("a")
    generator = LimitedGenerator(inner, full)
    with full.place("interactive"):
        with pytest.raises(Overloaded) as caught:
            await generator.complete(ASK, SHORT)
        with pytest.raises(Overloaded):
            await drained(generator)

    assert caught.value.retry_after_s >= 1
    assert inner.calls == []


async def test_closing_a_stream_that_waits_leaves_the_queue() -> None:
    full = gate()
    with full.place("interactive"):
        async with aclosing(LimitedGenerator(ScriptedGenerator(), full).stream(ASK, SHORT)) as it:
            assert await anext(it) == Queued(1)

        assert busy(full) == (1, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_cancelling_who_waits_leaves_the_queue(stream: bool) -> None:
    full = gate()
    generator = LimitedGenerator(ScriptedGenerator(), full)
    with full.place("interactive"):
        task: asyncio.Task[object] = asyncio.create_task(
            drained(generator) if stream else generator.complete(ASK, SHORT)
        )
        await turns()
        queued = busy(full)
        task.cancel()
        await asyncio.wait([task])

        assert queued == (1, 1)
        assert busy(full) == (1, 0)


async def test_closing_a_stream_stops_the_model_before_the_slot_is_free() -> None:
    shared = gate()
    inner = SlowToClose(shared)
    async with aclosing(LimitedGenerator(inner, shared).stream(ASK, SHORT)) as events:
        await anext(events)

    assert inner.held_at_the_end == [1]
    assert inner.running == 0
    assert busy(shared) == (0, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_cancelling_stops_the_model_before_the_slot_is_free(stream: bool) -> None:
    shared = gate()
    inner = SlowToClose(shared)
    generator = LimitedGenerator(inner, shared)
    task: asyncio.Task[object] = asyncio.create_task(
        drained(generator) if stream else generator.complete(ASK, SHORT)
    )
    await inner.started.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert inner.held_at_the_end == [1]
    assert busy(shared) == (0, 0)


@pytest.mark.parametrize(
    "error",
    [DependencyError("gone", dependency="vllm"), ContextOverflow(needed_tokens=9, window_tokens=8)],
)
async def test_a_failure_passes_and_frees_the_slot(
    error: DependencyError | ContextOverflow,
) -> None:
    shared = gate()
    generator = LimitedGenerator(ScriptedGenerator(error=error), shared)

    with pytest.raises(type(error)):
        await generator.complete(ASK, SHORT)
    with pytest.raises(type(error)):
        await drained(generator)

    assert busy(shared) == (0, 0)


async def test_questions_about_the_server_need_no_slot() -> None:
    full = gate(queue_limit=0)
    generator = LimitedGenerator(ScriptedGenerator(window=512), full)
    with full.place("interactive"):
        assert (await generator.served()).context_window == 512
        assert await generator.check()


async def test_background_that_yields_is_called_off_for_an_interactive_request() -> None:
    shared, slow = gate(), ScriptedGenerator("a", hangs=True)
    background = LimitedGenerator(slow, shared, priority="background", yields=True)
    job = asyncio.create_task(background.complete(ASK, SHORT))
    await slow.started.wait()

    answer = await LimitedGenerator(ScriptedGenerator("b"), shared).complete(ASK, SHORT)

    assert answer.text == "b"
    assert slow.running == 0
    with pytest.raises(Yielded):
        await job

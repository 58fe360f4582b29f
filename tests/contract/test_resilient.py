"""What is asked again, what is not, and when a server is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace

import httpx
import pytest

from backend.adapters.resilient import ResilientGenerator, RetryPolicy, is_server_failure
from backend.core.errors import (
    ContextOverflow,
    DependencyDown,
    DependencyError,
    DependencyRejected,
    DependencyTimeout,
    ModelNotServed,
    NotReady,
    PromptTruncated,
    RagError,
    ReasoningSpentAll,
)
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    Queued,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TokenUsage,
)
from backend.services.breaker import Breaker, BreakerPolicy
from tests.fakes.generator import ScriptedGenerator

ASK = [Message("user", "Как дела?")]
SHORT = Sampling(max_tokens=60)
AT_ONCE = RetryPolicy(attempts=3, first_wait_s=0.0, breaker=BreakerPolicy(failures=100))
DONE = Completion("ab", "stop", TokenUsage(3, 2))
ANSWER: list[GeneratorEvent] = [TextDelta("a"), TextDelta("b"), DONE]

Script = Sequence[GeneratorEvent | BaseException]


class Flaky(ScriptedGenerator):
    """Plays one script per call, the last one for ever after."""

    def __init__(self, *scripts: Script) -> None:
        super().__init__()
        self.scripts = list(scripts)
        self.asked = 0
        self.check_error: RagError | None = None

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        script = self.scripts[min(self.asked, len(self.scripts) - 1)]
        self.asked += 1
        self.running += 1
        try:
            for step in script:
                await asyncio.sleep(0)
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.running -= 1

    async def check(self) -> str:
        if self.check_error is not None:
            raise self.check_error
        return "fine"


class WithStatus(DependencyRejected):
    def __init__(self, status: int) -> None:
        super().__init__(f"vllm answered {status}.", dependency="vllm")
        self.status = status


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(message: str = "vllm is unreachable.") -> DependencyError:
    return DependencyError(message, dependency="vllm")


def too_slow(cause: Exception | None = None) -> DependencyTimeout:
    error = DependencyTimeout("vllm sent no first token in time.", dependency="vllm")
    error.__cause__ = cause
    return error


def not_served() -> ModelNotServed:
    return ModelNotServed("It has others.", dependency="vllm", model="m", served=("n",))


OF_THE_REQUEST: list[RagError] = [
    ContextOverflow(needed_tokens=9, window_tokens=8),
    DependencyRejected("vllm answered 400.", dependency="vllm"),
    WithStatus(400),
    WithStatus(429),
    not_served(),
    PromptTruncated(dependency="ollama", sent_tokens=9, seen_tokens=8, setting="num_ctx"),
    ReasoningSpentAll(dependency="vllm", spent_tokens=9, setting="LLM_MAX_TOKENS"),
    NotReady("loading", retry_after_s=2),
]


async def told(generator: ResilientGenerator, *, stream: bool) -> Completion:
    if not stream:
        return await generator.complete(ASK, SHORT)
    *_, last = await drained(generator)
    assert isinstance(last, Completion)
    return last


async def drained(generator: ResilientGenerator) -> list[GeneratorEvent]:
    return [event async for event in generator.stream(ASK, SHORT)]


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# --- retries -----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    "error",
    [broken(), WithStatus(500), WithStatus(503), too_slow(httpx.ConnectTimeout("slow"))],
    ids=["unreachable", "500", "503", "connect timeout"],
)
async def test_an_error_that_may_pass_is_not_seen(error: RagError, stream: bool) -> None:
    inner = Flaky([error], [error], ANSWER)

    assert await told(ResilientGenerator(inner, policy=AT_ONCE), stream=stream) == DONE
    assert inner.asked == 3


@both_ways
@pytest.mark.parametrize("error", [*OF_THE_REQUEST, too_slow()], ids=lambda e: type(e).__name__)
async def test_an_error_that_would_come_again_is_told_at_once(
    error: RagError, stream: bool
) -> None:
    inner = Flaky([error], ANSWER)

    with pytest.raises(RagError) as caught:
        await told(ResilientGenerator(inner, policy=AT_ONCE), stream=stream)

    assert caught.value is error
    assert inner.asked == 1


@both_ways
@pytest.mark.parametrize("first", [TextDelta("a"), ReasoningDelta("hm")])
async def test_after_the_first_event_nothing_is_asked_again(
    first: GeneratorEvent, stream: bool
) -> None:
    inner = Flaky([first, broken("vllm broke the connection.")], ANSWER)

    with pytest.raises(DependencyError, match="broke the connection"):
        await told(ResilientGenerator(inner, policy=AT_ONCE), stream=stream)

    assert inner.asked == 1


async def test_a_place_in_a_queue_is_no_part_of_an_answer() -> None:
    inner = Flaky([Queued(1), broken()], ANSWER)

    events = await drained(ResilientGenerator(inner, policy=AT_ONCE))

    assert events == [Queued(1), *ANSWER]


async def test_after_the_last_attempt_the_error_is_told_as_it_was() -> None:
    errors = [broken(str(number)) for number in range(4)]
    inner = Flaky(*([error] for error in errors))

    with pytest.raises(DependencyError) as caught:
        await drained(ResilientGenerator(inner, policy=AT_ONCE))

    assert caught.value is errors[2]
    assert inner.asked == 3


async def test_after_the_deadline_nothing_is_asked_again() -> None:
    inner = Flaky([broken()], ANSWER)

    with pytest.raises(DependencyError):
        await drained(ResilientGenerator(inner, policy=replace(AT_ONCE, deadline_s=0.0)))

    assert inner.asked == 1


async def test_a_whole_answer_has_a_deadline_for_all_attempts_together() -> None:
    policy = replace(AT_ONCE, answer_s=0.01)
    inner = ScriptedGenerator("a", hangs=True)
    generator = ResilientGenerator(inner, policy=policy, dependency="vllm")

    with pytest.raises(DependencyTimeout, match=r"vllm sent no whole answer.*LLM_TIMEOUT"):
        await generator.complete(ASK, SHORT)

    assert inner.running == 0


async def test_closing_a_stream_stops_the_model_and_asks_nothing_again() -> None:
    inner = Flaky(ANSWER)
    async with aclosing(ResilientGenerator(inner, policy=AT_ONCE).stream(ASK, SHORT)) as events:
        await anext(events)

    assert (inner.asked, inner.running) == (1, 0)


async def test_cancelling_while_it_waits_to_ask_again_stops_it() -> None:
    inner = Flaky([broken()])
    policy = replace(AT_ONCE, first_wait_s=1e6, longest_wait_s=1e6, deadline_s=1e9)
    task = asyncio.create_task(ResilientGenerator(inner, policy=policy).complete(ASK, SHORT))
    while inner.asked == 0 or inner.running:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert inner.asked == 1


async def test_requests_at_the_same_time_count_their_own_attempts() -> None:
    inner = Flaky(*([broken()] for _ in range(20)), ANSWER)
    generator = ResilientGenerator(inner, policy=AT_ONCE)

    ends = await asyncio.gather(
        *(generator.complete(ASK, SHORT) for _ in range(10)), return_exceptions=True
    )

    assert ends == [DONE] * 10
    assert inner.asked == 30


# --- the breaker -------------------------------------------------------------------------------


def guarded(inner: Flaky, clock: Clock, failures: int = 5) -> ResilientGenerator:
    policy = BreakerPolicy(failures=failures, pause_s=5, longest_pause_s=30)
    return ResilientGenerator(
        inner,
        policy=replace(AT_ONCE, attempts=1),
        breaker=Breaker(policy, is_server_failure, clock=clock),
    )


async def fails(generator: ResilientGenerator, times: int = 1, stream: bool = True) -> RagError:
    """The last of the errors."""
    for _ in range(times):
        with pytest.raises(RagError) as caught:
            await told(generator, stream=stream)
    return caught.value


async def test_a_server_that_keeps_failing_is_not_asked_for_a_while() -> None:
    inner = Flaky([broken()])
    generator = guarded(inner, Clock())

    await fails(generator, 5)
    error = await fails(generator)

    assert inner.asked == 5
    assert isinstance(error, DependencyDown)
    assert (error.dependency, error.retry_after_s) == ("vllm", 5)
    assert "unreachable" in str(error)


@both_ways
async def test_it_recovers_by_itself(stream: bool) -> None:
    clock, inner = Clock(), Flaky(*([broken()] for _ in range(5)), ANSWER)
    generator = guarded(inner, clock)
    await fails(generator, 6)
    clock.now += 5

    assert [await told(generator, stream=stream) for _ in range(3)] == [DONE] * 3


async def test_each_probe_that_fails_makes_the_pause_longer_up_to_a_limit() -> None:
    clock, inner, pauses = Clock(), Flaky([broken()]), []
    generator = guarded(inner, clock)
    await fails(generator, 5)
    for _ in range(5):
        error = await fails(generator)
        assert isinstance(error, DependencyDown)
        pauses.append(error.retry_after_s)
        clock.now += error.retry_after_s
        assert not isinstance(await fails(generator), DependencyDown)

    assert pauses == [5, 10, 20, 30, 30]


async def test_one_probe_at_a_time_is_let_through() -> None:
    clock, inner = Clock(), Flaky(*([broken()] for _ in range(5)), ANSWER)
    generator = guarded(inner, clock)
    await fails(generator, 5)
    clock.now += 5

    ends = await asyncio.gather(
        *(generator.complete(ASK, SHORT) for _ in range(4)), return_exceptions=True
    )

    assert [type(end) for end in ends] == [Completion] + 3 * [DependencyDown]
    assert inner.asked == 6


async def test_a_probe_that_has_begun_to_answer_lets_the_others_in() -> None:
    clock, inner = Clock(), Flaky(*([broken()] for _ in range(5)), ANSWER)
    generator = guarded(inner, clock)
    await fails(generator, 5)
    clock.now += 5
    async with aclosing(generator.stream(ASK, SHORT)) as probe:
        await anext(probe)

        assert await generator.complete(ASK, SHORT) == DONE


async def test_a_probe_that_was_cancelled_leaves_room_for_the_next() -> None:
    clock, inner = Clock(), Flaky(*([broken()] for _ in range(5)), ANSWER)
    generator = guarded(inner, clock)
    await fails(generator, 5)
    clock.now += 5
    probe = asyncio.create_task(generator.complete(ASK, SHORT))
    while not inner.running:
        await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait([probe])

    assert await generator.complete(ASK, SHORT) == DONE


@pytest.mark.parametrize("error", OF_THE_REQUEST, ids=lambda error: type(error).__name__)
async def test_errors_of_requests_say_that_the_server_works(error: RagError) -> None:
    inner = Flaky([broken()], [broken()], [error])
    generator = guarded(inner, Clock(), failures=3)

    await fails(generator, 10)

    assert inner.asked == 10


async def test_cancelled_requests_say_nothing() -> None:
    inner = Flaky([broken()], [broken()], ANSWER, [broken()])
    generator = guarded(inner, Clock(), failures=3)
    await fails(generator, 2)
    async with aclosing(generator.stream(ASK, SHORT)) as left_early:
        await anext(left_early)
    await fails(generator)

    assert isinstance(await fails(generator), DependencyDown)


async def test_answers_in_between_start_the_count_again() -> None:
    inner = Flaky([broken()], [broken()], ANSWER, [broken()], [broken()], ANSWER)
    generator = guarded(inner, Clock(), failures=3)

    await fails(generator, 2)
    await generator.complete(ASK, SHORT)
    await fails(generator, 2)

    assert await generator.complete(ASK, SHORT) == DONE


async def test_answers_that_break_off_count_though_they_had_begun() -> None:
    inner = Flaky([TextDelta("a"), broken()])
    generator = guarded(inner, Clock(), failures=3)

    assert isinstance(await fails(generator, 4), DependencyDown)
    assert inner.asked == 3


async def test_many_requests_that_fail_together_make_one_short_pause() -> None:
    inner = Flaky([broken()])
    generator = guarded(inner, Clock())
    await asyncio.gather(
        *(generator.complete(ASK, SHORT) for _ in range(20)), return_exceptions=True
    )

    error = await fails(generator)

    assert isinstance(error, DependencyDown)
    assert error.retry_after_s == 5


def test_a_call_from_before_the_pause_does_not_disturb_the_probe() -> None:
    clock = Clock()
    breaker = Breaker(BreakerPolicy(failures=1, pause_s=5), is_server_failure, clock=clock)
    old = ExitStack()
    old.enter_context(breaker.call())
    with pytest.raises(DependencyError), breaker.call():
        raise broken()
    clock.now += 5
    with breaker.call():
        error = broken()
        assert not old.__exit__(type(error), error, None)
        while_it_probes = breaker.is_open

    assert (while_it_probes, breaker.is_open) == (True, False)


async def test_being_down_is_told_at_once_with_what_failed_before() -> None:
    inner = Flaky([broken()])
    policy = replace(AT_ONCE, breaker=BreakerPolicy(failures=2))
    generator = ResilientGenerator(inner, policy=policy)

    error = await fails(generator)

    assert isinstance(error, DependencyDown)
    assert inner.asked == 2


async def test_questions_about_the_server_pass_and_a_good_check_ends_the_pause() -> None:
    inner = Flaky(*([broken()] for _ in range(5)), ANSWER)
    generator = guarded(inner, Clock())
    await fails(generator, 5)
    inner.check_error = broken()

    assert (await generator.served()).name == "scripted"
    with pytest.raises(DependencyError):
        await generator.check()
    assert isinstance(await fails(generator), DependencyDown)
    inner.check_error = None
    assert await generator.check() == "fine"
    assert await generator.complete(ASK, SHORT) == DONE

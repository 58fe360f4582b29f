"""The model server fails in every way it can while requests run: each of them ends in its right
answer or in an error of ours, and afterwards everything works again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from backend.adapters._http import Endpoint
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.limited import LimitedGenerator
from backend.adapters.resilient import ResilientGenerator, RetryPolicy
from backend.core.errors import (
    ContextOverflow,
    DependencyDown,
    DependencyError,
    DependencyRejected,
    ModelNotServed,
    NotReady,
    RagError,
)
from backend.core.ports import Generator
from backend.core.types import Completion, Message, Sampling, TextDelta
from backend.services.breaker import BreakerPolicy
from backend.services.gate import Gate
from tests.fakes.faulty_server import MODEL, Fault, FaultyServer, answer_to, faulty_server

pytestmark = pytest.mark.loopback

WORKERS = 6
SMALL_WINDOW = 200
SAMPLING = Sampling(max_tokens=60)
QUICK = RetryPolicy(
    attempts=3,
    first_wait_s=0.001,
    longest_wait_s=0.01,
    breaker=BreakerPolicy(failures=5, pause_s=0.05, longest_pause_s=0.2),
)


def question(number: int) -> str:
    """Every third is too long for the small window."""
    return f"вопрос {number}" + (" и ещё" * 40 if number % 3 == 0 else "")


@dataclass
class Crowd:
    """Workers that ask one question after the other, in all the ways a client does."""

    generator: Generator
    asked: int = 0
    right: int = 0
    right_in_a_row: int = 0
    errors: list[BaseException] = field(default_factory=list)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.002)

    async def ended(self, count: int) -> None:
        """Until as many more requests have ended."""
        before = self.right + len(self.errors)
        await self.until(lambda: self.right + len(self.errors) >= before + count)

    async def _work(self) -> None:
        while True:
            self.asked += 1
            try:
                await self._ask(self.asked)
            except Exception as error:  # noqa: BLE001 - which ones may come is what is tested
                self.errors.append(error)
                self.right_in_a_row = 0
                await asyncio.sleep(0.005)
            else:
                self.right += 1
                self.right_in_a_row += 1

    async def _ask(self, number: int) -> None:
        messages, expected = [Message("user", question(number))], answer_to(question(number))
        if number % 5 == 0:
            completion = await self.generator.complete(messages, SAMPLING)
            assert completion.text == expected
            return
        said = ""
        async with aclosing(self.generator.stream(messages, SAMPLING)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said += event.text
                    assert expected.startswith(said)
                    if number % 7 == 0:
                        return  # a client that leaves
                if isinstance(event, Completion):
                    assert event.text == said == expected
                    return
        raise AssertionError("a stream without an end")


@dataclass(frozen=True, slots=True)
class Stage:
    server: FaultyServer
    crowd: Crowd
    gate: Gate


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with faulty_server() as server, httpx.AsyncClient(trust_env=False) as client:
        endpoint = Endpoint(client, "vllm", lambda: server.url)
        gate = Gate(capacity=4, queue_limit=10)
        wire = OpenAICompatibleGenerator(endpoint, model=MODEL)
        crowd = Crowd(LimitedGenerator(ResilientGenerator(wire, policy=QUICK), gate))
        yield Stage(server, crowd, gate)


async def through(
    stage: Stage, fault: Callable[[], Awaitable[None]], heal: Callable[[], Awaitable[None]]
) -> list[BaseException]:
    """The errors of requests that ran before, during and after a fault, of which the last
    twenty in a row went well."""
    crowd = stage.crowd
    async with crowd.working():
        await crowd.ended(30)
        assert crowd.errors == []
        await fault()
        await crowd.ended(50)
        await heal()
        crowd.right_in_a_row = 0
        await crowd.until(lambda: crowd.right_in_a_row >= 20)

    assert [error for error in crowd.errors if not isinstance(error, RagError)] == []
    assert not any([*stage.gate.running.values(), *stage.gate.waiting.values()])
    await crowd.until(lambda: stage.server.answering == 0)
    return crowd.errors


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("500", (DependencyRejected, DependencyDown)),
        ("502 page", (DependencyRejected, DependencyDown)),
        ("200 page", (DependencyError,)),
        ("half a stream", (DependencyError,)),
        ("half an event", (DependencyError,)),
        ("other protocol", (DependencyError,)),
        ("loading", (NotReady,)),
    ],
)
async def test_a_server_that_answers_wrongly_for_a_while(
    stage: Stage, fault: Fault, expected: tuple[type[RagError], ...]
) -> None:
    async def switch(to: Fault) -> None:
        stage.server.fault = to

    errors = await through(stage, lambda: switch(fault), lambda: switch("none"))

    assert errors
    assert [error for error in errors if not isinstance(error, expected)] == []


async def test_a_server_that_is_stopped_and_started_again(stage: Stage) -> None:
    errors = await through(stage, stage.server.stop, stage.server.start)

    assert any(isinstance(error, DependencyDown) for error in errors)
    assert [error for error in errors if not isinstance(error, DependencyError)] == []


async def test_a_server_that_is_restarted_at_once(stage: Stage) -> None:
    async def restart() -> None:
        await stage.server.stop()
        await stage.server.start()

    errors = await through(stage, restart, restart)

    # Requests that had no part of their answer yet were asked again, unseen.
    assert len(errors) <= 2 * WORKERS
    assert [error for error in errors if not isinstance(error, DependencyError)] == []


async def test_a_server_that_is_replaced_by_one_with_a_smaller_window(stage: Stage) -> None:
    async def replace(window: int) -> None:
        await stage.server.stop()
        stage.server.window = window
        await stage.server.start()

    whole = stage.server.window
    errors = await through(stage, lambda: replace(SMALL_WINDOW), lambda: replace(whole))

    refused = [error for error in errors if isinstance(error, ContextOverflow)]
    assert refused
    assert {error.window_tokens for error in refused} == {SMALL_WINDOW}
    rest = [error for error in errors if error not in refused]
    assert [error for error in rest if not isinstance(error, DependencyError)] == []


async def test_a_server_that_is_replaced_by_one_with_another_model(stage: Stage) -> None:
    async def replace(model: str) -> None:
        await stage.server.stop()
        stage.server.model = model
        await stage.server.start()

    errors = await through(stage, lambda: replace("other"), lambda: replace(MODEL))

    refused = [error for error in errors if isinstance(error, ModelNotServed)]
    # Without names: the server went away between its refusal and our look at its list.
    assert {("other",)} <= {error.served for error in refused} <= {("other",), ()}
    assert [error for error in errors if not isinstance(error, DependencyError)] == []

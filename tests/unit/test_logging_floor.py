"""One request's lines together, also when several are answered at once."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from backend.telemetry import scope
from backend.telemetry.events import Event, RagMode, RequestReceived, ResponseSent
from backend.telemetry.floor import FloorHandler
from backend.telemetry.logging import PrettyFormatter
from backend.telemetry.scope import RequestScope, request_scope


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stream(io.StringIO):
    """Counts what comes in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.flushed = 0

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushed = len(self.pieces)


class Floor:
    """A handler and what it has printed, in short."""

    def __init__(self, *, patience_s: float = 3600.0) -> None:
        self.clock, self.stream = Clock(), Stream()
        self.handler = FloorHandler(self.stream, patience_s=patience_s, clock=self.clock)
        self.handler.setFormatter(PrettyFormatter())
        self.log = logging.getLogger("tests.floor")
        self.log.setLevel(logging.DEBUG)
        self.log.propagate = False
        self.log.handlers = [self.handler]

    def says(self, request: Request, *events: Event) -> None:
        with request.again():
            for event in events:
                self.log.info(event.name, extra={"block": event})

    @property
    def printed(self) -> list[str]:
        """ "a begins", "a one", "a ends": who says what, in order."""
        found, words = [], ""
        for line in self.stream.getvalue().splitlines():
            if "HTTP REQUEST" in line:
                words = "begins"
            elif "HTTP RESPONSE" in line:
                words = "ends"
            elif line.startswith("[RAG] Mode: "):
                words = line.removeprefix("[RAG] Mode: ")
            elif "request_id=" in line:
                found.append(f"{line.partition('request_id=')[2]} {words or line.split()[2]}")
                words = ""
            elif line and line[0].isdigit():
                found.append(line.split()[2])
        return found


class Request:
    def __init__(self, identity: str) -> None:
        self.identity = identity
        self._scope = RequestScope(identity)

    @contextmanager
    def again(self) -> Iterator[None]:
        """As in a task of this request."""
        with request_scope(self.identity):
            scope._current.set(self._scope)
            yield


@pytest.fixture
def floor() -> Iterator[Floor]:
    made = Floor()
    yield made
    made.handler.close()


BEGIN = RequestReceived("POST", "/ask")
END = ResponseSent("POST", "/ask", 200, 1.0)


def said(text: str) -> RagMode:
    return RagMode(text, "")


def test_a_request_alone_prints_at_once_and_each_block_in_one_piece(floor: Floor) -> None:
    a = Request("a")

    floor.says(a, BEGIN)
    after_one = list(floor.printed)
    floor.says(a, said("one"), END)

    assert after_one == ["a begins"]
    assert floor.printed == ["a begins", "a one", "a ends"]
    assert len(floor.stream.pieces) == floor.stream.flushed == 3


def test_others_wait_until_the_one_who_speaks_has_finished(floor: Floor) -> None:
    a, b = Request("a"), Request("b")

    floor.says(a, BEGIN)
    floor.says(b, BEGIN, said("one"))
    floor.says(a, said("one"))
    before = list(floor.printed)
    floor.says(a, END)
    with_the_floor = list(floor.printed)
    floor.says(b, said("two"), END)

    assert before == ["a begins", "a one"]
    assert with_the_floor == ["a begins", "a one", "a ends", "b begins", "b one"]
    assert floor.printed == [*with_the_floor, "b two", "b ends"]


def test_who_has_finished_is_printed_whole_before_the_oldest_of_the_others_speaks(
    floor: Floor,
) -> None:
    a, b, c, d = (Request(name) for name in "abcd")

    floor.says(a, BEGIN)
    floor.says(b, BEGIN)
    floor.says(c, BEGIN)
    floor.says(d, BEGIN, END)
    floor.says(a, END)
    floor.says(c, said("one"), END)
    floor.says(b, END)

    assert floor.printed == [
        *("a begins", "a ends", "d begins", "d ends"),
        *("b begins", "b ends", "c begins", "c one", "c ends"),
    ]


def test_two_requests_with_one_id_are_still_two(floor: Floor) -> None:
    first, second = Request("x"), Request("x")

    floor.says(first, BEGIN)
    floor.says(second, BEGIN, said("of the second"), END)
    floor.says(first, said("of the first"), END)

    assert floor.printed == [
        *("x begins", "x of the first", "x ends"),
        *("x begins", "x of the second", "x ends"),
    ]


def test_lines_of_no_request_wait_too_and_come_between_two(floor: Floor) -> None:
    a, b = Request("a"), Request("b")

    floor.says(a, BEGIN)
    floor.log.info("loose")
    floor.says(b, BEGIN)
    floor.says(a, END)
    floor.says(b, END)
    floor.log.info("free")

    assert floor.printed == ["a begins", "a ends", "loose", "b begins", "b ends", "free"]


def test_a_warning_is_never_held_and_brings_what_its_request_said_before(floor: Floor) -> None:
    a, b = Request("a"), Request("b")

    floor.says(a, BEGIN)
    floor.says(b, BEGIN)
    with b.again():
        floor.log.warning("careful")

    assert floor.printed == ["a begins", "b begins", "b careful"]


def test_nobody_waits_longer_than_the_patience(floor: Floor) -> None:
    a, b, c = (Request(name) for name in "abc")
    floor.says(a, BEGIN)
    floor.says(b, BEGIN, said("one"))
    floor.clock.now += 3000
    floor.says(c, BEGIN, END)
    floor.clock.now += 700

    floor.handler.print_overdue()
    overdue = list(floor.printed)
    floor.says(b, said("two"), END)
    floor.says(a, END)

    assert overdue == ["a begins", "b begins", "b one"]
    assert floor.printed == [*overdue, "a ends", "b two", "b ends", "c begins", "c ends"]


def test_the_patience_ends_by_itself() -> None:
    floor, printed = Floor(patience_s=0.0), threading.Event()
    a, b = Request("a"), Request("b")
    floor.stream.flush = printed.set  # type: ignore[method-assign]

    floor.says(a, BEGIN)
    printed.clear()
    floor.says(b, BEGIN)

    assert printed.wait(10)
    assert floor.printed == ["a begins", "b begins"]


def test_the_end_of_the_process_loses_nothing(floor: Floor) -> None:
    a, b = Request("a"), Request("b")
    floor.says(a, BEGIN)
    floor.says(b, BEGIN, said("one"))
    floor.log.info("loose")

    floor.handler.close()

    assert sorted(floor.printed) == sorted(["a begins", "b begins", "b one", "loose"])


def test_a_stream_that_is_gone_stops_nobody(floor: Floor) -> None:
    floor.stream.close()

    floor.says(Request("a"), BEGIN, END)


async def test_many_requests_at_once_are_each_printed_in_one_piece(floor: Floor) -> None:
    async def request(name: str) -> None:
        with request_scope(name):
            floor.log.info("x", extra={"block": BEGIN})
            for step in range(5):
                await asyncio.sleep(0)
                floor.log.info("x", extra={"block": said(str(step))})
            floor.log.info("x", extra={"block": END})

    await asyncio.gather(*(request(f"r{number}") for number in range(20)))

    whole = [name for n in range(20) for name in [f"r{n}"] * 7]
    names = [line.split()[0] for line in floor.printed]
    assert sorted(names) == sorted(whole)
    assert sum(one != next_ for one, next_ in pairwise(names)) == 19
    for number in range(20):
        own = [line for line in floor.printed if line.startswith(f"r{number} ")]
        steps = [f"r{number} {step}" for step in range(5)]
        assert own == [f"r{number} begins", *steps, f"r{number} ends"]


def test_threads_lose_nothing(floor: Floor) -> None:
    def request(name: str) -> None:
        floor.says(Request(name), BEGIN, END)

    threads = [threading.Thread(target=request, args=(f"r{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(floor.printed) == 32

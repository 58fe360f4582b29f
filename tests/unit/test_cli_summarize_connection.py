from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from cli.summarize import run
from tests.fakes.summary_api import (
    PARTIALS,
    PROCESSING,
    START,
    Backend,
    Broken,
    around,
    end,
    event,
    refusal,
    summary,
    whole,
)

Captured = pytest.CaptureFixture[str]


def summarize(backend: Backend, *options: str, doc: str = "plans/plan.md") -> int:
    return run([doc, "--space", "s", *options], {}, around(backend.answer))


def test_a_broken_stream_is_taken_up_after_its_last_event(capsys: Captured) -> None:
    backend = Backend([Broken([START, PROCESSING, PARTIALS[0]]), [PARTIALS[1], end()]])

    exit_code = summarize(backend, "--stream")

    captured = capsys.readouterr()
    first, second = backend.of("/summarize-stream")
    assert exit_code == 0
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"] == "r:5"
    assert captured.err.count("Часть первая.") == captured.err.count("Часть вторая.") == 1
    assert "Trying again" in captured.err
    assert captured.out == "Срок сдачи перенесён на 15 января.\n"


def test_a_stream_cut_before_complete_is_not_taken_for_whole() -> None:
    only_text = event("summary", summary(summary="half"))
    backend = Backend([[START, *PARTIALS, only_text], [end()]])

    assert summarize(backend) == 0
    assert backend.of("/summarize-stream")[1].headers["last-event-id"] == "r:8"


def test_an_event_that_broke_off_in_the_middle_is_asked_for_again() -> None:
    backend = Backend([Broken([START, PROCESSING[:-4]]), [PROCESSING, end()]])

    assert summarize(backend) == 0
    assert backend.of("/summarize-stream")[1].headers["last-event-id"] == "r:1"


def test_a_stream_begun_anew_does_not_show_a_part_twice(capsys: Captured) -> None:
    backend = Backend([Broken([START, PARTIALS[0]]), whole()])

    summarize(backend, "--stream")

    assert capsys.readouterr().err.count("Часть первая.") == 1


def test_a_connection_that_keeps_breaking_is_given_up(capsys: Captured) -> None:
    backend = Backend([Broken([START]) for _ in range(50)])

    exit_code = summarize(backend)

    assert exit_code == 1
    assert 2 < len(backend.of("/summarize-stream")) < 10
    assert "hung up" in capsys.readouterr().err


def test_breaks_with_work_done_in_between_do_not_add_up() -> None:
    def step(done: int) -> Broken:
        at = {"stage": "map", "level": 0, "done": done, "total": 20}
        return Broken([event("progress", at, f"r:{done}")])

    backend = Backend([*(step(done) for done in range(1, 20)), [end()]])

    assert summarize(backend) == 0


def test_a_busy_backend_is_waited_for(capsys: Captured) -> None:
    busy = refusal(503, "not_ready", "Indexing.", **{"Retry-After": "0.1"})

    assert summarize(Backend([busy, whole()])) == 0
    assert "Indexing." in capsys.readouterr().err


def test_an_error_within_the_stream_is_exit_code_one_and_not_tried_again(
    capsys: Captured,
) -> None:
    error = {"error": {"code": "summary_part_failed", "message": "Part 2 of 2 failed."}}
    backend = Backend([[START, PROCESSING, event("error", error)]])

    exit_code = summarize(backend)

    captured = capsys.readouterr()
    assert exit_code == 1
    assert captured.out == ""
    assert "Part 2 of 2 failed." in captured.err


@pytest.mark.parametrize("raised", [httpx.ConnectError, httpx.ReadTimeout])
def test_a_backend_that_does_not_answer_is_exit_code_two(
    raised: type[httpx.TransportError], capsys: Captured
) -> None:
    async def down(request: httpx.Request) -> httpx.Response:
        raise raised("down", request=request)

    assert run(["x", "--space", "s"], {}, around(down)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interruption_closes_the_connection_and_is_130(capsys: Captured) -> None:
    closed: list[bool] = []

    class Interrupted(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield START
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            closed.append(True)

    exit_code = summarize(Backend([Interrupted()]))

    captured = capsys.readouterr()
    assert exit_code == 130
    assert closed == [True]
    assert captured.out == ""
    assert "Interrupted." in captured.err

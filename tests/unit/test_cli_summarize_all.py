from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from dataclasses import replace

import httpx
import pytest
from rich.console import Console

from cli import bulk_summaries
from cli.summarize import run
from tests.fakes.summary_api import (
    Backend,
    around,
    bulk,
    refusal,
    status,
)

Captured = pytest.CaptureFixture[str]


def summarize_all(backend: Backend, *options: str) -> int:
    return run(["--space", "s", "--all", *options], {}, around(backend.answer))


def test_all_documents_are_waited_for(capsys: Captured) -> None:
    running = status("a", "running", stage="map", done=1, total=4, eta_seconds=5.0)
    backend = bulk(
        a=[status("a", "pending"), running, status("a", "ready")],
        b=[status("b", "stale"), status("b", "pending"), status("b", "ready")],
    )

    exit_code = summarize_all(backend)

    assert exit_code == 0
    assert "2 made, 1 there already, 0 failed in" in capsys.readouterr().out
    assert len(backend.of("/bulk-summarize")) == 1
    assert len(backend.of("/summary-stats")) >= 3


def test_a_failed_summary_is_named_with_its_reason_and_is_exit_code_one(capsys: Captured) -> None:
    failed = status("b", "failed", error_code="unusable", error="The model wrote nonsense.")

    exit_code = summarize_all(bulk(a=[status("a", "ready")], b=[failed]))

    shown = capsys.readouterr().out
    assert exit_code == 1
    assert "failed  b.md  unusable: The model wrote nonsense." in shown


def test_a_document_deleted_meanwhile_is_not_waited_for(capsys: Captured) -> None:
    gone = refusal(404, "not_found", "No such document.")
    wiped = status("b", "none")
    renewed = [status("c", "none"), status("c", "pending"), status("c", "ready")]

    exit_code = summarize_all(bulk(a=[gone], b=[wiped], c=[*renewed]))

    assert exit_code == 0
    assert "1 made, 1 there already, 0 failed, 2 deleted meanwhile" in capsys.readouterr().out


def test_documents_that_are_not_indexed_yet_are_said_and_exit_code_one(capsys: Captured) -> None:
    backend = bulk(a=[status("a", "ready")])
    backend.accepted = {**backend.accepted, "not_found": ["x", "y"]}

    assert summarize_all(backend) == 1
    assert "2 not indexed yet" in capsys.readouterr().out


def test_every_document_of_a_large_space_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_summaries, "_LOOKED_AT", 2)
    backend = bulk(
        **{name: [*[status(name, "pending")] * 3, status(name, "ready")] for name in "abcdefg"}
    )

    assert summarize_all(backend) == 0


def test_bars_of_all_and_of_the_running_documents_are_shown() -> None:
    running = status("a", "running", stage="map", done=1, total=4, eta_seconds=5.0)
    backend = bulk(a=[running, running, status("a", "ready")])
    errors = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=200)
    out = Console(file=io.StringIO())

    places = replace(around(backend.answer), out=out, errors=errors)
    run(["--space", "s", "--all"], {}, places)

    assert isinstance(errors.file, io.StringIO)
    shown = errors.file.getvalue()
    assert "ready  a.md" in shown
    assert "1/1 documents" in shown
    assert "space: 3 ready, 4 pending, 2 failed" in shown


def test_leaving_says_that_the_backend_goes_on(capsys: Captured) -> None:
    backend = bulk(a=[status("a", "ready")], b=[status("b", "pending")])

    async def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/summary-stats":
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        return await backend.answer(request)

    exit_code = run(["--space", "s", "--all"], {}, around(interrupted))

    captured = capsys.readouterr()
    assert exit_code == 130
    assert "1 made, 1 there already, 0 failed, 1 pending" in captured.out
    assert "Pending still: 1. The backend goes on making them" in captured.err


@pytest.mark.parametrize(("times", "exit_code"), [(3, 0), (99, 2)])
def test_a_backend_that_is_away_for_a_moment_is_waited_for(
    times: int, exit_code: int, capsys: Captured
) -> None:
    backend = bulk(a=[status("a", "ready")])
    away = [True] * times

    async def restarting(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and away:
            away.pop()
            raise httpx.ConnectError("refused", request=request)
        return await backend.answer(request)

    assert run(["--space", "s", "--all"], {}, around(restarting)) == exit_code
    assert ("goes on making them" in capsys.readouterr().err) == (exit_code == 2)


def test_bulk_json_says_what_became_of_each_document(capsys: Captured) -> None:
    failed = status("b", "failed", error_code="unusable", error="Nonsense.")

    summarize_all(bulk(a=[status("a", "ready")], b=[failed]), "--json")

    found = json.loads(capsys.readouterr().out)
    assert found["made"] == ["a"]
    assert found["ready_before"] == ["old"]
    assert found["failed"] == [
        {"doc_id": "b", "source": "b.md", "code": "unusable", "message": "Nonsense."}
    ]
    assert found["stats"]["ready"] == 3
    assert found["exit_code"] == 1

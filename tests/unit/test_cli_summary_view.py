from __future__ import annotations

import io

import pytest
from pydantic import BaseModel
from rich.console import Console

from backend.api import summary_schemas as api
from cli import schemas
from cli.summary_client import SummaryEvent
from cli.summary_view import TimeLeft, duration, summary_bar

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (schemas.SummaryStart(source="plans/plan.md", model="m"), ["Reading plans/plan.md"]),
        (
            schemas.SummaryProcessing(
                strategy="map_reduce",
                parts=9,
                document_tokens=9,
                eta_seconds=600,
                eta_range=(480, 900),
            ),
            ["Summarizing", "0/9 parts", "10 min left (8 min to 15 min)"],
        ),
        (schemas.Queued(position=3), ["waiting for the model (place 3)"]),
        (
            schemas.SummaryProgress(stage="map", level=0, done=2, total=9, eta_seconds=None),
            ["Summarizing", "2/9 parts"],
        ),
        (schemas.SummaryMerge(level=2, inputs=9, groups=4), ["Merging, level 2", "0/4 merges"]),
        (
            schemas.SummaryProgress(stage="merge", level=2, done=1, total=4, eta_seconds=30),
            ["Merging, level 2", "1/4 merges", "30 s left"],
        ),
    ],
)
def test_the_bar_says_stage_parts_place_in_the_queue_and_time_left(
    told: SummaryEvent, shown: list[str]
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=200)

    with summary_bar(screen, partials=False) as bar:
        bar.told(told)
        bar._progress.refresh()

    assert isinstance(screen.file, io.StringIO)
    drawn = screen.file.getvalue()
    assert [part for part in shown if part not in drawn] == []


def test_a_waiting_line_goes_when_the_model_has_answered() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=200)

    with summary_bar(screen, partials=False) as bar:
        bar.told(schemas.SummaryProgress(stage="map", level=0, done=1, total=9))
        bar.told(schemas.Queued(position=1))
        bar.told(schemas.SummaryProgress(stage="map", level=0, done=2, total=9))

        assert bar._progress.tasks[0].description == "Summarizing"


def test_the_time_left_runs_down_between_two_estimates_and_admits_being_late() -> None:
    left = TimeLeft(90, 60, 180, told_at=1000)

    assert left.shown(1000) == "90 s left (60 s to 3 min)"
    assert left.shown(1070) == "20 s left (0 s to 110 s)"
    assert left.shown(1183) == "taking longer than estimated"


def test_durations_are_said_in_the_unit_a_person_would_use() -> None:
    assert [duration(s) for s in (0.2, 90.4, 125, 3599, 3601, 7500)] == [
        "0 s", "90 s", "2 min", "1 h 00 min", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (schemas.Summary, api.SummaryOut),
        (schemas.Decision, api.DecisionOut),
        (schemas.ActionItem, api.ActionItemOut),
        (schemas.SummaryStatus, api.SummaryStatusOut),
        (schemas.SummaryStats, api.StatsOut),
        (schemas.BulkAccepted, api.BulkOut),
    ],
)
def test_the_command_line_reads_only_what_the_api_writes(
    read: type[BaseModel], written: type[BaseModel]
) -> None:
    assert set(read.model_fields) <= set(written.model_fields)

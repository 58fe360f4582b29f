"""How a summary looks: how far it is, then the text and what to know about it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from cli.schemas import (
    PartialSummary,
    Queued,
    Summary,
    SummaryMerge,
    SummaryProcessing,
    SummaryProgress,
    SummaryStart,
)
from cli.summary_client import SummaryEvent
from cli.terminal import plain

_MINUTE_S = 60
_IN_SECONDS = 120  # up to here
_LATE_S = 2.0  # over the range; what is nearly done has a range of nothing
_SHOWN_CHARS = 40  # of the document's source


def write(console: Console, text: str, style: str = "") -> None:
    """Lines as wide as the terminal; elsewhere they are left as they are."""
    console.print(Text(plain(text), style=style), soft_wrap=not console.is_terminal)


# --- on the way --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds from ``told_at``, which is of ``time.monotonic``."""

    seconds: float
    low: float
    high: float
    told_at: float

    @classmethod
    def of(
        cls, seconds: float | None, between: tuple[float, float] | None, now: float
    ) -> TimeLeft | None:
        if seconds is None:
            return None
        low, high = between or (seconds, seconds)
        return cls(seconds, low, high, now)

    def shown(self, now: float) -> str:
        gone = now - self.told_at
        if gone > self.high + _LATE_S:
            return "taking longer than estimated"
        low, high = (duration(max(0.0, end - gone)) for end in (self.low, self.high))
        around = f" ({low} to {high})" if low != high else ""
        return f"{duration(max(0.0, self.seconds - gone))} left{around}"


class TimeLeftColumn(ProgressColumn):
    """Of a task's field ``left``, where that is known; else its field ``note``."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        left: TimeLeft | None = task.fields.get("left")
        return Text(left.shown(time.monotonic()) if left else task.fields.get("note", ""))


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < _IN_SECONDS:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / _MINUTE_S), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


class SummaryBar:
    """One bar; it begins anew for each level. Shown only on a terminal, ``partials`` anywhere."""

    def __init__(self, progress: Progress, *, partials: bool) -> None:
        self._progress = progress
        self._partials = partials
        self._shown: dict[int, str] = {}
        self._stage = "Waiting for the backend"
        self._task = progress.add_task(self._stage, total=None, count="", left=None)

    def told(self, event: SummaryEvent) -> None:
        match event:
            case Queued(position=position):
                waiting = f"{self._stage}, waiting for the model (place {position})"
                self._progress.update(self._task, description=waiting)
            case SummaryStart(source=source):
                name = plain(source)
                short = name if len(name) <= _SHOWN_CHARS else "…" + name[-_SHOWN_CHARS:]
                self._begin(f"Reading {short}", None)
            case SummaryProcessing():
                self._begin("Summarizing", event.parts if event.parts > 1 else None)
                self._left(event)
            case SummaryProgress():
                self._at(event)
            case SummaryMerge(level=level, groups=groups):
                self._begin(f"Merging, level {level}", groups)
            case PartialSummary():
                self._partial(event)

    def note(self, line: str) -> None:
        write(self._progress.console, line)

    def waiting(self, seconds: float, why: str) -> None:
        self.note(f"Waiting {seconds:g} s: {why}")

    def _begin(self, stage: str, total: int | None) -> None:
        self._stage = stage
        self._progress.update(self._task, description=stage, completed=0)
        # update() takes a total of None for "as it was".
        self._progress.tasks[0].total = total
        self._count(0, total)

    def _at(self, event: SummaryProgress) -> None:
        stage = "Summarizing" if event.stage == "map" else f"Merging, level {event.level}"
        if stage != self._stage or self._progress.tasks[0].total != event.total:
            self._begin(stage, event.total)
        self._progress.update(self._task, description=stage, completed=event.done)
        self._count(event.done, event.total)
        self._left(event)

    def _count(self, done: int, total: int | None) -> None:
        what = "parts" if self._stage == "Summarizing" else "merges"
        count = f"{done}/{total} {what}" if total is not None else ""
        self._progress.update(self._task, count=count)

    def _left(self, event: SummaryProcessing | SummaryProgress) -> None:
        left = TimeLeft.of(event.eta_seconds, event.eta_range, time.monotonic())
        self._progress.update(self._task, left=left)

    def _partial(self, event: PartialSummary) -> None:
        if not self._partials or self._shown.get(event.part) == event.text:
            return
        self._shown[event.part] = event.text
        write(self._progress.console, f"Part {event.part} of {event.parts}", "bold")
        write(self._progress.console, event.text.strip() + "\n")


def progress_bar(console: Console) -> Progress:
    """What is done, how much of it, and how long it will take; nothing where nobody looks."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TimeLeftColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def summary_bar(console: Console, *, partials: bool) -> Iterator[SummaryBar]:
    with progress_bar(console) as progress:
        yield SummaryBar(progress, partials=partials)


# --- at the end --------------------------------------------------------------------------------


def show_summary(summary: Summary, out: Console, errors: Console) -> None:
    """The text and the lists on ``out``. What to know about them too, if it is a terminal; else
    only warnings, on ``errors``, so that ``out`` holds nothing but the result."""
    write(out, summary.summary)
    _structure(summary, out)
    if not out.is_terminal:
        _warnings(summary, errors)
        return
    write(out, "")
    _warnings(summary, out)
    write(out, _facts(summary), "dim")


def _structure(summary: Summary, out: Console) -> None:
    decisions = summary.decisions
    tasks = summary.action_items
    lists = {
        "Decisions": None
        if decisions is None
        else [_with(it.what, [it.who, it.when]) for it in decisions],
        "Action items": None
        if tasks is None
        else [
            _with(it.task, [_or(it.owner, "owner"), _or(it.deadline, "deadline")]) for it in tasks
        ],
        "Topics": summary.topics,
        "Participants": summary.participants,
        "Open questions": summary.open_questions,
    }
    for title, lines in lists.items():
        if lines is not None:
            write(out, "")
            _list(out, title, lines)


def _or(value: str | None, name: str) -> str:
    return f"{name}: {value}" if value else f"no {name}"


def _with(text: str, details: Sequence[str | None]) -> str:
    shown = "; ".join(detail for detail in details if detail)
    return f"{text} ({shown})" if shown else text


def _list(console: Console, title: str, lines: Sequence[str], style: str = "") -> None:
    write(console, title if lines else f"{title}: none", f"bold {style}".strip())
    for line in lines:
        write(console, f"- {' '.join(line.split())}", style)


def _warnings(summary: Summary, console: Console) -> None:
    if summary.unsupported:
        title = "Warning: the summary says this, the document does not"
        _list(console, title, summary.unsupported, "yellow")
    for warning in summary.warnings:
        write(console, f"Note: {' '.join(warning.split())}", "yellow")


def _facts(summary: Summary) -> str:
    facts = [f"model {summary.model}"]
    facts.append(f"{summary.parts} {'part' if summary.parts == 1 else 'parts'}")
    if summary.levels:
        facts.append(f"{summary.levels} merge {'level' if summary.levels == 1 else 'levels'}")
    facts.append(f"{summary.chunks_processed} chunks")
    facts.append(f"{summary.seconds:.1f} s" + (", from the cache" if summary.cached else ""))
    return " · ".join(facts)

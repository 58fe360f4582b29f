"""How indexing looks: a progress bar, then what came of it as tables or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cli.discovery import FoundFile
from cli.indexing import FileResult, IndexRun, Outcome
from cli.terminal import plain

_SHOWN_CHARS = 40  # of the current file's name


class ProgressBar:
    """The bar counts bytes, so that the time left means something with files of all sizes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._files = self._done = self._chunks = 0
        self._current: list[str] = []

    def planned(self, files: int, size_bytes: int) -> None:
        self._files = files
        self._task = self._progress.add_task("", total=size_bytes + files, files="", now="")
        self._show(0)

    def started(self, file: FoundFile) -> None:
        self._current.append(file.source)
        self._show(0)

    def finished(self, file: FoundFile, result: FileResult) -> None:
        self._current.remove(file.source)
        self._done += 1
        self._chunks += result.chunks
        self._show(file.size_bytes + 1)

    def waiting(self, seconds: float, why: str) -> None:
        line = f"Waiting {seconds:g} s: {plain(why)}"
        self._progress.console.print(line, markup=False, soft_wrap=True)

    def _show(self, advance_bytes: int) -> None:
        if self._task is None:
            return
        now = plain(self._current[0]) if self._current else ""
        self._progress.update(
            self._task,
            advance=advance_bytes,
            files=f"{self._done}/{self._files} files, {self._chunks} chunks",
            now=now if len(now) <= _SHOWN_CHARS else "…" + now[-_SHOWN_CHARS:],
        )


@contextmanager
def progress_bar(console: Console) -> Iterator[ProgressBar]:
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.fields[files]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    with Progress(*columns, console=console, transient=console.is_terminal) as progress:
        yield ProgressBar(progress)


def show(run: IndexRun, seconds: float, console: Console) -> None:
    console.print(_headline(run, seconds), markup=False, soft_wrap=True)
    if run.pruned:
        _list(console, "Deleted, because they are no longer in the folder:", run.pruned)
    warned = [
        f"{result.source}: {warning}" for result in run.results for warning in result.warnings
    ]
    if warned:
        _list(console, "Warnings:", warned)
    if run.skipped:
        table = Table("skipped", "files", box=None, pad_edge=False)
        for reason, count in sorted(run.skipped.items(), key=lambda item: (-item[1], item[0])):
            table.add_row(escape(plain(reason)), str(count))
        console.print(table)
    if run.failed:
        table = Table("failed", "code", "why", box=None, pad_edge=False)
        for result in sorted(run.failed, key=lambda result: result.source):
            table.add_row(*(escape(plain(cell)) for cell in _cells(result)))
        for column in table.columns:
            column.overflow = "fold"
        console.print(table)


def _headline(run: IndexRun, seconds: float) -> str:
    counts = Counter(result.outcome for result in run.results)
    chunks = sum(result.chunks for result in run.results if result.outcome != "unchanged")
    parts = [
        f"{counts['indexed']} indexed",
        f"{counts['replaced']} replaced",
        f"{counts['unchanged']} unchanged",
        f"{counts['failed']} failed",
        f"{sum(run.skipped.values())} skipped",
    ]
    if run.pruned:
        parts.append(f"{len(run.pruned)} deleted")
    if run.not_tried:
        parts.append(f"{run.not_tried} not done")
    start = "Interrupted. " if run.interrupted else ""
    return f"{start}{', '.join(parts)}; {chunks} new chunks in {seconds:.1f} s."


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(title)
    for line in lines:
        console.print(f"  {plain(line)}", markup=False, soft_wrap=True)


def _cells(result: FileResult) -> tuple[str, str, str]:
    return result.source, result.code, result.message


def as_json(run: IndexRun, space_id: str, seconds: float, exit_code: int) -> str:
    counts = Counter(result.outcome for result in run.results)
    outcomes: tuple[Outcome, ...] = ("indexed", "replaced", "unchanged", "failed")
    by_outcome: dict[str, int] = {outcome: counts[outcome] for outcome in outcomes}
    failed = [
        {"source": source, "code": code, "message": message}
        for source, code, message in map(_cells, run.failed)
    ]
    warned = [
        {"source": result.source, "warnings": list(result.warnings)}
        for result in run.results
        if result.warnings
    ]
    summary = {
        "space_id": space_id,
        **by_outcome,
        "skipped": dict(run.skipped),
        "deleted": run.pruned,
        "not_done": run.not_tried,
        "chunks": sum(result.chunks for result in run.results),
        "failures": failed,
        "warnings": warned,
        "stopped": str(run.stopped) if run.stopped else None,
        "interrupted": run.interrupted,
        "seconds": round(seconds, 3),
        "exit_code": exit_code,
    }
    return plain(json.dumps(summary, ensure_ascii=False, indent=2))

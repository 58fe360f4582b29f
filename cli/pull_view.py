"""Progress bars of model fetching."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.terminal import plain


def progress(console: Console) -> Progress:
    """To be entered before ``Bar`` or ``LayerBars`` shows anything."""
    return Progress(
        # File names are not ours, so nothing in them is markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


class Bar:
    """A progress bar, and lines above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def note(self, line: str) -> None:
        note(self._progress, line)

    def phase(self, what: str, total_bytes: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(plain(what), total=total_bytes)

    def at(self, done_bytes: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done_bytes)


class LayerBars:
    """A bar for each layer."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def note(self, line: str) -> None:
        note(self._progress, line)

    def layer(self, digest: str, total_bytes: int, done_bytes: int) -> None:
        if digest not in self._tasks:
            short = plain(digest.removeprefix("sha256:")[:12])
            self._tasks[digest] = self._progress.add_task(short, total=total_bytes)
        self._progress.update(self._tasks[digest], completed=done_bytes, total=total_bytes)


def note(progress: Progress, line: str) -> None:
    progress.console.print(plain(line), highlight=False, markup=False, soft_wrap=True)

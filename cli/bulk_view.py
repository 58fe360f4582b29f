"""How the summaries of a whole space look: bars while they are made, then what came of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

from cli.bulk_summaries import BulkRun
from cli.schemas import SummaryStatus
from cli.summary_view import TimeLeft, progress_bar, write
from cli.terminal import plain

_SHOWN_CHARS = 40  # of a document's source


class BulkBar:
    """A bar of the whole, and one of each document that is being made."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._whole = progress.add_task("All", total=None, count="", left=None)
        self._documents: dict[str, TaskID] = {}

    def looked(self, run: BulkRun) -> None:
        if run.accepted is None or run.stats is None:
            return
        total = len(run.accepted.pending)
        done = total - len(run.unfinished)
        stats = run.stats
        space = f"space: {stats.ready} ready, {stats.pending} pending, {stats.failed} failed"
        count = f"{done}/{total} documents"
        self._progress.update(self._whole, total=total, completed=done, count=count, note=space)
        running = {status.doc_id: status for status in run.running}
        for doc_id in set(self._documents) - set(running):
            self._progress.remove_task(self._documents.pop(doc_id))
        for status in running.values():
            self._show(status)

    def finished(self, status: SummaryStatus) -> None:
        if not self._progress.disable:
            why = f": {status.error}" if status.status == "failed" and status.error else ""
            self.note(f"{status.status}  {status.source}{why}")

    def note(self, line: str) -> None:
        write(self._progress.console, line)

    def waiting(self, seconds: float, why: str) -> None:
        self.note(f"Waiting {seconds:g} s: {why}")

    def _show(self, status: SummaryStatus) -> None:
        if status.doc_id not in self._documents:
            name = plain(status.source)
            short = name if len(name) <= _SHOWN_CHARS else "…" + name[-_SHOWN_CHARS:]
            task = self._progress.add_task(short, total=None, count="", left=None)
            self._documents[status.doc_id] = task
        if status.done is None or status.total is None:
            return
        what = "parts" if status.stage == "map" else "merges"
        self._progress.update(
            self._documents[status.doc_id],
            total=status.total,
            completed=status.done,
            count=f"{status.done}/{status.total} {what}",
            left=TimeLeft.of(status.eta_seconds, status.eta_range, time.monotonic()),
        )


@contextmanager
def bulk_bar(console: Console) -> Iterator[BulkBar]:
    with progress_bar(console) as progress:
        yield BulkBar(progress)


def show_bulk(run: BulkRun, seconds: float, out: Console) -> None:
    accepted = run.accepted
    if accepted is None:
        return
    counts = [
        f"{len(run.made)} made",
        f"{len(accepted.ready)} there already",
        f"{len(run.failed)} failed",
    ]
    if run.unfinished:
        counts.append(f"{len(run.unfinished)} pending")
    if run.gone:
        counts.append(f"{len(run.gone)} deleted meanwhile")
    if run.not_indexed:
        counts.append(f"{len(run.not_indexed)} not indexed yet")
    write(out, f"{', '.join(counts)} in {seconds:.1f} s.")
    for status in sorted(run.failed, key=lambda status: status.source):
        write(out, f"failed  {status.source}  {status.error_code or ''}: {status.error or ''}")


def left_to_the_backend(run: BulkRun) -> str:
    """What becomes of the work when nobody waits for it any more."""
    if run.accepted is None:
        return "The backend may not have written the work down yet."
    if not run.unfinished:
        return ""
    return (
        f"Pending still: {len(run.unfinished)}. The backend goes on making them, also after a "
        "restart; the same command waits for them again."
    )


def bulk_as_json(run: BulkRun, seconds: float, exit_code: int) -> str:
    accepted = run.accepted
    summary = {
        "space_id": run.space_id,
        "made": [status.doc_id for status in run.made],
        "ready_before": list(accepted.ready) if accepted else [],
        "failed": [
            {
                "doc_id": status.doc_id,
                "source": status.source,
                "code": status.error_code,
                "message": status.error,
            }
            for status in run.failed
        ],
        "pending": run.unfinished,
        "deleted": sorted(run.gone),
        "not_indexed": list(run.not_indexed),
        "stats": run.stats.model_dump(mode="json") if run.stats else None,
        "stopped": str(run.stopped) if run.stopped else None,
        "interrupted": run.interrupted,
        "seconds": round(seconds, 3),
        "exit_code": exit_code,
    }
    return plain(json.dumps(summary, ensure_ascii=False, indent=2))

"""All documents of a space summarized beforehand: asked for once, then watched until done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import httpx

from cli.failures import ApiError, ClientError, Patience
from cli.schemas import BulkAccepted, SummaryStats, SummaryStatus
from cli.summary_client import SummaryClient
from cli.summary_follow import persistently

POLL_S = 2.0
_LOOKED_AT = 24  # documents per look: a space may have thousands
_RUNNING_SHOWN = 8
_GONE_AFTER = 2  # looks: a wish that is being renewed for a new version is not there for a moment


@dataclass(slots=True)
class BulkRun:
    """``accepted`` is None until the backend has written the work down. ``gone`` are documents
    that were deleted, or whose summary was, while it was waited for."""

    space_id: str
    accepted: BulkAccepted | None = None
    statuses: dict[str, SummaryStatus] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    stats: SummaryStats | None = None
    interrupted: bool = False
    stopped: ClientError | None = None
    _missed: Counter[str] = field(default_factory=Counter)

    @property
    def unfinished(self) -> list[str]:
        wanted = self.accepted.pending if self.accepted else ()
        return [doc_id for doc_id in wanted if not self._over(doc_id)]

    @property
    def made(self) -> list[SummaryStatus]:
        return [status for status in self.statuses.values() if status.status == "ready"]

    @property
    def failed(self) -> list[SummaryStatus]:
        return [status for status in self.statuses.values() if status.status == "failed"]

    @property
    def running(self) -> list[SummaryStatus]:
        return [status for status in self.statuses.values() if status.status == "running"]

    @property
    def not_indexed(self) -> tuple[str, ...]:
        """Of a whole space only what has no version to read yet is not found."""
        return self.accepted.not_found if self.accepted else ()

    def take(self, doc_id: str, status: SummaryStatus | None) -> None:
        """What a look at the document gave; None: it is not there."""
        if status is None:
            self.statuses.pop(doc_id, None)
            self.gone.add(doc_id)
            return
        self.statuses[doc_id] = status
        self._missed[doc_id] = self._missed[doc_id] + 1 if status.status == "none" else 0
        if self._missed[doc_id] >= _GONE_AFTER:
            self.gone.add(doc_id)

    def _over(self, doc_id: str) -> bool:
        status = self.statuses.get(doc_id)
        return doc_id in self.gone or (status is not None and status.status in ("ready", "failed"))


class BulkReporter(Protocol):
    """What the person waiting is shown."""

    def looked(self, run: BulkRun) -> None: ...

    def finished(self, status: SummaryStatus) -> None: ...

    def note(self, line: str) -> None: ...


async def summarize_all(
    client: SummaryClient,
    run: BulkRun,
    reporter: BulkReporter,
    patience: Patience,
) -> None:
    """Returns when nothing is to be waited for. Leaving early leaves the work to the backend.

    Raises:
        ClientError: it did not take the work, or nobody answers any more.
    """
    run.accepted = await patience.with_(lambda: client.bulk_summarize(run.space_id))
    look = _Look(client, run, reporter, patience)
    while True:
        await look.once()
        if not run.unfinished:
            return
        await patience.sleep(POLL_S)


@dataclass(slots=True)
class _Look:
    client: SummaryClient
    run: BulkRun
    reporter: BulkReporter
    patience: Patience
    _next: int = 0

    async def once(self) -> None:
        for doc_id in self._chosen():
            status = await self._status(doc_id)
            self.run.take(doc_id, status)
            if status is not None and status.status in ("ready", "failed"):
                self.reporter.finished(status)
        self.run.stats = await self._asked_stats()
        self.reporter.looked(self.run)

    def _chosen(self) -> list[str]:
        """Those that were being made a moment ago, and the next few of all others in turn."""
        unfinished = self.run.unfinished
        running = [status.doc_id for status in self.run.running][:_RUNNING_SHOWN]
        others = [doc_id for doc_id in unfinished if doc_id not in running]
        start = self._next if self._next < len(others) else 0
        self._next = start + _LOOKED_AT
        return running + others[start : self._next]

    async def _asked_stats(self) -> SummaryStats:
        ask = partial(self.client.summary_stats, self.run.space_id)
        return await persistently(self.patience, ask, self.reporter.note)

    async def _status(self, doc_id: str) -> SummaryStatus | None:
        ask = partial(self.client.summary_status, doc_id)
        try:
            return await persistently(self.patience, ask, self.reporter.note)
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

"""Progress that is told between the ends of calls as well: a call may take minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from backend.core.summaries import (
    MergeStarted,
    SummaryEvent,
    SummaryProcessing,
    SummaryProgress,
)
from backend.services.summarize.pace import Pace

_EVERY_S = 0.5
_SHARE = 0.02  # of the time that is left: a summary of an hour is told of every minute


class Progress:
    """Passes events on to ``emit``; where none has come for a while, the last count again with a
    new estimate. ``calls_per_part`` are counted in the first stage."""

    def __init__(
        self, emit: Callable[[SummaryEvent], None], pace: Pace, *, calls_per_part: int
    ) -> None:
        self._emit = emit
        self._pace = pace
        self._calls_per_part = calls_per_part
        self._last: SummaryProgress | None = None
        self._told = False

    def emit(self, event: SummaryEvent) -> None:
        if isinstance(event, SummaryProcessing):
            total = self._calls_per_part * event.parts
            self._last = SummaryProgress("map", 0, 0, total, event.eta)
        elif isinstance(event, MergeStarted):
            self._last = SummaryProgress("merge", event.level, 0, event.groups, None)
        elif isinstance(event, SummaryProgress):
            self._last = event
        self._told = True
        self._emit(event)

    @asynccontextmanager
    async def between_calls(self) -> AsyncIterator[None]:
        telling = asyncio.create_task(self._tell(), name="progress")
        try:
            yield
        finally:
            telling.cancel()

    async def _tell(self) -> None:
        pause = _EVERY_S
        while True:
            self._told = False
            await asyncio.sleep(pause)
            if self._told or self._last is None:
                continue
            eta = self._pace.eta()
            if eta is not None:
                self._emit(replace(self._last, eta=eta))
                pause = max(_EVERY_S, _SHARE * eta.seconds)

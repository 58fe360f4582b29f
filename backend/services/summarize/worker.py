"""Makes the summaries that were asked for beforehand, behind every question."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from backend.core.errors import (
    Conflict,
    DependencyError,
    NotFound,
    Overloaded,
    RagError,
    UnusableCompletion,
)
from backend.core.ports import SummaryStore
from backend.core.summaries import SummaryRecord
from backend.services.summarize.service import Summaries

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 15.0
_MOST_ATTEMPTS = 3


class SummaryWorker:
    """What is pending is in the store, so it survives this process. At most ``parallel()``
    documents are worked on at once."""

    def __init__(
        self,
        summaries: Summaries,
        store: SummaryStore,
        *,
        parallel: Callable[[], int],
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        self._summaries = summaries
        self._store = store
        self._parallel = parallel
        self._again_after_s = again_after_s
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._resting: set[str] = set()

    async def run(self) -> None:
        """Until cancelled; what was being made then is pending still."""
        try:
            await self._sweep()
            while True:
                self._summaries.new_work.clear()
                waiting = await self._begin_what_waits()
                if not waiting:
                    await self._summaries.new_work.wait()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _sweep(self) -> None:
        try:
            await self._summaries.sweep()
        except DependencyError as error:  # the next start does it
            log.warning("old parts of summaries are left", extra={"reason": str(error)})

    async def _begin_what_waits(self) -> bool:
        """Fill the free places; whether to look again at once."""
        try:
            pending = await self._store.pending()
        except DependencyError as error:
            log.warning("pending summaries wait", extra={"reason": str(error)})
            await asyncio.sleep(self._again_after_s)
            return True
        for record in pending:
            key_id = record.key.id
            if len(self._busy) >= max(1, self._parallel()):
                break
            if key_id not in self._busy and key_id not in self._resting:
                task = asyncio.create_task(self._make(record), name="summary")
                self._busy[key_id] = task
                task.add_done_callback(lambda _, key_id=key_id: self._done(key_id))  # type: ignore[misc]
        return False

    def _done(self, key_id: str) -> None:
        del self._busy[key_id]
        self._summaries.new_work.set()

    async def _make(self, record: SummaryRecord) -> None:
        about = {"doc_id": record.key.doc_id, "source": record.source}
        log.info("[Background] summary begun", extra=about)
        try:
            await self._summaries.make_pending(record)
        except (NotFound, Conflict):
            again = await self._summaries.renewed(record)
            log.info("[Background] document changed", extra={**about, "again": again})
        except (Overloaded, DependencyError) as error:
            await self._failed(record, error)
        except RagError as error:
            await self._give_up(record, error)
        except Exception as error:
            log.exception("[Background] summary failed", extra=about)
            await self._give_up(record, RagError(f"internal error: {type(error).__name__}"))
        else:
            log.info("[Background] summary done", extra=about)

    async def _failed(self, record: SummaryRecord, error: RagError) -> None:
        """A model that is down or busy costs no attempt; one that writes nonsense does."""
        log.warning(
            "[Background] summary waits", extra={"source": record.source, "reason": str(error)}
        )
        if isinstance(error.__cause__, UnusableCompletion):
            record = replace(record, attempts=record.attempts + 1)
            if record.attempts >= _MOST_ATTEMPTS:
                await self._give_up(record, error)
                return
            await self._put(record)
        self._rest(record.key.id)

    def _rest(self, key_id: str) -> None:
        self._resting.add(key_id)

        def over() -> None:
            self._resting.discard(key_id)
            self._summaries.new_work.set()

        asyncio.get_running_loop().call_later(self._again_after_s, over)

    async def _give_up(self, record: SummaryRecord, error: RagError) -> None:
        log.error(
            "[Background] summary failed", extra={"source": record.source, "code": error.code}
        )
        failed = replace(record, state="failed", error_code=error.code, error=str(error))
        await self._put(failed)

    async def _put(self, record: SummaryRecord) -> None:
        try:
            await self._store.put(record)
        except DependencyError as error:  # then it is pending still, and tried again
            log.warning("a summary's state could not be kept", extra={"reason": str(error)})
            self._rest(record.key.id)

"""Qdrant Edge in a folder of ours: the lock, the threads, the background optimizer.

Edge is the storage engine of the Qdrant server as a library; its calls block, so every one
of them runs on a thread. Writes go through a single thread, in order.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import qdrant_edge as edge

from backend.core.errors import DependencyError

log = logging.getLogger(__name__)
T = TypeVar("T")
Condition: TypeAlias = (
    edge.FieldCondition
    | edge.IsEmptyCondition
    | edge.IsNullCondition
    | edge.HasIdCondition
    | edge.HasVectorCondition
    | edge.NestedCondition
    | edge.Filter
)

# Index when this many points were written since the last time, or when writing has paused.
OPTIMIZE_EVERY_POINTS = 2000
OPTIMIZE_AFTER_PAUSE_S = 5.0


class EdgeShard:
    """One shard, opened or created; without a configuration only opened."""

    def __init__(
        self, path: Path, config: edge.EdgeConfig | None, keyword_fields: Sequence[str]
    ) -> None:
        self._path = path
        self._config = config
        self._keyword_fields = keyword_fields
        self._reads = ThreadPoolExecutor(4, thread_name_prefix=f"{path.name}-read")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix=f"{path.name}-write")
        self._optimizer = ThreadPoolExecutor(1, thread_name_prefix=f"{path.name}-optimize")
        self._shard: edge.EdgeShard | None = None
        self._unoptimized = 0
        self._pending: asyncio.TimerHandle | None = None
        self._closed = threading.Event()

    async def open(self) -> None:
        await self.write(self._open)

    def _open(self) -> None:
        if not self._path.exists():
            self._create()
        self._shard = edge.EdgeShard.load(str(self._path), self._config)

    def _create(self) -> None:
        """Made beside its place and moved there when whole: a crash leaves no half shard."""
        if self._config is None:
            raise DependencyError(
                f"There is no embedded store at {self._path}.", dependency="qdrant-edge"
            )
        unfinished = self._path.with_name(self._path.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(unfinished), self._config)
        for field in self._keyword_fields:
            shard.update(
                edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword)
            )
        shard.flush()
        shard.close()
        unfinished.rename(self._path)

    @property
    def _open_shard(self) -> edge.EdgeShard:
        if self._shard is None:
            raise RuntimeError("the shard was not opened")
        return self._shard

    async def read(self, call: Callable[[edge.EdgeShard], T]) -> T:
        return await self._run(self._reads, lambda: call(self._open_shard))

    async def write(self, call: Callable[[], T]) -> T:
        return await self._run(self._writes, call)

    async def update(self, *operations: edge.UpdateOperation, points: int = 1) -> None:
        """Apply in order; each is in the write-ahead log when this returns."""

        def apply() -> None:
            for operation in operations:
                self._open_shard.update(operation)

        await self.write(apply)
        self._schedule_optimize(points)

    async def flush(self) -> None:
        await self.write(self._flush)

    def _flush(self) -> None:
        self._open_shard.flush()

    def _close(self) -> None:
        self._open_shard.flush()
        self._open_shard.close()

    async def _run(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, call)
        except Exception as error:
            if type(error) is not Exception:  # Edge raises that very class for all its failures
                raise
            raise DependencyError(
                f"The embedded store at {self._path} failed: {error}", dependency="qdrant-edge"
            ) from error

    # --- optimizer ---------------------------------------------------------------------------

    def _schedule_optimize(self, points: int) -> None:
        self._unoptimized += points
        loop = asyncio.get_running_loop()
        if self._pending is not None:
            self._pending.cancel()
        pause = 0.0 if self._unoptimized >= OPTIMIZE_EVERY_POINTS else OPTIMIZE_AFTER_PAUSE_S
        self._pending = loop.call_later(pause, self._start_optimize)

    def _start_optimize(self) -> None:
        self._pending = None
        self._unoptimized = 0
        self._optimizer.submit(self._optimize)

    def _optimize(self) -> None:
        if self._closed.is_set():
            return
        try:
            self._open_shard.optimize()
        except Exception:
            # Searches stay right without the index, only slower; the next write tries again.
            log.exception("optimizing the embedded store failed", extra={"path": str(self._path)})

    async def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._closed.set()
        await asyncio.to_thread(self._optimizer.shutdown)
        if self._shard is not None:
            await self.write(self._close)
        for executor in (self._reads, self._writes):
            await asyncio.to_thread(executor.shutdown)


def match(field: str, value: str) -> edge.FieldCondition:
    return edge.FieldCondition(field, match=edge.MatchValue(value))


def payloads(found: Any) -> list[dict[str, Any]]:
    return [dict(record.payload or {}) for record in found]

"""How long each stage of a request took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """Seconds by stage, in the order the stages began; a repeated stage adds up."""

    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def mark(self, name: str) -> None:
        """The moment something happened for the first time, counted from the beginning."""
        self.stages.setdefault(name, time.perf_counter() - self.started)

    def report(self) -> dict[str, float]:
        return self.stages | {"total": time.perf_counter() - self.started}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        self.stages.setdefault(name, 0.0)
        try:
            yield
        finally:
            self.stages[name] += time.perf_counter() - started

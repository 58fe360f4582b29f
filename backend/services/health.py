"""Whether each part can do its work now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from backend.core.errors import NotReady, RagError

State = Literal["ok", "starting", "failed"]
Check = Callable[[], Awaitable[str]]
LiveWarnings = Callable[[], Awaitable[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    state: State
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    components: Mapping[str, ComponentHealth]
    warnings: tuple[str, ...]

    @property
    def state(self) -> State:
        states = {component.state for component in self.components.values()}
        if "failed" in states:
            return "failed"
        return "starting" if "starting" in states else "ok"


class HealthChecker:
    """``warnings`` are what the operator should know although everything runs; ``live`` tells
    those that come and go."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        warnings: tuple[str, ...],
        timeout_s: float = 5.0,
        live: LiveWarnings | None = None,
    ) -> None:
        self._checks = checks
        self._warnings = warnings
        self._timeout_s = timeout_s
        self._live = live

    async def check(self) -> Health:
        results = await asyncio.gather(*map(self._one, self._checks.values()))
        warnings = self._warnings
        if self._live is not None:
            with contextlib.suppress(TimeoutError):  # the check of that part tells it already
                async with asyncio.timeout(self._timeout_s):
                    warnings = (*warnings, *await self._live())
        return Health(dict(zip(self._checks, results, strict=True)), warnings)

    async def _one(self, check: Check) -> ComponentHealth:
        started = time.perf_counter()
        state: State
        try:
            async with asyncio.timeout(self._timeout_s):
                state, detail = "ok", await check()
        except NotReady as error:
            state, detail = "starting", str(error)
        except RagError as error:
            state, detail = "failed", str(error)
        except TimeoutError:
            state, detail = "failed", f"no answer in {self._timeout_s:g} s"
        return ComponentHealth(state, detail, round(time.perf_counter() - started, 4))

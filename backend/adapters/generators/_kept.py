"""What a server said of its model, kept for a short while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backend.adapters._streams import now
from backend.core.types import ServedModel

_KEPT_S = 30.0  # a server that was replaced is noticed at the latest after this


class KeptModel:
    """``ask`` asks the server."""

    def __init__(self, ask: Callable[[], Awaitable[ServedModel]]) -> None:
        self._ask = ask
        self._kept: ServedModel | None = None
        self._kept_until = 0.0

    async def get(self, *, fresh: bool) -> ServedModel:
        """See ``Generator.served``."""
        asked_at = now()
        if fresh or self._kept is None or asked_at >= self._kept_until:
            self.forget()
            self._kept = await self._ask()
            self._kept_until = asked_at + _KEPT_S
        return self._kept

    def forget(self) -> None:
        """The server may be another one by now."""
        self._kept = None

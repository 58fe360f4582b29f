"""Answers that may be given again: bounded in number and age, bound to what they were made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from cachetools import TTLCache

from backend.core.ports import DocumentStore

T = TypeVar("T")


class SpaceCache(Generic[T]):
    """Keyed by the frozen request itself and the space's version: no field can be forgotten,
    and an ingest or delete makes every older entry of the space unreachable at once."""

    def __init__(self, documents: DocumentStore, *, size: int, ttl_s: float) -> None:
        self._documents = documents
        self._entries: TTLCache[Hashable, T] | None = TTLCache(size, ttl_s) if size else None

    async def get(
        self, request: Hashable, space_id: str, make: Callable[[], Awaitable[T]]
    ) -> tuple[T, bool]:
        """The answer, and whether it was there already. A failure is never kept."""
        key, found = await self.find(request, space_id)
        if found is not None:
            return found, True
        made = await make()
        self.keep(key, made)
        return made, False

    async def find(self, request: Hashable, space_id: str) -> tuple[Hashable, T | None]:
        """The key to keep an answer under, taken before the answer is made, and what is there."""
        if self._entries is None:
            return None, None
        key = (request, space_id, await self._documents.space_version(space_id))
        return key, self._entries.get(key)

    def keep(self, key: Hashable, made: T) -> None:
        if self._entries is not None:
            self._entries[key] = made

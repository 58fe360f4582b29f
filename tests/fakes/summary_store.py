"""Summaries in memory, obeying the contract of ``SummaryStore``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from backend.core.summaries import FinishedPart, SummaryKey, SummaryRecord, SummaryState


class MemorySummaryStore:
    def __init__(self) -> None:
        self.records: dict[str, SummaryRecord] = {}
        self.finished: dict[tuple[str, str, int, int], FinishedPart] = {}
        self.keys: dict[str, SummaryKey] = {}  # of the finished parts

    async def put(self, record: SummaryRecord) -> None:
        self.records[record.key.id] = record

    async def get(self, key_id: str) -> SummaryRecord | None:
        return self.records.get(key_id)

    async def of_document(self, doc_id: str) -> list[SummaryRecord]:
        found = [record for record in self.records.values() if record.key.doc_id == doc_id]
        return sorted(found, key=lambda record: record.asked_at, reverse=True)

    async def pending(self) -> list[SummaryRecord]:
        found = [record for record in self.records.values() if record.state == "pending"]
        return sorted(found, key=lambda record: record.asked_at)

    async def counts(self, space_id: str | None = None) -> Mapping[SummaryState, int]:
        return Counter(
            record.state
            for record in self.records.values()
            if space_id is None or record.key.space_id == space_id
        )

    async def remove(self, key_ids: Sequence[str]) -> None:
        for key_id in key_ids:
            self.records.pop(key_id, None)
            await self.drop_parts(key_id)

    async def forget(self, doc_id: str) -> None:
        gone = [key for key in (*self.keys.values(), *self._kept()) if key.doc_id == doc_id]
        await self.remove([key.id for key in gone])

    def _kept(self) -> list[SummaryKey]:
        return [record.key for record in self.records.values()]

    async def put_part(self, key: SummaryKey, part: FinishedPart) -> None:
        self.keys[key.id] = key
        self.finished[key.id, part.stage, part.level, part.index] = part

    async def parts(self, key_id: str) -> list[FinishedPart]:
        return [part for part in self.finished.values() if part.key_id == key_id]

    async def drop_parts(self, key_id: str) -> None:
        for identity in [identity for identity in self.finished if identity[0] == key_id]:
            del self.finished[identity]
        self.keys.pop(key_id, None)

    async def begun(self) -> list[SummaryKey]:
        return list(self.keys.values())

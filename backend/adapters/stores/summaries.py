"""Summaries and the work on them, as points of one collection of their own: they stay when all
documents are indexed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import TypeAdapter

from backend.adapters.stores.points import PayloadPoints
from backend.adapters.stores.schema import Payload, point_id
from backend.core.summaries import FinishedPart, SummaryKey, SummaryRecord, SummaryState

SUMMARY_FIELDS = ("kind", "key_id", "doc_id", "space_id", "state")

_RECORD = TypeAdapter(SummaryRecord)
_PART = TypeAdapter(FinishedPart)
_KEY = TypeAdapter(SummaryKey)


class PointSummaryStore:
    def __init__(self, points: PayloadPoints) -> None:
        self._points = points

    async def open(self) -> None:
        await self._points.open()

    async def close(self) -> None:
        await self._points.close()

    async def put(self, record: SummaryRecord) -> None:
        key = record.key
        payload: Payload = {
            "kind": "summary",
            "key_id": key.id,
            "doc_id": key.doc_id,
            "space_id": key.space_id,
            "state": record.state,
            "body": _RECORD.dump_json(record).decode(),
        }
        await self._points.put(point_id("summary", key.id), payload)

    async def get(self, key_id: str) -> SummaryRecord | None:
        found = await self._points.get(point_id("summary", key_id))
        return _record(found) if found else None

    async def of_document(self, doc_id: str) -> list[SummaryRecord]:
        found = await self._points.where({"kind": "summary", "doc_id": doc_id})
        return sorted(map(_record, found), key=_asked_at, reverse=True)

    async def pending(self) -> list[SummaryRecord]:
        found = await self._points.where({"kind": "summary", "state": "pending"})
        return sorted(map(_record, found), key=_asked_at)

    async def counts(self, space_id: str | None = None) -> Mapping[SummaryState, int]:
        within = {} if space_id is None else {"space_id": space_id}
        states: tuple[SummaryState, ...] = get_args(SummaryState)
        return {
            state: await self._points.count({"kind": "summary", "state": state, **within})
            for state in states
        }

    async def remove(self, key_ids: Sequence[str]) -> None:
        for key_id in key_ids:
            await self._points.delete({"key_id": key_id})

    async def forget(self, doc_id: str) -> None:
        await self._points.delete({"doc_id": doc_id})

    async def put_part(self, key: SummaryKey, part: FinishedPart) -> None:
        payload: Payload = {
            "kind": "part",
            "key_id": key.id,
            "doc_id": key.doc_id,
            "key": _KEY.dump_json(key).decode(),
            "body": _PART.dump_json(part).decode(),
        }
        identity = point_id("part", key.id, part.stage, part.level, part.index)
        await self._points.put(identity, payload)

    async def parts(self, key_id: str) -> list[FinishedPart]:
        found = await self._points.where({"kind": "part", "key_id": key_id})
        return [_PART.validate_json(payload["body"]) for payload in found]

    async def drop_parts(self, key_id: str) -> None:
        await self._points.delete({"kind": "part", "key_id": key_id})

    async def begun(self) -> list[SummaryKey]:
        found = await self._points.where({"kind": "part"})
        return list(
            {payload["key_id"]: _KEY.validate_json(payload["key"]) for payload in found}.values()
        )


def _record(payload: Payload) -> SummaryRecord:
    return _RECORD.validate_json(payload["body"])


def _asked_at(record: SummaryRecord) -> str:
    return record.asked_at.isoformat()

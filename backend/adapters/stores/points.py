"""Records without vectors, found by id or by the value of a field: on Edge and on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import qdrant_edge as edge
from qdrant_client import AsyncQdrantClient, models

from backend.adapters.stores.edge import all_payloads, without_vectors
from backend.adapters.stores.edge_shard import EdgeShard, match, payloads
from backend.adapters.stores.schema import Payload
from backend.adapters.stores.server import all_points, asked, index_keywords, matches


class PayloadPoints(Protocol):
    """``fields`` are pairs of a name and the value it must have; all of them must hold."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def put(self, identity: str, payload: Payload) -> None: ...

    async def get(self, identity: str) -> Payload | None: ...

    async def where(self, fields: Mapping[str, str]) -> list[Payload]: ...

    async def count(self, fields: Mapping[str, str]) -> int: ...

    async def delete(self, fields: Mapping[str, str]) -> None: ...


class EdgePoints:
    def __init__(self, path: Path, *, keyword_fields: Sequence[str]) -> None:
        self._shard = EdgeShard(path, without_vectors(), keyword_fields)

    async def open(self) -> None:
        await self._shard.open()

    async def close(self) -> None:
        await self._shard.close()

    async def put(self, identity: str, payload: Payload) -> None:
        point = edge.Point(identity, {}, payload)
        # In the write-ahead log when this returns: it survives the death of the process. Flushing
        # each of them to the disk too would cost 180 ms, against a loss of power alone.
        await self._shard.update(edge.UpdateOperation.upsert_points([point]))

    async def get(self, identity: str) -> Payload | None:
        found = payloads(
            await self._shard.read(lambda shard: shard.retrieve([identity], True, False))
        )
        return found[0] if found else None

    async def where(self, fields: Mapping[str, str]) -> list[Payload]:
        wanted = _edge_filter(fields)
        return await self._shard.read(lambda shard: all_payloads(shard, wanted, True))

    async def count(self, fields: Mapping[str, str]) -> int:
        request = edge.CountRequest(filter=_edge_filter(fields), exact=True)
        return await self._shard.read(lambda shard: shard.count(request))

    async def delete(self, fields: Mapping[str, str]) -> None:
        operation = edge.UpdateOperation.delete_points_by_filter(_edge_filter(fields))
        await self._shard.update(operation)


class ServerPoints:
    def __init__(
        self, client: AsyncQdrantClient, name: str, *, keyword_fields: Sequence[str]
    ) -> None:
        self._client = client
        self._name = name
        self._keyword_fields = keyword_fields

    async def open(self) -> None:
        if not await asked(self._client.collection_exists(self._name)):
            await asked(self._client.create_collection(self._name, vectors_config={}))
            await index_keywords(self._client, self._name, self._keyword_fields)

    async def close(self) -> None:
        """The client belongs to the wiring."""

    async def put(self, identity: str, payload: Payload) -> None:
        point = models.PointStruct(id=identity, vector={}, payload=payload)
        await asked(self._client.upsert(self._name, [point], wait=True))

    async def get(self, identity: str) -> Payload | None:
        found = await asked(self._client.retrieve(self._name, [identity], with_payload=True))
        return dict(found[0].payload or {}) if found else None

    async def where(self, fields: Mapping[str, str]) -> list[Payload]:
        return await all_points(self._client, self._name, _server_filter(fields))

    async def count(self, fields: Mapping[str, str]) -> int:
        found = await asked(self._client.count(self._name, _server_filter(fields), exact=True))
        return found.count

    async def delete(self, fields: Mapping[str, str]) -> None:
        selector = models.FilterSelector(filter=_server_filter(fields))
        await asked(self._client.delete(self._name, selector, wait=True))


def _edge_filter(fields: Mapping[str, str]) -> edge.Filter:
    conditions: list[Any] = [match(field, value) for field, value in fields.items()]
    return edge.Filter(must=conditions)


def _server_filter(fields: Mapping[str, str]) -> models.Filter:
    conditions: list[models.Condition] = [matches(name, value) for name, value in fields.items()]
    return models.Filter(must=conditions)

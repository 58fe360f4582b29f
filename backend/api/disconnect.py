"""Stop working for a client that has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")


class ClientDisconnected(Exception):
    """Nobody is waiting for the answer any more."""


async def until_disconnect(request: Request, work: Coroutine[object, object, T]) -> T:
    """Await ``work``, but cancel it as soon as the HTTP client goes away.

    Raises:
        ClientDisconnected: the client left first.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    job, watch = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({job, watch}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        raise ClientDisconnected
    finally:
        for task in (job, watch):
            task.cancel()
        await asyncio.gather(job, watch, return_exceptions=True)

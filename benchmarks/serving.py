"""The backend on a free loopback port inside the benchmark's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from backend.app import OpenServices, create_app
from backend.settings import Settings


@asynccontextmanager
async def serving(settings: Settings, open_: OpenServices) -> AsyncIterator[str]:
    app = create_app(settings, (), open_)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task

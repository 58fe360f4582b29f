"""The backend on a free loopback port inside the benchmark's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from backend.api.deps import Services
from backend.app import create_app
from backend.settings import Settings


@asynccontextmanager
async def serving(settings: Settings, services: Services) -> AsyncIterator[str]:
    app = create_app(settings, services)
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task

"""The stand-alone gateway on a real socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from backend.gateway_app import create_gateway
from backend.services.gateway import GatewayParts


@dataclass(frozen=True)
class GatewaySettings:
    api_keys: tuple[str, ...] = ()
    ingest_max_file_bytes: int = 1000


@asynccontextmanager
async def running_gateway(parts: GatewayParts, *keys: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_gateway(GatewaySettings(keys), parts)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        await serving

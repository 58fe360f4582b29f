"""``python -m backend``: serve with what the environment sets."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from backend.app import create_app
from backend.core.errors import ConfigurationError, RagError
from backend.settings import Settings, load_settings
from backend.telemetry.logging import configure_logging
from backend.wiring import open_services
from backend.wiring.standalone import open_standalone_gateway

log = logging.getLogger(__name__)

WRONG_CONFIGURATION = 2
CANNOT_START = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop when standard input ends: whoever started this process is gone",
    )
    parser.add_argument(
        "--gateway",
        action="store_true",
        help="only the OpenAI API of the model servers, without documents",
    )
    parser.add_argument(
        "--reindex",
        action="store_true",
        help="embed every document again from its original before serving",
    )
    arguments = parser.parse_args()
    try:
        settings, warnings = load_settings()
    except ConfigurationError as error:
        print(f"Configuration error:\n{error}", file=sys.stderr)  # noqa: T201 - no log yet
        return WRONG_CONFIGURATION
    configure_logging(settings.log_level, settings.log_format)
    for warning in warnings:
        log.warning(warning)
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    # uvicorn raises the signal again when it has shut down in order; then all is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _nothing_more)
    try:
        if arguments.gateway:
            return asyncio.run(_serve_gateway(settings, tuple(warnings)))
        return asyncio.run(_serve(settings, tuple(warnings), reindex=arguments.reindex))
    except RagError as error:
        log.error("cannot start: %s", error)
        return CANNOT_START


async def _serve(settings: Settings, warnings: tuple[str, ...], *, reindex: bool) -> int:
    async with open_services(settings, warnings, reindex=reindex) as services:
        return await _listen(settings, create_app(settings, services))


async def _serve_gateway(settings: Settings, warnings: tuple[str, ...]) -> int:
    async with open_standalone_gateway(settings, warnings) as gateway:
        return await _listen(settings, gateway)


async def _listen(settings: Settings, app: FastAPI) -> int:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    await server.serve()
    return 0 if server.started else CANNOT_START


def _nothing_more(number: int, frame: FrameType | None) -> None:
    log.info("stopped", extra={"signal": signal.Signals(number).name})


def _stop_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

"""The backend as its own process, as an operator runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class RunningBackend:
    process: subprocess.Popen[bytes]
    client: httpx.Client

    def kill(self) -> None:
        """As a crash does it: no handler runs."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def running_backend(data_dir: Path, **settings: str) -> Iterator[RunningBackend]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "LLM_MODE": "none",
        "EMBED_THREADS": "1",
        **settings,
    }
    with (data_dir.parent / f"backend-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend"], cwd=ROOT, env=environment, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_up(process, client)
            yield RunningBackend(process, client)
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(process: subprocess.Popen[bytes], client: httpx.Client) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the backend ended with code {process.returncode}")
        try:
            if client.get("/health").status_code in (200, 503):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the backend did not start")


def until(condition: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)

"""A backend of our own, as a child process that cannot outlive us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.client import Client
from cli.failures import ApiError, ClientError
from cli.schemas import Health

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"

# It reads its standard input only to see it end, which it does however we end.
COMMAND = (sys.executable, "-m", "backend", "--stop-with-stdin")

_STOP_GRACE_S = 20.0
_POLL_S = 0.2
_START_LIMIT_S = 600.0  # a large model from a slow disk
_FAILED_LIMIT_S = 30.0  # a part that crashed may be started again
_TAIL_LINES = 3
_OURS = "backend.core.errors."


class BackendError(Exception):
    """Why there is no backend, in a line or a few for the person waiting for it."""


@dataclass(frozen=True, slots=True)
class BackendProcess:
    process: Process
    log_path: Path
    log_start: int  # where this process's part of the log begins, in bytes
    stop_grace_s: float = _STOP_GRACE_S

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    async def wait_ready(self, client: Client, told: Callable[[str], None]) -> Health:
        """
        Raises:
            BackendError: it ended, a part of it failed, or it takes too long.
        """
        started, failed_since, why = time.monotonic(), None, "starting"
        while time.monotonic() - started < _START_LIMIT_S:
            if self.has_ended:
                raise BackendError(await self.last_words())
            try:
                health = await client.health()
            except ClientError as error:
                why = str(error) if isinstance(error, ApiError) else "starting the backend"
            else:
                if health.status == "ok" and not self.has_ended:
                    return health
                why = health.waiting_for
                failed_since = _first_seen(failed_since, health.status == "failed")
                if failed_since and time.monotonic() - failed_since > _FAILED_LIMIT_S:
                    raise BackendError(f"The backend does not become ready: {why}")
            told(why)
            await asyncio.sleep(_POLL_S)
        raise BackendError(f"The backend was not ready after {_START_LIMIT_S:.0f} s: {why}")

    async def last_words(self) -> str:
        """Why it ended, from its log."""
        log = await asyncio.to_thread(self._log)
        lines = [line.rstrip() for line in log.splitlines() if line.strip()]
        for line in reversed(lines):
            if line.startswith(_OURS) and ": " in line:
                return line.partition(": ")[2]
            if "address already in use" in line.lower():
                return "Its port was taken while it started."
        tail = "\n".join(lines[-_TAIL_LINES:])
        code = self.process.returncode
        return f"The backend ended with code {code}; its log is {self.log_path}.\n{tail}"

    def _log(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    async def stop(self) -> None:
        """Let it finish; kill it when that takes too long, or when we are told a second time."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(self.stop_grace_s):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def backend_process(
    environment: Mapping[str, str],
    log_path: Path,
    *,
    command: Sequence[str] = COMMAND,
    stop_grace_s: float = _STOP_GRACE_S,
) -> AsyncIterator[BackendProcess]:
    """Started at the beginning, gone at the end."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        start = log.tell()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=dict(environment),
            # Ctrl+C reaches everything at the terminal; this one is asked in order, by us.
            start_new_session=True,
        )
    backend = BackendProcess(process, log_path, start, stop_grace_s)
    try:
        yield backend
    finally:
        await backend.stop()


def free_port(wanted: int) -> int:
    """``wanted``, or any for 0.

    Raises:
        BackendError: somebody listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere it would take the port over
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise BackendError(
                f"Port {wanted} cannot be used ({error.strerror}). Another demo or program is "
                'there: stop it, or take another with make demo ARGS="--port 8001".'
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _first_seen(since: float | None, now: bool) -> float | None:
    return (since or time.monotonic()) if now else None

"""A llama.cpp server of our own, in a child process, kept alive while we live."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from backend.adapters.local.llamacpp_child import ChildConfig
from backend.core.errors import DependencyError, NotReady

_CHILD = "backend.adapters.local.llamacpp_child"
_IMPORT_ROOT = Path(__file__).parents[3]
_RESTART_DELAYS_S = (0.5, 2.0, 8.0)
_STEADY_AFTER_S = 60.0  # a child that lived this long starts the count of failures anew
_STOP_GRACE_S = 2.0

log = logging.getLogger(__name__)

Pipe = TypeVar("Pipe")


class _FromChild(BaseModel):
    url: str | None = None
    error: str | None = None


class LocalLlamaServer:
    """Starts, watches, restarts and stops the child.

    ``url`` raises instead of answering while there is nobody to talk to, so a request at that
    moment fails with the reason. A restarted child has another port, the same ``api_key``.
    """

    name = "llamacpp"

    def __init__(
        self,
        model_path: Path,
        *,
        model_name: str,
        threads: int,
        context_window: int,
        log_path: Path,
        parallel: int = 1,
        restart_delays_s: tuple[float, ...] = _RESTART_DELAYS_S,
    ) -> None:
        self.api_key = secrets.token_urlsafe(32)
        self._config = ChildConfig(
            model_path=str(model_path.resolve()),
            model_name=model_name,
            api_key=self.api_key,
            threads=threads,
            context_window=context_window,
            parallel=parallel,
        )
        self._log_path = log_path
        self._restart_delays_s = restart_delays_s
        self._url: str | None = None
        self._failure: str | None = None
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Root URL of the server.

        Raises:
            NotReady: the model is loading, for the first time or again.
            DependencyError: the child cannot be kept alive; the message names its log.
        """
        if self._failure is not None:
            raise DependencyError(self._failure, dependency=self.name)
        if self._url is None:
            raise NotReady("The local chat model is still loading.", retry_after_s=2)
        return self._url

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the child; return as soon as the process exists. ``url`` says when it serves."""
        self._failure = None
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_path.write_bytes(b"")
        process = await self._spawn()
        self._watcher = asyncio.create_task(self._keep_alive(process), name="llamacpp-watch")

    async def stop(self) -> None:
        """Stop the child for good. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        self._url = None
        if self._process is not None:
            await _end(self._process)
            self._process = None

    async def wait_ready(self) -> str:
        """The URL, once the model is loaded.

        Raises:
            DependencyError: it cannot be loaded, or crashes again and again.
        """
        while True:
            try:
                return self.url
            except NotReady:
                await asyncio.sleep(0.02)

    async def _spawn(self) -> Process:
        with self._log_path.open("ab") as log_file:
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _CHILD),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log_file,
                cwd=_IMPORT_ROOT,
            )
        with contextlib.suppress(ConnectionError):  # a child that died says so by its exit code
            stdin = _pipe(process.stdin)
            stdin.write(self._config.to_line())
            await stdin.drain()
        return process

    async def _keep_alive(self, process: Process) -> None:
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            refused = await self._serve(process)
            self._url = None
            lived_s = asyncio.get_running_loop().time() - started
            failures = 1 if lived_s > _STEADY_AFTER_S else failures + 1
            code = process.returncode
            if refused is not None:
                self._give_up(f"could not load {self._config.model_name}: {refused}")
                return
            if failures > len(self._restart_delays_s):
                self._give_up(f"stopped {failures} times, last with exit code {code}.")
                return
            log.warning("local model server stopped", extra={"exit_code": code})
            await asyncio.sleep(self._restart_delays_s[failures - 1])
            process = await self._spawn()

    async def _serve(self, process: Process) -> str | None:
        """Wait out one child's life; return why it refused to serve, if it said so."""
        try:
            line = await _pipe(process.stdout).readline()
            said = _FromChild.model_validate_json(line)
        except ValidationError:  # it died before it could say anything
            said = _FromChild()
        self._url = said.url
        await process.wait()
        return said.error

    def _give_up(self, what: str) -> None:
        self._failure = f"The local model server {what} Its log is {self._log_path}."
        log.error("local model server given up", extra={"reason": what})


async def _end(process: Process) -> None:
    """Close the child's stdin, which it takes as the order to exit; kill it if it does not."""
    _pipe(process.stdin).close()
    try:
        await asyncio.wait_for(process.wait(), _STOP_GRACE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _pipe(stream: Pipe | None) -> Pipe:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream

"""Parses files in worker processes, so that no file can hurt the service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

import backend
from backend.adapters.parsers.limits import MEMORY_BYTES, TIMEOUT, ParserLimits
from backend.adapters.parsers.protocol import (
    READY,
    decode_lengths,
    decode_outcome,
    encode_request,
)
from backend.core.errors import DependencyError, RagError, UnreadableDocument
from backend.core.types import ParsedDocument

_START_TIMEOUT_S = 60.0
_EXIT_TIMEOUT_S = 5.0
_FILES_PER_WORKER = 200  # then a new one: what libraries leak does not add up
_BYTES_PER_CHAR = 4
_PIECE_BYTES = 1024**2
_MAX_META_BYTES = 256 * 1024**2
_PACKAGE_ROOT = Path(backend.__file__).resolve().parents[1]
_PIPE_ENDED = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


class _WorkerGone(Exception):
    """The worker's output ended before a whole reply."""


@dataclass(slots=True)
class _Worker:
    process: Process
    replies: BufferedByteReceiveStream
    files: int = 0

    async def ask(self, request: bytes, max_text_bytes: int) -> tuple[bytes, list[bytes]]:
        """The two parts of the reply; ``ValueError`` where it is none."""
        assert self.process.stdin is not None  # noqa: S101 (opened with a pipe)
        self.files += 1
        try:
            await self.process.stdin.send(request)
            header = await self.replies.receive_until(b"\n", 64)
            body_bytes, text_bytes = decode_lengths(header)
            if body_bytes > _MAX_META_BYTES or text_bytes > max_text_bytes:
                raise ValueError("the reply is over every limit")
            body = await self.replies.receive_exactly(body_bytes)
            return body, await self._receive(text_bytes)
        except _PIPE_ENDED as error:
            raise _WorkerGone from error

    async def _receive(self, size: int) -> list[bytes]:
        """Pieces small enough that neither taking nor decoding one holds up the event loop."""
        pieces = []
        while size > 0:
            pieces.append(await self.replies.receive_exactly(min(size, _PIECE_BYTES)))
            size -= len(pieces[-1])
        return pieces

    async def end(self) -> None:
        """Wait for a process whose output has ended, so that its exit status is known."""
        with anyio.move_on_after(_EXIT_TIMEOUT_S):
            await self.process.wait()
        await self.kill()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        with anyio.CancelScope(shield=True):
            await self.process.aclose()


class ProcessParser:
    """Port ``Parser``. At most ``max_workers`` files are read at a time, others wait.

    A worker that hangs, crashes or whose caller is cancelled is killed, and the next file
    gets a new one. Idle workers are kept; they end when this process does, however it does.
    """

    def __init__(self, limits: ParserLimits | None = None, *, max_workers: int = 2) -> None:
        self._limits = limits or ParserLimits()
        self._slots = asyncio.Semaphore(max_workers)
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._closed = False

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """See the port.

        Raises:
            DependencyError: no worker can be started, or the parser has been closed.
        """
        request = encode_request(path, name, self._limits)
        async with self._slots:
            body, text = await self._reply(request)
        try:
            # Megabytes take longer to decode than an event loop should stand still.
            return await asyncio.to_thread(decode_outcome, body, text)
        except (ValueError, KeyError, TypeError) as error:
            raise self._crashed(None) from error

    async def close(self) -> None:
        """Kill all workers; calls that still wait get a ``DependencyError``."""
        self._closed = True
        self._idle.clear()
        for worker in list(self._workers):
            await worker.kill()

    async def _reply(self, request: bytes) -> tuple[bytes, list[bytes]]:
        for fresh in (False, True):
            async with self._worker(fresh=fresh) as worker:
                reused = worker.files > 0
                try:
                    with anyio.fail_after(self._limits.timeout_s):
                        return await worker.ask(
                            request, self._limits.max_text_chars * _BYTES_PER_CHAR
                        )
                except TimeoutError as error:
                    raise self._too_slow() from error
                except ValueError as error:
                    raise self._crashed(None) from error
                except _WorkerGone as error:
                    await worker.end()
                    # It may have died idle, or of a file it read before: only a crash of a
                    # new worker is the fault of this file.
                    if self._closed or not reused:
                        raise self._crashed(worker.process.returncode) from error
        raise AssertionError("a new worker answers or raises")

    @asynccontextmanager
    async def _worker(self, *, fresh: bool) -> AsyncIterator[_Worker]:
        """Lend a worker; it is kept only if it has answered."""
        worker = await (self._start() if fresh else self._take())
        answered = False
        try:
            yield worker
            answered = worker.process.returncode is None
        finally:
            if answered and not self._closed and worker.files < _FILES_PER_WORKER:
                self._idle.append(worker)
            else:
                self._workers.remove(worker)
                await worker.kill()

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            self._workers.remove(worker)
            await worker.kill()
        return await self._start()

    async def _start(self) -> _Worker:
        if self._closed:
            raise self._crashed(None)
        process = await anyio.open_process(
            [sys.executable, "-m", "backend.adapters.parsers.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_PACKAGE_ROOT,
        )
        assert process.stdout is not None  # noqa: S101 (opened with a pipe)
        worker = _Worker(process, BufferedByteReceiveStream(process.stdout))
        self._workers.append(worker)
        ready = b""
        try:
            with anyio.fail_after(_START_TIMEOUT_S):
                ready = await worker.replies.receive_exactly(len(READY))
        except (TimeoutError, *_PIPE_ENDED) as error:
            raise DependencyError(
                "The process that reads files cannot be started.", dependency="parser"
            ) from error
        finally:
            if ready != READY:
                self._workers.remove(worker)
                await worker.kill()
        return worker

    def _too_slow(self) -> RagError:
        return UnreadableDocument(
            f"The file could not be read within {self._limits.timeout_s:g} s; "
            f"split it or raise {TIMEOUT}.",
            reason="timeout",
        )

    def _crashed(self, returncode: int | None) -> RagError:
        if self._closed:
            return DependencyError("The file parser has been closed.", dependency="parser")
        if returncode == -getattr(signal, "SIGXCPU", 0):
            return self._too_slow()
        return UnreadableDocument(
            f"Reading the file crashed the parser ({_signal_name(returncode)}): the file is "
            f"damaged, or needs more memory than {MEMORY_BYTES} or the machine allows.",
            reason="corrupt",
        )


def _signal_name(returncode: int | None) -> str:
    if returncode is None:
        return "nonsense for an answer"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"exit code {returncode}"

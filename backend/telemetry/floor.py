"""Keeps the lines of one request together while several are being answered."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from backend.telemetry.events import RequestReceived, ResponseSent
from backend.telemetry.scope import RequestScope, current_request

PATIENCE_S = 5.0


@dataclass(slots=True)
class _Held:
    lines: list[str] = field(default_factory=list)
    since: float = 0.0  # when the first of these lines was held
    finished: bool = False


class FloorHandler(logging.Handler):
    """One request at a time has the floor, from its ``RequestReceived`` to its ``ResponseSent``,
    and prints at once. What others say meanwhile is held until they get the floor, the oldest
    first, but no line longer than ``patience_s``. Warnings and errors are never held; what their
    request said before is printed with them.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._patience_s = patience_s
        self._clock = clock
        self._holder: RequestScope | None = None
        # In order of arrival; None stands for all that belongs to no request with blocks.
        self._waiting: dict[RequestScope | None, _Held] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # logging calls this under the handler's lock.
        try:
            self._take(record, self.format(record))
        except Exception:  # noqa: BLE001 - a log line must not end a request
            self.handleError(record)

    def flush(self) -> None:
        """Print everything that is held; logging does so when the process ends."""
        with self._locked():
            for scope in list(self._waiting):
                self._print_held(scope)

    def close(self) -> None:
        self.flush()
        with self._locked():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        super().close()

    def print_overdue(self) -> None:
        """Print what has waited too long, and look again when the next lines have."""
        with self._locked():
            self._timer = None
            limit = self._clock() - self._patience_s
            for scope, held in list(self._waiting.items()):
                if held.lines and held.since <= limit:
                    self._print_held(scope)
            self._arm()

    def _take(self, record: logging.LogRecord, text: str) -> None:
        scope, event = current_request(), getattr(record, "block", None)
        if isinstance(event, RequestReceived) and scope is not None:
            if self._holder is None:
                self._holder = scope
            else:
                self._waiting.setdefault(scope, _Held())
        known = scope is not None and (scope is self._holder or scope in self._waiting)
        speaker = scope if known else None
        if record.levelno >= logging.WARNING:
            self._print_held(speaker)
            self._write([text])
        elif self._holder in (None, speaker):
            self._write([text])
        else:
            self._hold(speaker, text)
        if isinstance(event, ResponseSent) and speaker is not None:
            self._finish(speaker)

    def _hold(self, scope: RequestScope | None, text: str) -> None:
        held = self._waiting.setdefault(scope, _Held())
        if not held.lines:
            held.since = self._clock()
        held.lines.append(text)
        if self._timer is None:
            self._arm()

    def _finish(self, scope: RequestScope) -> None:
        if scope is self._holder:
            self._holder = None
            self._pass_on()
            return
        self._waiting[scope].finished = True
        if not self._waiting[scope].lines:
            del self._waiting[scope]

    def _pass_on(self) -> None:
        """Print who has finished meanwhile; the oldest of the others gets the floor."""
        heir: RequestScope | None = None
        for scope, held in list(self._waiting.items()):
            if scope is None or held.finished:
                self._print_held(scope)
            elif heir is None:
                heir = scope
        if heir is not None:
            self._holder = heir
            self._write(self._waiting.pop(heir).lines)

    def _print_held(self, scope: RequestScope | None) -> None:
        held = self._waiting.get(scope)
        if held is None:
            return
        self._write(held.lines)
        held.lines = []
        if scope is None or held.finished:
            del self._waiting[scope]

    def _write(self, lines: list[str]) -> None:
        """One write, so that nothing of another process comes in between."""
        if not lines:
            return
        # A stream that is closed or broken leaves nothing to say it on.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()

    def _arm(self) -> None:
        oldest = min((held.since for held in self._waiting.values() if held.lines), default=None)
        if oldest is None:
            return
        delay = max(0.0, oldest + self._patience_s - self._clock())
        self._timer = threading.Timer(delay, self.print_overdue)
        self._timer.daemon = True
        self._timer.start()

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return self.lock or contextlib.nullcontext()

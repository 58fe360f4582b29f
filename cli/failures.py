"""What can go wrong between the command line and the backend.

ClientError                one line for the person at the terminal
├── Unreachable            nobody answers at the URL
├── TimedOut               it answered nothing in time
├── ConnectionLost         it hung up in the middle
├── UnexpectedAnswer       something else answers at the URL
└── ApiError               the backend says no; ``code`` is the API's
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class ClientError(Exception):
    code = "client"


class Unreachable(ClientError):
    code = "unreachable"


class TimedOut(ClientError):
    code = "timeout"


class ConnectionLost(ClientError):
    code = "connection_lost"


class UnexpectedAnswer(ClientError):
    code = "unexpected_answer"


class ApiError(ClientError):
    """``retry_after_s`` is None when asking again is no use; so is ``status`` within a stream."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        shown = f" (request {request_id})" if request_id and (status or 500) >= 500 else ""
        super().__init__(message + shown)
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s if status in (429, 503) else None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a busy backend is waited for, and who is told."""

    limit_s: float = 120.0
    longest_pause_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    told: Callable[[float, str], None] = lambda seconds, why: None

    async def with_(self, call: Callable[[], Awaitable[T]]) -> T:
        """``call``, again after each 429 or 503 that says when to come back."""
        waited_s = 0.0
        while True:
            try:
                return await call()
            except ApiError as error:
                if error.retry_after_s is None:
                    raise
                pause_s = min(max(error.retry_after_s, 0.1), self.longest_pause_s)
                if waited_s + pause_s > self.limit_s:
                    raise
                waited_s += pause_s
                self.told(pause_s, str(error))
                await self.sleep(pause_s)

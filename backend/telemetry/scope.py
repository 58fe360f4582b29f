"""The HTTP request that is being worked on, known to everything it calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

request_id: ContextVar[str] = ContextVar("request_id", default="-")


@dataclass(slots=True, eq=False)
class RequestScope:
    """One request while it runs. Two are never equal, though a client may send one id twice.

    ``failure`` is the error code it ends with.
    """

    request_id: str
    failure: str | None = None
    expected_prompt_tokens: int | None = None  # see backend.telemetry.events


_current: ContextVar[RequestScope | None] = ContextVar("request_scope", default=None)


@contextmanager
def request_scope(identity: str) -> Iterator[RequestScope]:
    """All that is logged inside belongs to this request."""
    scope = RequestScope(identity)
    id_token, scope_token = request_id.set(identity), _current.set(scope)
    try:
        yield scope
    finally:
        request_id.reset(id_token)
        _current.reset(scope_token)


def current_request() -> RequestScope | None:
    return _current.get()


def note_failure(code: str) -> None:
    """The current request ends with this error code: also for errors that no HTTP status can
    tell, such as one inside a stream."""
    scope = _current.get()
    if scope is not None:
        scope.failure = code

"""Every failure a caller can see.

RagError
├── InvalidRequest              the caller must change the request
│   ├── ContextOverflow         the prompt cannot fit the context window
│   ├── UnsupportedDocument     no parser for this kind of file
│   ├── UnreadableDocument      empty, encrypted, corrupt or without text
│   └── TooLarge                over a configured limit
├── Unauthorized                no key, or a wrong one
├── NotFound                    no such document, model or job
├── Conflict                    the state of the store forbids it
├── Overloaded                  try again later; ``retry_after_s`` says when
├── NotReady                    still starting; ``retry_after_s`` says when to ask again
├── ConfigurationError          the operator must change a setting
│   └── StoreLocked             another process has the embedded store open
└── DependencyError             a service we call has failed
    ├── DependencyTimeout
    └── DependencyRejected      it answered, and said no

The API layer turns a class into a status code (``backend.api.errors``);
nothing in this package knows about HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class RagError(Exception):
    """Base of all errors that may be shown to a caller.

    ``code`` is part of the public API: clients branch on it, so it never changes.
    ``str(error)`` is for a person and holds no secrets or stack traces.
    """

    code: ClassVar[str] = "internal"

    @property
    def details(self) -> dict[str, object]:
        """What a program may need to act on the error."""
        return {}


class InvalidRequest(RagError):
    code = "invalid_request"


class ContextOverflow(InvalidRequest):
    code = "context_overflow"

    def __init__(self, *, needed_tokens: int, window_tokens: int) -> None:
        super().__init__(
            f"The prompt needs {needed_tokens} tokens, "
            f"but the context window holds {window_tokens}."
        )
        self.needed_tokens = needed_tokens
        self.window_tokens = window_tokens

    @property
    def details(self) -> dict[str, object]:
        return {"needed_tokens": self.needed_tokens, "window_tokens": self.window_tokens}


class UnsupportedDocument(InvalidRequest):
    code = "unsupported_document"


class UnreadableDocument(InvalidRequest):
    """The file is of a kind we read, but this one cannot be read.

    ``reason`` is one of: empty, encrypted, corrupt, no_text, unsafe, timeout.
    """

    code = "unreadable_document"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def details(self) -> dict[str, object]:
        return {"reason": self.reason}


class TooLarge(InvalidRequest):
    """``setting`` names the environment variable that holds the limit."""

    code = "too_large"

    def __init__(self, message: str, *, setting: str, limit: int) -> None:
        super().__init__(message)
        self.setting = setting
        self.limit = limit

    @property
    def details(self) -> dict[str, object]:
        return {"setting": self.setting, "limit": self.limit}


class Unauthorized(RagError):
    code = "unauthorized"


class NotFound(RagError):
    code = "not_found"


class Conflict(RagError):
    code = "conflict"


class Overloaded(RagError):
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def details(self) -> dict[str, object]:
        return {"retry_after_s": self.retry_after_s}


class NotReady(Overloaded):
    code = "not_ready"


class ConfigurationError(RagError):
    code = "configuration"


class StoreLocked(ConfigurationError):
    code = "store_locked"


class DependencyError(RagError):
    """A service we call (``dependency``: "qdrant", "vllm", ...) has failed."""

    code = "dependency_failed"

    def __init__(self, message: str, *, dependency: str) -> None:
        super().__init__(message)
        self.dependency = dependency

    @property
    def details(self) -> dict[str, object]:
        return {"dependency": self.dependency}


class DependencyTimeout(DependencyError):
    code = "dependency_timeout"


class DependencyRejected(DependencyError):
    code = "dependency_rejected"

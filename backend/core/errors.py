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
    ├── DependencyDown          it failed often lately and is not asked for a while
    ├── DependencyRejected      it answered, and said no
    │   └── ModelNotServed      it has other models
    ├── PromptTruncated         it saw fewer tokens than it was sent
    ├── ReasoningSpentAll       every token went into reasoning, none into an answer
    ├── UnusableCompletion      the model's text is empty, nonsense or in another language
    └── SummaryPartFailed       a part of a document could not be summarized

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
    """``status`` is the HTTP status of the refusal, where it was one: from 500 on the server is at
    fault and may be asked again, below it the request is."""

    code = "dependency_rejected"

    def __init__(self, message: str, *, dependency: str, status: int | None = None) -> None:
        super().__init__(message, dependency=dependency)
        self.status = status


class ModelNotServed(DependencyRejected):
    """``served`` are the names the server does have."""

    code = "model_not_served"

    def __init__(
        self, message: str, *, dependency: str, model: str, served: tuple[str, ...]
    ) -> None:
        super().__init__(message, dependency=dependency)
        self.model = model
        self.served = served

    @property
    def details(self) -> dict[str, object]:
        return {**super().details, "model": self.model, "served": list(self.served)}


class DependencyDown(DependencyError):
    code = "dependency_down"

    def __init__(self, message: str, *, dependency: str, retry_after_s: int) -> None:
        super().__init__(message, dependency=dependency)
        self.retry_after_s = retry_after_s

    @property
    def details(self) -> dict[str, object]:
        return {**super().details, "retry_after_s": self.retry_after_s}


class PromptTruncated(DependencyError):
    """``setting`` names what the operator can change."""

    code = "prompt_truncated"

    def __init__(
        self, *, dependency: str, sent_tokens: int, seen_tokens: int, setting: str
    ) -> None:
        super().__init__(
            f"{dependency} saw only {seen_tokens} of the {sent_tokens} tokens of the prompt: it "
            f"cut it without saying so. The answer is not shown. Change {setting}.",
            dependency=dependency,
        )
        self.sent_tokens = sent_tokens
        self.seen_tokens = seen_tokens
        self.setting = setting

    @property
    def details(self) -> dict[str, object]:
        return {
            **super().details,
            "sent_tokens": self.sent_tokens,
            "seen_tokens": self.seen_tokens,
            "setting": self.setting,
        }


class ReasoningSpentAll(DependencyError):
    """``spent_tokens`` is None where the server did not say."""

    code = "reasoning_spent_all"

    def __init__(self, *, dependency: str, spent_tokens: int | None, setting: str) -> None:
        spent = f"all {spent_tokens} tokens" if spent_tokens else "all tokens"
        super().__init__(
            f"{dependency} spent {spent} on reasoning and gave no answer. Raise {setting}, "
            "or set LLM_REASONING=off.",
            dependency=dependency,
        )
        self.spent_tokens = spent_tokens
        self.setting = setting

    @property
    def details(self) -> dict[str, object]:
        return {**super().details, "spent_tokens": self.spent_tokens, "setting": self.setting}


class UnusableCompletion(DependencyError):
    """``reason`` is one of: empty, language, nonsense, format, cut."""

    code = "unusable_completion"

    def __init__(self, message: str, *, dependency: str, reason: str) -> None:
        super().__init__(message, dependency=dependency)
        self.reason = reason

    @property
    def details(self) -> dict[str, object]:
        return {**super().details, "reason": self.reason}


class SummaryPartFailed(DependencyError):
    """``part`` counts from 1; ``cause`` is the error that its last try ended with."""

    code = "summary_part_failed"

    def __init__(self, message: str, *, dependency: str, part: int, parts: int, cause: str) -> None:
        super().__init__(message, dependency=dependency)
        self.part = part
        self.parts = parts
        self.cause = cause

    @property
    def details(self) -> dict[str, object]:
        return {
            **super().details,
            "part": self.part,
            "parts": self.parts,
            "cause": self.cause,
        }

"""What the engine needs from its neighbours: is a text of the model usable, and what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.core.language import AnswerLanguage
from backend.core.summaries import Structure
from backend.core.summary_prompts import Excerpt
from backend.core.types import FinishReason, Message


class CheckCompletion(Protocol):
    def __call__(
        self, text: str, *, of: str, language: AnswerLanguage, finish_reason: FinishReason
    ) -> None:
        """CPU work; called in a thread.

        Raises:
            UnusableCompletion: ``text`` is no summary of ``of``.
        """
        ...


class FindUnsupported(Protocol):
    def __call__(self, summary_text: str, document_text: str, /) -> tuple[str, ...]:
        """Figures, dates and names of the summary that the document does not have. CPU work;
        called in a thread."""
        ...


@dataclass(frozen=True, slots=True)
class Judges:
    """Who looks at what the model has written."""

    check: CheckCompletion
    unsupported: FindUnsupported


class Structuring(Protocol):
    """Asks for decisions, tasks and questions as JSON. ``version`` changes with its texts."""

    @property
    def version(self) -> str: ...

    @property
    def schema(self) -> str: ...

    def messages(
        self, excerpt: Excerpt, language: AnswerLanguage, focus: str, *, again: bool
    ) -> list[Message]:
        """``again``: a first answer could not be used."""
        ...

    def parse(self, text: str) -> Structure:
        """
        Raises:
            UnusableCompletion: it is not what the schema says.
        """
        ...

    def merge(self, structures: Sequence[Structure]) -> Structure:
        """In the order of the document."""
        ...

    def check(self, structure: Structure, document_text: str) -> tuple[Structure, tuple[str, ...]]:
        """Without what the document does not have, and what that was. CPU work."""
        ...

"""The OpenAI chat protocol as vLLM and llama.cpp speak it, and how an answer is put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

from pydantic import BaseModel

from backend.adapters.generators._refusals import ErrorBody
from backend.adapters.generators._thinking import Piece, ThinkSplitter
from backend.core.errors import DependencyError, ReasoningSpentAll
from backend.core.types import (
    Completion,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
)


class Delta(BaseModel):
    """A piece of the message. Reasoning has two names: vLLM's newer and its older one."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Choice(BaseModel):
    delta: Delta = Delta()
    finish_reason: str | None = None


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int = 0


class ChatEvent(ErrorBody):
    """One event of a streamed answer."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None


@dataclass(slots=True)
class Answer:
    """An answer in the making, its reasoning apart from its text."""

    server: str
    splitter: ThinkSplitter = field(default_factory=ThinkSplitter)
    finish_reason: str | None = None
    usage: Usage | None = None
    done: bool = False  # the server has nothing more to send
    begun: bool = False  # the first token has come, whatever it was
    _separated: bool = False  # the server tells reasoning from text itself
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)

    def add(self, event: ChatEvent) -> list[TextDelta | ReasoningDelta]:
        """Take in what has arrived; return what is new."""
        self.usage = event.usage or self.usage
        pieces: list[Piece] = []
        for choice in event.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            pieces = self._pieces(choice.delta)
            self.begun |= bool(choice.delta.content or self._separated or self.finish_reason)
        return self._kept(pieces)

    def rest(self) -> list[TextDelta | ReasoningDelta]:
        """What was held back until the end was seen."""
        return self._kept(self.splitter.finish())

    def completion(self) -> Completion:
        """The finished answer.

        Raises:
            ReasoningSpentAll: the tokens ended before there was any text.
            DependencyError: it has no end, no text although it reasoned, or no usage.
        """
        if self.finish_reason is None:
            raise self._error("ended its answer early.")
        if self.finish_reason not in get_args(FinishReason):
            raise self._error(f"gave up on the answer: {self.finish_reason[:40]}.")
        reason: FinishReason = "length" if self.finish_reason == "length" else "stop"
        if not self._text and reason == "length":
            spent = self.usage.completion_tokens if self.usage else None
            raise ReasoningSpentAll(
                dependency=self.server, spent_tokens=spent, setting="LLM_MAX_TOKENS"
            )
        if not self._text and self._reasoning:
            raise self._error("reasoned and then gave no answer.")
        if self.usage is None:
            raise self._error("did not report how many tokens the answer took.")
        usage = TokenUsage(self.usage.prompt_tokens, self.usage.completion_tokens)
        return Completion("".join(self._text), reason, usage, "".join(self._reasoning))

    def _pieces(self, delta: Delta) -> list[Piece]:
        content = delta.content or ""
        pieces: list[Piece] = []
        if thought := delta.reasoning or delta.reasoning_content:
            self._separated = True
            pieces += [*self.splitter.finish(), ("reasoning", thought)]
        if not self._separated:
            return self.splitter.feed(content)
        # A tag is text now, and the blank lines between reasoning and text are neither.
        text = content if self._text else content.lstrip()
        return [*pieces, ("text", text)]

    def _kept(self, pieces: Iterable[Piece]) -> list[TextDelta | ReasoningDelta]:
        events: list[TextDelta | ReasoningDelta] = []
        for kind, piece in pieces:
            if not piece:
                continue
            (self._text if kind == "text" else self._reasoning).append(piece)
            events.append(TextDelta(piece) if kind == "text" else ReasoningDelta(piece))
        return events

    def _error(self, what: str) -> DependencyError:
        return DependencyError(f"{self.server} {what}", dependency=self.server)

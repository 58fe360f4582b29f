"""The OpenAI chat protocol as vLLM and llama.cpp speak it, and how an answer is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from pydantic import BaseModel

from backend.adapters.generators._refusals import ErrorBody
from backend.core.errors import DependencyError
from backend.core.types import Completion, FinishReason, TokenUsage


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
    """An answer in the making. Reasoning is noticed, never kept."""

    server: str
    parts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    reasoned: bool = False
    done: bool = False  # the server has nothing more to send

    @property
    def begun(self) -> bool:
        """The first token has come, whatever it was."""
        return bool(self.parts) or self.reasoned or self.finish_reason is not None

    def add(self, event: ChatEvent) -> str:
        """Take in what has arrived; return the text that is new."""
        self.usage = event.usage or self.usage
        new = ""
        for choice in event.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            new = choice.delta.content or ""
            self.reasoned |= bool(choice.delta.reasoning or choice.delta.reasoning_content)
        if new:
            self.parts.append(new)
        return new

    def completion(self) -> Completion:
        """The finished answer.

        Raises:
            DependencyError: it has no end, no text where tokens were spent, or no usage.
        """
        if self.finish_reason is None:
            raise self._error("ended its answer early.")
        if self.finish_reason not in get_args(FinishReason):
            raise self._error(f"gave up on the answer: {self.finish_reason[:40]}.")
        reason: FinishReason = "length" if self.finish_reason == "length" else "stop"
        if not self.parts and (self.reasoned or reason == "length"):
            raise self._error(self._nothing_said(reason))
        if self.usage is None:
            raise self._error("did not report how many tokens the answer took.")
        usage = TokenUsage(self.usage.prompt_tokens, self.usage.completion_tokens)
        return Completion("".join(self.parts), reason, usage)

    def _nothing_said(self, reason: FinishReason) -> str:
        if reason == "stop":
            return "reasoned and then gave no answer."
        spent = f"all {self.usage.completion_tokens} tokens" if self.usage else "all tokens"
        return f"spent {spent} on reasoning and gave no answer. Raise LLM_MAX_TOKENS."

    def _error(self, what: str) -> DependencyError:
        return DependencyError(f"{self.server} {what}", dependency=self.server)

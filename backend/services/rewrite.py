"""The last question of a conversation, rewritten so that it can be searched for by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

from backend.core.errors import ReasoningSpentAll
from backend.core.language import AnswerLanguage, question_language
from backend.core.ports import Generator, TokenCounter
from backend.core.prompt_texts import fill, require, sections
from backend.core.prompts import Prompt, neutralise_tags
from backend.core.types import Message, Sampling

MOST_TURNS = 6  # messages; what was said before them rarely matters to a question
MOST_QUESTION_TOKENS = 256
_MOST_HISTORY_TOKENS = 2048
_SPEAKERS = {
    "ru": {"user": "Пользователь", "assistant": "Ответ"},
    "en": {"user": "User", "assistant": "Answer"},
}
# What models put around the one question they are asked for.
_LABEL = re.compile(r"^(?:[^\n?]{0,80}(?:question|вопрос)[^\n?]{0,60}:\s*|[-*]\s+)", re.IGNORECASE)


class Slots(Protocol):
    """Admission to the chat model; ``services.gate`` has the real one."""

    def slot(self, priority: Literal["interactive"], /) -> AbstractAsyncContextManager[object]:
        """
        Raises:
            Overloaded: the queue is full.
        """
        ...


@dataclass(frozen=True, slots=True)
class RewritePrompts:
    ru: Prompt
    en: Prompt

    @classmethod
    def from_texts(cls, *, ru: str, en: str) -> RewritePrompts:
        """Raises:
        ConfigurationError: a text lacks its divider or a placeholder.
        """
        return cls(_prompt(ru, "ru"), _prompt(en, "en"))


@dataclass(frozen=True, slots=True)
class Standalone:
    question: str
    warnings: tuple[str, ...] = ()


class Rewriter:
    """Asks the chat model. Whatever goes wrong with the wording leaves the question as it was
    asked, and says so; a server that fails is an error."""

    def __init__(
        self,
        generator: Generator,
        counter: TokenCounter,
        prompts: RewritePrompts,
        *,
        safety_margin: int,
        slots: Slots | None = None,
    ) -> None:
        self._generator = generator
        self._counter = counter
        self._prompts = prompts
        self._safety_margin = safety_margin
        self._slots = slots

    async def standalone(self, question: str, history: Sequence[Message]) -> Standalone:
        """``history``: the turns before the question, oldest first.

        Raises:
            Overloaded: the queue for the model is full.
            DependencyError: the chat model failed.
        """
        messages = await self._fitted(question, history)
        if messages is None:
            return Standalone(question, ("The conversation does not fit: it was left aside.",))
        sampling = Sampling(MOST_QUESTION_TOKENS, temperature=0.0, reasoning="off")
        slot = self._slots.slot("interactive") if self._slots else nullcontext()
        try:
            async with slot:
                completion = await self._generator.complete(messages, sampling)
        except ReasoningSpentAll as error:
            return Standalone(question, (f"The question was taken as it stands: {error}",))
        rewritten = _only_question(completion.text)
        if not rewritten or completion.finish_reason == "length":
            return Standalone(
                question, ("The model did not rewrite the question: it was taken as it stands.",)
            )
        return Standalone(rewritten)

    async def _fitted(self, question: str, history: Sequence[Message]) -> list[Message] | None:
        """The prompt with the most of the last turns that fit, whole; None: not even one does."""
        served = await self._generator.served()
        room = served.context_window - self._safety_margin - MOST_QUESTION_TOKENS
        limit = min(room, _MOST_HISTORY_TOKENS)
        for turns in range(min(len(history), MOST_TURNS), 0, -1):
            messages = self._messages(question, history[-turns:])
            if (await self._counter.count_messages(messages)).tokens <= limit:
                return messages
        return None

    def _messages(self, question: str, history: Sequence[Message]) -> list[Message]:
        language = question_language(question)
        prompt = self._prompts.ru if language == "ru" else self._prompts.en
        names = _SPEAKERS[language]
        said = [f"{names[turn.role]}: {neutralise_tags(turn.content.strip())}" for turn in history]
        values = {"history": "\n".join(said), "question": neutralise_tags(question.strip())}
        return [Message("system", prompt.system), Message("user", fill(prompt.user, values))]


def _only_question(text: str) -> str:
    """The first line that says something, without what models like to put around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and _LABEL.sub("", lines[0] + " ") == "":
        lines = lines[1:]
    if not lines:
        return ""
    bare = _LABEL.sub("", lines[0]).strip()
    return bare.strip("\"'«»“”*_` ") if bare else ""


def _prompt(text: str, language: AnswerLanguage) -> Prompt:
    name = f"rewrite.{language}"
    system, user = sections(text, name, 2)
    require(user, ("history", "question"), name)
    return Prompt(system=system, user=user)

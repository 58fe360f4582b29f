"""The prompts of one run: texts of the document, what is asked of them, how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from backend.core.language import AnswerLanguage
from backend.core.sentences import Span
from backend.core.summary_prompts import Excerpt, PromptKind, SummaryPrompts, Wish
from backend.core.types import Message
from backend.services.summarize.document import Document
from backend.services.summarize.ports import Structuring
from backend.services.summarize.room import Room, Sizes, answer_for, words_in

# About as long, in tokens, as the longest label of a prompt.
_LONG_HEADING = "Общие положения и порядок взаимодействия участников проекта, раздел 12 из 14 " * 2
_MANY_WORDS = 1000
_MOST_PER_WORD = 6.0


@dataclass(frozen=True, slots=True)
class Prompting:
    """``structuring`` is None where no structure was asked for."""

    document: Document
    prompts: SummaryPrompts
    language: AnswerLanguage
    focus: str
    structuring: Structuring | None

    def summary(
        self, kind: PromptKind, excerpts: Sequence[Excerpt], words: int, *, again: bool = False
    ) -> list[Message]:
        wish = Wish(self.language, words, self.focus, again)
        return self.prompts.messages(kind, excerpts, wish)

    def structure(self, span: Span, *, again: bool = False) -> list[Message]:
        if self.structuring is None:
            raise RuntimeError("no structure was asked for")
        excerpt = self.document.excerpt(span)
        return self.structuring.messages(excerpt, self.language, self.focus, again=again)

    def per_word(self, tokens: int) -> float | None:
        """Tokens per word as the document shows it, if it is in the language of the summary."""
        if self.document.language != self.language:
            return None
        return min(_MOST_PER_WORD, max(1.0, tokens / max(1, self.document.words)))

    def words(
        self, answer: int, tokens_per_word: float | None = None, *, of_part: bool = False
    ) -> int:
        return words_in(answer, self.language, tokens_per_word, of_part=of_part)

    # --- for counting ------------------------------------------------------------------------

    def empty_prompts(self) -> Iterator[list[Message]]:
        """A part, the same again, a merge of one text and of two, and a part's structure."""
        empty = Excerpt("", self.document.name, "100–100 %", (_LONG_HEADING,))
        yield self.summary("part", [empty], _MANY_WORDS)
        yield self.summary("part", [empty], _MANY_WORDS, again=True)
        unnamed = replace(empty, name="")
        yield self.summary("merge", [unnamed], _MANY_WORDS)
        yield self.summary("merge", [unnamed, unnamed], _MANY_WORDS)
        if self.structuring is not None:
            yield self.structuring.messages(empty, self.language, self.focus, again=True)

    def whole(self, span: Span, room: Room) -> Iterator[list[Message]]:
        yield self.summary("whole", [self.document.excerpt(span)], self.words(room.final))
        if self.structuring is not None:
            yield self.structure(span)

    def part(
        self, span: Span, tokens: float, sizes: Sizes, *, again: bool = False
    ) -> list[Message]:
        """``tokens``: how long the part is."""
        answer = answer_for(tokens, sizes.shares)
        words = self.words(answer, sizes.per_word, of_part=True)
        return self.summary("part", [self.document.excerpt(span)], words, again=again)

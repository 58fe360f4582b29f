"""Messages for the chat model.

A prompt text is the system message, a line ``---``, and the user message; the placeholders
are ``{sources}``, ``{question}``, in a compressing one ``{words}`` and, where wanted,
``{no_answer}``. The shipped texts ask for one word instead of that sentence: offered a whole
sentence, small models take it far too often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.core.errors import ConfigurationError
from backend.core.language import AnswerLanguage
from backend.core.no_answer import no_answer
from backend.core.prompt_texts import fill, require, sections
from backend.core.types import Message, StoredChunk

_ANSWERING = frozenset({"sources", "question"})
_COMPRESSING = frozenset({"sources", "question", "words"})

# What a source could use to pose as another source, as a citation or as a turn of the chat:
# tags and control tokens (<source>, </source>, <|im_end|>, <start_of_turn>), [INST], [3].
_TAG = re.compile(r"<(?=[/|!?]?[A-Za-z_|])")
_CONTROL_WORD = re.compile(r"\[(/?\s*(?:INST|SYS|SYSTEM|USER|ASSISTANT))\]", re.IGNORECASE)
_MARKER = re.compile(r"[\[【［]([^\[\]【】［］\n]{0,12}?\d[\d\s,;–—-]*)[\]】］]")
_NOT_PRINTED = re.compile(
    r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt text, split; ``user`` still has its placeholders."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The answering prompt in each language, and the one that compresses what was retrieved."""

    answer_ru: Prompt
    answer_en: Prompt
    compress_ru: Prompt | None = None
    compress_en: Prompt | None = None

    @classmethod
    def from_texts(
        cls, *, answer_ru: str, answer_en: str, compress_ru: str = "", compress_en: str = ""
    ) -> PromptSet:
        """Raises:
        ConfigurationError: a text lacks its divider or a placeholder.
        """
        return cls(
            _prompt(answer_ru, "answer.ru", _ANSWERING),
            _prompt(answer_en, "answer.en", _ANSWERING),
            _prompt(compress_ru, "compress.ru", _COMPRESSING) if compress_ru else None,
            _prompt(compress_en, "compress.en", _COMPRESSING) if compress_en else None,
        )

    def answer(self, language: AnswerLanguage) -> Prompt:
        return self.answer_ru if language == "ru" else self.answer_en

    def compress(self, language: AnswerLanguage) -> Prompt:
        """
        Raises:
            ConfigurationError: there is none.
        """
        prompt = self.compress_ru if language == "ru" else self.compress_en
        if prompt is None:
            raise ConfigurationError(f"There is no {language} compress prompt.")
        return prompt


@dataclass(frozen=True, slots=True)
class NumberedSource:
    """``text`` stands in the prompt as source ``[number]``: what ``stored`` says, or what was
    made of it. ``bare``: without the name of the document, its page and heading."""

    number: int
    stored: StoredChunk
    text: str
    bare: bool = False


def numbered_sources(chunks: Sequence[StoredChunk]) -> list[NumberedSource]:
    """The chunk at position ``i`` is source ``[i + 1]``."""
    return [NumberedSource(n, stored, stored.chunk.text) for n, stored in enumerate(chunks, 1)]


def build_answer_messages(
    question: str, chunks: Sequence[StoredChunk], prompts: PromptSet, language: AnswerLanguage
) -> list[Message]:
    """The prompt; the chunk at position ``i`` is source ``[i + 1]``."""
    return build_messages(prompts.answer(language), question, numbered_sources(chunks))


def build_messages(
    prompt: Prompt, question: str, sources: Sequence[NumberedSource], *, words: int = 0
) -> list[Message]:
    """``words`` is how long a text a compressing prompt asks for."""
    shown = "\n\n".join(_source(source) for source in sources)
    values = {
        "sources": shown,
        "question": neutralise_tags(question.strip()),
        "words": str(words),
    }
    return [Message("system", prompt.system), Message("user", fill(prompt.user, values))]


def neutralise(text: str) -> str:
    """``text`` without anything that could close its source, open another or pose as ``[n]``."""
    plain = _CONTROL_WORD.sub(r"(\1)", neutralise_tags(text))
    return _MARKER.sub(r"(\1)", plain)


def neutralise_tags(text: str) -> str:
    return _TAG.sub("‹", _NOT_PRINTED.sub("", text))


def _source(source: NumberedSource) -> str:
    attributes = [f"[{source.number}]", *([] if source.bare else _described(source.stored))]
    return f"<source {' '.join(attributes)}>\n{neutralise(source.text)}\n</source>"


def _described(stored: StoredChunk) -> Iterator[str]:
    yield f'name="{_attribute(stored.source)}"'
    if stored.chunk.page is not None:
        yield f'page="{stored.chunk.page}"'
    if stored.chunk.heading_path:
        yield f'heading="{_attribute(" > ".join(stored.chunk.heading_path))}"'


def _attribute(text: str) -> str:
    """Document names and headings are the document's words too: one line, no quotes, no tags."""
    return neutralise(" ".join(text.split())).replace('"', "'").replace("<", "‹").replace(">", "›")


def _prompt(text: str, name: str, needed: frozenset[str]) -> Prompt:
    """``name`` ends with the language."""
    system, user = sections(text, name, 2)
    require(user, needed, name)
    values = {"no_answer": no_answer("ru" if name.endswith("ru") else "en")}
    return Prompt(system=fill(system, values), user=fill(user, values))

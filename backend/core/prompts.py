"""Messages for the chat model.

A prompt text is the system message, a line ``---``, and the user message; the placeholders
are ``{sources}``, ``{question}`` and, where wanted, ``{no_answer}``. The shipped texts ask for one
word instead of that sentence: offered a whole sentence, small models take it far too often.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.errors import ConfigurationError
from backend.core.language import AnswerLanguage
from backend.core.no_answer import no_answer
from backend.core.types import Message, StoredChunk

_PLACEHOLDER = re.compile(r"\{(no_answer|sources|question)\}")
_DIVIDER = re.compile(r"^---[ \t]*$", re.MULTILINE)

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
    """The answering prompt in each language."""

    answer_ru: Prompt
    answer_en: Prompt

    @classmethod
    def from_texts(cls, *, answer_ru: str, answer_en: str) -> PromptSet:
        """Raises:
        ConfigurationError: a text lacks its divider or a placeholder.
        """
        return cls(_prompt(answer_ru, "ru"), _prompt(answer_en, "en"))

    def answer(self, language: AnswerLanguage) -> Prompt:
        return self.answer_ru if language == "ru" else self.answer_en


def build_answer_messages(
    question: str, chunks: Sequence[StoredChunk], prompts: PromptSet, language: AnswerLanguage
) -> list[Message]:
    """The prompt; the chunk at position ``i`` is source ``[i + 1]``."""
    prompt = prompts.answer(language)
    sources = "\n\n".join(_source(n, stored) for n, stored in enumerate(chunks, start=1))
    values = {"sources": sources, "question": neutralise_tags(question.strip())}
    # One pass over the template, so that a placeholder inside a document stays text.
    user = _PLACEHOLDER.sub(lambda match: values[match[1]], prompt.user)
    return [Message("system", prompt.system), Message("user", user)]


def neutralise(text: str) -> str:
    """``text`` without anything that could close its source, open another or pose as ``[n]``."""
    plain = _CONTROL_WORD.sub(r"(\1)", neutralise_tags(text))
    return _MARKER.sub(r"(\1)", plain)


def neutralise_tags(text: str) -> str:
    return _TAG.sub("‹", _NOT_PRINTED.sub("", text))


def _source(number: int, stored: StoredChunk) -> str:
    attributes = [f"[{number}]", f'name="{_attribute(stored.source)}"']
    if stored.chunk.page is not None:
        attributes.append(f'page="{stored.chunk.page}"')
    if stored.chunk.heading_path:
        attributes.append(f'heading="{_attribute(" > ".join(stored.chunk.heading_path))}"')
    return f"<source {' '.join(attributes)}>\n{neutralise(stored.chunk.text)}\n</source>"


def _attribute(text: str) -> str:
    """Document names and headings are the document's words too: one line, no quotes, no tags."""
    return neutralise(" ".join(text.split())).replace('"', "'").replace("<", "‹").replace(">", "›")


def _prompt(text: str, language: AnswerLanguage) -> Prompt:
    parts = _DIVIDER.split(text, maxsplit=1)
    if len(parts) != 2:
        raise ConfigurationError(f"The {language} answer prompt has no line with only '---'.")
    found = set(_PLACEHOLDER.findall(parts[1]))
    missing = sorted({"sources", "question"} - found)
    if missing:
        names = ", ".join(f"{{{name}}}" for name in missing)
        raise ConfigurationError(f"The {language} answer prompt lacks {names}.")
    sentence = no_answer(language)
    system, user = (part.strip().replace("{no_answer}", sentence) for part in parts)
    return Prompt(system=system, user=user)

"""Messages that ask a chat model for a summary.

A prompt text has four sections, divided by lines ``---``: the system message, the user message
with the placeholders ``{text}``, ``{words}`` and ``{focus}``, and ``{sentences}`` ("3–4") where it
likes, what is added after a first answer that could not be used, and what stands for ``{focus}``
when there is one. There is no example on purpose: small models take its facts for the document's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from backend.core.errors import ConfigurationError
from backend.core.language import AnswerLanguage
from backend.core.prompt_texts import fill, require, sections, version_of
from backend.core.prompts import neutralise_tags
from backend.core.types import Message

PromptKind = Literal["whole", "part", "merge"]

KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
LANGUAGES: tuple[AnswerLanguage, ...] = get_args(AnswerLanguage)

_TAGS: dict[PromptKind, str] = {"whole": "document", "part": "document", "merge": "summary"}
_LONGEST_LABEL = 100  # characters of a name or a heading: they only say where the text is from
_WORDS_PER_SENTENCE = 18


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text and where it is from: document, place in it ("10–20 %"), headings above it. What is
    empty is not mentioned."""

    text: str
    name: str
    place: str = ""
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """``words`` is what is asked for, not a bound; ``again`` after an answer of no use."""

    language: AnswerLanguage
    words: int
    focus: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class FollowUpPrompt:
    """``again`` is added after an answer of no use; ``focus`` stands for ``{focus}`` of ``user``
    when there is one."""

    system: str
    user: str
    again: str
    focus: str


class SummaryPrompts:
    """``version`` changes with every character of the texts, which are ``instructions``."""

    def __init__(self, texts: Mapping[tuple[PromptKind, AnswerLanguage], str]) -> None:
        """Raises:
        ConfigurationError: a text is missing, or lacks a section or a placeholder.
        """
        names = [(kind, language) for kind in KINDS for language in LANGUAGES]
        missing = [".".join(name) for name in names if name not in texts]
        if missing:
            raise ConfigurationError(f"Summary prompts are missing: {', '.join(missing)}.")
        self._templates = {
            (kind, language): follow_up_prompt(
                text, f"summary_{kind}.{language}", ("text", "words", "focus")
            )
            for (kind, language), text in texts.items()
        }
        self.instructions = "\n".join(texts[name] for name in names)
        self.version = version_of(texts[name] for name in names)

    def messages(self, kind: PromptKind, excerpts: Sequence[Excerpt], wish: Wish) -> list[Message]:
        template = self._templates[kind, wish.language]
        focus = neutralise_tags(" ".join(wish.focus.split()))
        values = {
            "text": "\n\n".join(_block(_TAGS[kind], excerpt) for excerpt in excerpts),
            "words": str(wish.words),
            "sentences": _sentences(wish.words),
            "focus": " " + fill(template.focus, {"focus": focus}) if focus else "",
        }
        user = fill(template.user, values)
        if wish.again:
            user += "\n\n" + fill(template.again, values)
        return [Message("system", template.system), Message("user", user)]


def _sentences(words: int) -> str:
    most = max(2, round(words / _WORDS_PER_SENTENCE))
    return f"{most - 1}–{most}"


def _block(tag: str, excerpt: Excerpt) -> str:
    attributes = [f'name="{_label(excerpt.name)}"'] if excerpt.name else []
    if excerpt.place:
        attributes.append(f'place="{excerpt.place}"')
    if excerpt.heading_path:
        attributes.append(f'heading="{_label(" > ".join(excerpt.heading_path))}"')
    return f"<{' '.join([tag, *attributes])}>\n{neutralise_tags(excerpt.text)}\n</{tag}>"


def _label(text: str) -> str:
    """Names and headings are the document's words too: one line, no quotes, no tags."""
    line = neutralise_tags(" ".join(text.split()))
    line = line.replace('"', "'").replace("<", "‹").replace(">", "›")
    return line if len(line) <= _LONGEST_LABEL else "…" + line[1 - _LONGEST_LABEL :]


def follow_up_prompt(text: str, name: str, placeholders: Iterable[str]) -> FollowUpPrompt:
    """
    Raises:
        ConfigurationError: it lacks a section or a placeholder.
    """
    prompt = FollowUpPrompt(*sections(text, name, 4))
    require(prompt.user, placeholders, name)
    require(prompt.focus, ("focus",), f"{name}, last section,")
    return prompt

"""Asking a model for the decisions, tasks and questions of a thread, as JSON."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.core.errors import ConfigurationError
from backend.core.features import Terms
from backend.core.language import AnswerLanguage
from backend.core.prompts import neutralise_tags
from backend.core.structure_json import parse_structure, structure_schema
from backend.core.structures import check_structure, merge_structures
from backend.core.summaries import Structure
from backend.core.summary_prompts import LANGUAGES, Excerpt
from backend.core.summary_source import SourceText
from backend.core.types import Message

_DIVIDER = re.compile(r"^---[ \t]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{(source|text|focus)\}")
_SECTIONS = 4
_VERSION_DIGITS = 16
_LABEL_CHARS = 160


@dataclass(frozen=True, slots=True)
class _Template:
    system: str
    user: str
    again: str
    focus: str


class ThreadStructuring:
    """A prompt text has four sections, divided by lines ``---``: the system message, the user
    message with ``{source}``, ``{text}`` and ``{focus}``, what is added after an answer of no use,
    and what stands for ``{focus}`` when there is one. ``version`` changes with every character.
    """

    def __init__(
        self, texts: Mapping[AnswerLanguage, str], terms: Terms, *, dependency: str
    ) -> None:
        """
        Raises:
            ConfigurationError: a text is missing, or lacks a section or a placeholder.
        """
        self._templates = {language: _template(texts, language) for language in LANGUAGES}
        self._terms = terms
        self._dependency = dependency
        self._schema = structure_schema("en")
        said = "\x1f".join([*(texts[language] for language in LANGUAGES), self._schema])
        self._version = hashlib.sha256(said.encode()).hexdigest()[:_VERSION_DIGITS]

    @property
    def version(self) -> str:
        return self._version

    @property
    def schema(self) -> str:
        """The servers use its form, not its descriptions: one will do for both languages."""
        return self._schema

    def messages(
        self, excerpt: Excerpt, language: AnswerLanguage, focus: str, *, again: bool
    ) -> list[Message]:
        """Headers of mails and authors of chat lines stay as they are: they say who and when."""
        template = self._templates[language]
        wish = neutralise_tags(" ".join(focus.split()))
        values = {
            "source": _label(excerpt),
            "text": neutralise_tags(excerpt.text),
            "focus": _filled(template.focus, {"focus": wish}) if wish else "",
        }
        user = _filled(template.user, values)
        if again:
            user += "\n\n" + template.again
        return [Message("system", template.system), Message("user", user.strip())]

    def parse(self, text: str) -> Structure:
        """
        Raises:
            UnusableCompletion: it is not what the schema says.
        """
        return parse_structure(text, dependency=self._dependency)

    def merge(self, structures: Sequence[Structure]) -> Structure:
        """In the order of the document."""
        return merge_structures(structures)

    def check(self, structure: Structure, document_text: str) -> tuple[Structure, tuple[str, ...]]:
        """Without what the document does not have, and what that was. CPU work: in a thread."""
        return check_structure(structure, SourceText(document_text, self._terms))


def _template(texts: Mapping[AnswerLanguage, str], language: AnswerLanguage) -> _Template:
    if language not in texts:
        raise ConfigurationError(f"The prompt summary_structured.{language} is missing.")
    sections = [section.strip() for section in _DIVIDER.split(texts[language])]
    if len(sections) != _SECTIONS:
        raise ConfigurationError(
            f"The prompt summary_structured.{language} has {len(sections)} sections, not "
            f"{_SECTIONS} divided by '---'."
        )
    template = _Template(*sections)
    missing = sorted({"source", "text", "focus"} - set(_PLACEHOLDER.findall(template.user)))
    if "focus" not in _PLACEHOLDER.findall(template.focus):
        missing.append("focus in the last section")
    if missing:
        raise ConfigurationError(
            f"The prompt summary_structured.{language} lacks {', '.join(missing)}."
        )
    return template


def _filled(text: str, values: Mapping[str, str]) -> str:
    # One pass, so that a placeholder inside a document stays text.
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], ""), text)


def _label(excerpt: Excerpt) -> str:
    """Names are the document's words too: one line, no quotes, no tags."""
    said = ", ".join(part for part in (excerpt.name, excerpt.place) if part)
    line = neutralise_tags(" ".join(said.split()))
    line = line.replace('"', "'").replace("«", "'").replace("»", "'")
    return line if len(line) <= _LABEL_CHARS else "…" + line[1 - _LABEL_CHARS :]

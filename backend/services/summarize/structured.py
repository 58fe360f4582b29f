"""Asking a model for the decisions, tasks and questions of a thread, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.core.errors import ConfigurationError
from backend.core.features import Terms
from backend.core.language import AnswerLanguage
from backend.core.prompt_texts import fill, version_of
from backend.core.prompts import neutralise_tags
from backend.core.structure_json import parse_structure, structure_schema
from backend.core.structures import check_structure, merge_structures
from backend.core.summaries import Structure
from backend.core.summary_prompts import LANGUAGES, Excerpt, FollowUpPrompt, follow_up_prompt
from backend.core.summary_source import SourceText
from backend.core.types import Message

_LABEL_CHARS = 160


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
        self._version = version_of([*(texts[language] for language in LANGUAGES), self._schema])

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
            "focus": fill(template.focus, {"focus": wish}) if wish else "",
        }
        user = fill(template.user, values)
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


def _template(texts: Mapping[AnswerLanguage, str], language: AnswerLanguage) -> FollowUpPrompt:
    name = f"summary_structured.{language}"
    if language not in texts:
        raise ConfigurationError(f"The prompt {name} is missing.")
    return follow_up_prompt(texts[language], name, ("source", "text", "focus"))


def _label(excerpt: Excerpt) -> str:
    """Names are the document's words too: one line, no quotes, no tags."""
    said = ", ".join(part for part in (excerpt.name, excerpt.place) if part)
    line = neutralise_tags(" ".join(said.split()))
    line = line.replace('"', "'").replace("«", "'").replace("»", "'")
    return line if len(line) <= _LABEL_CHARS else "…" + line[1 - _LABEL_CHARS :]

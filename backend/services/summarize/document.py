"""The document that is summarized: its text, its structure, where a piece of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.errors import InvalidRequest
from backend.core.language import Language, detect_language
from backend.core.parts import Outline
from backend.core.sentences import Span
from backend.core.summary_prompts import Excerpt
from backend.core.types import StoredChunk
from backend.services.documents import join_chunks


@dataclass(frozen=True, slots=True)
class Document:
    text: str
    name: str
    outline: Outline
    language: Language
    words: int

    @property
    def whole(self) -> Span:
        """Without the blank space around it."""
        lead = len(self.text) - len(self.text.lstrip())
        return lead, len(self.text.rstrip())

    def excerpt(self, span: Span) -> Excerpt:
        start, end = span
        path = self.outline.heading_path(start)
        return Excerpt(self.text[start:end], self.name, self.place(span), path)

    def place(self, span: Span) -> str:
        low, high = (100 * offset / max(1, len(self.text)) for offset in span)
        return f"{low:.0f}–{high:.0f} %"


def open_document(source: str, chunks: Sequence[StoredChunk]) -> Document:
    """CPU work; call it in a thread.

    Raises:
        InvalidRequest: there is no text in it.
    """
    text = join_chunks(list(chunks))
    if not text.strip():
        raise InvalidRequest(f"{source} has no text to summarize.")
    outline = Outline(text, [stored.chunk for stored in chunks])
    return Document(text, source, outline, detect_language(text), len(text.split()))

"""Summaries of pieces of a document, before they are made into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.sentences import Span
from backend.core.summary_prompts import Excerpt
from backend.services.summarize.document import Document


@dataclass(frozen=True, slots=True)
class Partial:
    """``span``: the piece of the document it is the summary of. ``parts``: the numbers, from 0,
    of the first and the last part in it."""

    text: str
    tokens: int
    span: Span
    parts: tuple[int, int]
    heading_path: tuple[str, ...] = ()

    def excerpt(self, document: Document) -> Excerpt:
        return Excerpt(self.text, "", document.place(self.span), self.heading_path)


def merged(group: Sequence[Partial], text: str, tokens: int) -> Partial:
    first, last = group[0], group[-1]
    path = first.heading_path
    for partial in group[1:]:
        path = _shared(path, partial.heading_path)
    span = (first.span[0], last.span[1])
    return Partial(text, tokens, span, (first.parts[0], last.parts[1]), path)


def _shared(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    length = next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return a[:length]

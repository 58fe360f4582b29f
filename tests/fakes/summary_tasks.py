"""Documents to summarize, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import TypeVar

from backend.core.chunking import chunk_document
from backend.core.language import AnswerLanguage
from backend.core.summaries import FinishedPart, Summary, SummaryEvent, SummaryKey
from backend.core.types import DocType, Heading, ParsedDocument, StoredChunk
from backend.services.summarize.engine import Summarizer
from backend.services.summarize.work import SummaryTask
from tests.fakes.summaries import SummarizingModel, tokens_of

T = TypeVar("T")
SHORT = "The pump was tested and it held. It will be delivered in May."


def chunks_of(text: str, source: str = "report.md") -> list[StoredChunk]:
    """A document whose headings are its lines that begin with #."""
    headings = tuple(
        Heading(len(line[1]), line[2], line.start(), line.end())
        for line in re.finditer(r"^(#{1,6}) (.*)$", text, re.MULTILINE)
    )
    doc = ParsedDocument(text=text, format="md", headings=headings)
    chunks = chunk_document(doc, tokens_of, size=256, overlap=32)
    return [StoredChunk("doc", source, DocType.TECHNICAL, chunk) for chunk in chunks]


def key(
    *,
    max_tokens: int = 256,
    language: AnswerLanguage = "en",
    focus: str = "",
    structured: bool = False,
) -> SummaryKey:
    return SummaryKey(
        "doc", "space", "sha", "summarizing", "v1", language, focus, max_tokens, structured
    )


def task(
    text: str,
    *,
    background: bool = False,
    finished: Sequence[FinishedPart] = (),
    kept: list[FinishedPart] | None = None,
    wanted: SummaryKey | None = None,
) -> SummaryTask:
    async def keep(part: FinishedPart) -> None:
        if kept is not None:
            kept.append(part)

    return SummaryTask(
        wanted or key(), "report.md", chunks_of(text), lambda: background, finished, keep
    )


async def events_of(engine: Summarizer, work: SummaryTask) -> list[SummaryEvent]:
    async with aclosing(engine.run(work)) as events:
        return [event async for event in events]


def marked_document(tokens: int, *, headings: bool = True) -> tuple[str, list[str]]:
    """Text with a mark at the start, the middle and the end of each 1,000 tokens."""
    marks: list[str] = []
    lines: list[str] = []
    for thousand in range(tokens // 1000):
        if headings and thousand % 3 == 0:
            lines.append(f"# Chapter {thousand}")
        for place in "abc":
            marks.append(f"MARK{thousand:04}{place}")
            lines.append(
                f"{marks[-1]} begins it. " + "The pump was tested again, and it held. " * 27
            )
            if place == "b":
                lines.append("")
    return "\n".join(lines), marks


def last(events: list[SummaryEvent]) -> Summary:
    assert isinstance(events[-1], Summary)
    assert sum(isinstance(event, Summary) for event in events) == 1
    return events[-1]


def of_kind(events: list[SummaryEvent], kind: type[T]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def map_prompts(model: SummarizingModel) -> list[str]:
    return [seen.prompt for seen in model.answered if not seen.is_merge and not seen.is_structure]


def marks_in_order(model: SummarizingModel) -> list[str]:
    """As the model saw them, the parts put into the order of the document."""
    found = [re.findall(r"MARK\d+[abc]", prompt) for prompt in map_prompts(model)]
    return [mark for marks in sorted(found, key=lambda marks: marks[:1]) for mark in marks]

"""Summaries on the chat model: engine, service, and the worker for those made beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backend.core.language import AnswerLanguage
from backend.core.ports import DocumentStore, Embedder, SummaryStore, VectorStore
from backend.core.summary_prompts import KINDS, LANGUAGES, SummaryPrompts
from backend.services.summarize.checks import CompletionCheck, UnsupportedFinder, similarity_by
from backend.services.summarize.engine import Summarizer
from backend.services.summarize.ports import Judges
from backend.services.summarize.service import Summaries
from backend.services.summarize.structured import ThreadStructuring
from backend.services.summarize.worker import SummaryWorker
from backend.settings import Settings
from backend.wiring.chat import Chat, Served
from backend.wiring.providers import CONFIG

Terms = Callable[[str], frozenset[int]]


def build_summaries(
    settings: Settings,
    chat: Chat,
    *,
    documents: DocumentStore,
    vectors: VectorStore,
    store: SummaryStore,
    sentences: Embedder,
    terms: Terms,
) -> tuple[Summaries, SummaryWorker | None]:
    """The worker is None where there is no chat model; what is pending waits for one."""
    main = chat.main

    async def usual_tokens() -> int:
        if settings.summary_max_tokens or main is None:
            return settings.summary_max_tokens
        profile = (await main.inspector.report()).profile
        return int(profile.summarization_max_output.value or 0)

    summaries = Summaries(
        documents=documents,
        vectors=vectors,
        store=store,
        engine=_engine(settings, main, sentences, terms) if main else None,
        usual_tokens=usual_tokens,
        why_not=chat.why_not,
    )
    if main is None:
        return summaries, None
    gate = main.gate

    def parallel() -> int:
        return settings.summary_parallel or max(1, gate.capacity // 2)

    return summaries, SummaryWorker(summaries, store, parallel=parallel)


def _engine(settings: Settings, main: Served, sentences: Embedder, terms: Terms) -> Summarizer:
    folder = CONFIG / "prompts"

    def text(kind: str, language: AnswerLanguage) -> str:
        return (folder / f"summary_{kind}.{language}.md").read_text(encoding="utf-8")

    model = main.model
    prompts = SummaryPrompts(
        {(kind, language): text(kind, language) for kind in KINDS for language in LANGUAGES}
    )
    return Summarizer(
        chat=model,
        prompts=prompts,
        judges=Judges(
            CompletionCheck(
                terms,
                dependency=model.provider,
                instructions=prompts.instructions,
                similarity=similarity_by(sentences, asyncio.get_running_loop()),
            ),
            UnsupportedFinder(terms),
        ),
        structuring=ThreadStructuring(
            {language: text("structured", language) for language in LANGUAGES},
            terms,
            dependency=model.provider,
        ),
        parallel=lambda: main.gate.capacity,
        most_text=settings.summary_part_tokens,
    )

"""A question to an answer whose citations were checked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from backend.core.citations import CheckedAnswer
from backend.core.errors import InvalidRequest
from backend.core.language import AnswerLanguage, question_language
from backend.core.no_answer import is_no_answer, no_answer, says_nothing
from backend.core.types import TextDelta
from backend.services.answers import (
    Answer,
    AskEvent,
    AskRequest,
    ContextUse,
    Route,
    SourcesFound,
)
from backend.services.cache import SpaceCache
from backend.services.chat_model import ChatModel
from backend.services.cite import CitationChecker
from backend.services.compress import Compressor
from backend.services.compress_check import StatementChecker
from backend.services.extract import ExtractiveAnswerer
from backend.services.retrieve import Retriever, SearchQuery
from backend.services.route import Library, Router
from backend.services.timing import Timings
from backend.services.write import Draft, ExtractiveWriter, ModelWriter, numbered


class Answerer:
    """``why_extractive`` is told with every answer when there is no chat model. Without a
    ``library`` no document is read whole."""

    def __init__(
        self,
        *,
        retriever: Retriever,
        chat: ChatModel | None,
        extractor: ExtractiveAnswerer,
        checker: CitationChecker,
        cache: SpaceCache[Answer],
        why_extractive: str = "",
        library: Library | None = None,
    ) -> None:
        self._retriever = retriever
        self._checker = checker
        self._cache = cache
        self._why_extractive = why_extractive
        self._has_model = chat is not None
        self._writer: ModelWriter | ExtractiveWriter = ExtractiveWriter(extractor, why_extractive)
        if chat is not None:
            compressor = Compressor(chat, StatementChecker(checker))
            self._writer = ModelWriter(chat, Router(chat, library), compressor)

    async def answer(self, request: AskRequest) -> Answer:
        """The last event of the same stream, so that the two can never disagree."""
        last: AskEvent | None = None
        async with aclosing(self.stream(request)) as events:
            async for event in events:
                last = event
        if not isinstance(last, Answer):
            raise RuntimeError("the stream of an answer ended without one")
        return last

    async def stream(self, request: AskRequest) -> AsyncGenerator[AskEvent, None]:
        """Sources first, then deltas, then exactly one ``Answer``.

        Closing the iterator stops the model.

        Raises:
            InvalidRequest: the mode needs a chat model, and there is none.
            ContextOverflow: the question alone does not fit the window.
            SummaryPartFailed: what was retrieved could not be compressed.
            DependencyError: the model, the embedder or the store failed.
        """
        if request.mode == "summarize" and not self._has_model:
            why = f" {self._why_extractive}" if self._why_extractive else ""
            raise InvalidRequest(f"mode 'summarize' needs a chat model, and there is none.{why}")
        key, found = await self._cache.find(request, request.space_id)
        if found is not None:
            yield SourcesFound(found.sources)
            yield TextDelta(found.answer)
            yield replace(found, cached=True, timings={})
            return
        timings = Timings()
        async with aclosing(self._make(request, timings)) as events:
            async for event in events:
                if not isinstance(event, Answer):
                    yield event
                    continue
                answer = replace(event, timings=timings.report())
                if answer.context.finish_reason != "length":
                    self._cache.keep(key, answer)
                yield answer

    async def _make(self, request: AskRequest, timings: Timings) -> AsyncGenerator[AskEvent, None]:
        query = SearchQuery(request.q, request.space_id, request.top_k, request.doc_types)
        found = await self._retriever.search(query, timings)
        language = question_language(request.q)
        if not found:
            why = f"Nothing in space {request.space_id!r} was found for this question."
            yield SourcesFound(())
            yield _nothing(request, language, why)
            return
        draft: Draft | None = None
        async with aclosing(self._writer.write(request, language, found, timings)) as events:
            async for event in events:
                if isinstance(event, Draft):
                    draft = event
                else:
                    yield event
        if draft is None:
            raise RuntimeError("nothing was written")
        with timings.stage("check_citations"):
            yield await self._checked(request, language, draft)

    async def _checked(self, request: AskRequest, language: AnswerLanguage, draft: Draft) -> Answer:
        text = draft.text.strip()
        answer = Answer(
            answer=text,
            answered=True,
            language=language,
            model=draft.model,
            generation=draft.generation,
            mode=request.mode,
            sources=(),
            citations=(),
            attributed=(),
            uncited=(),
            context=draft.context,
            warnings=draft.warnings,
            reasoning=draft.reasoning,
            route=draft.route,
            summarized=draft.summarized,
        )
        if is_no_answer(text):
            said = no_answer(language) if says_nothing(text) else text
            return replace(answer, answer=said, answered=False)
        chunks = [one.stored for one in draft.used]
        checked = await self._checker.check(text, request.q, chunks)
        answer = replace(
            answer,
            citations=checked.citations,
            attributed=checked.attributed,
            uncited=checked.uncited,
        )
        if not checked.supported and all(c.reason != "misplaced" for c in checked.citations):
            why = "Nothing the model wrote could be found in the sources; see draft and citations."
            return replace(
                answer,
                answer=no_answer(language),
                answered=False,
                draft=text,
                warnings=(*draft.warnings, why),
            )
        return replace(answer, sources=numbered(draft.used, _cited(checked)))


def _cited(checked: CheckedAnswer) -> frozenset[tuple[str, int]]:
    return frozenset(
        (citation.doc_id, citation.chunk_index)
        for citation in (*checked.citations, *checked.attributed)
        if citation.status != "unsupported"
        and citation.doc_id is not None
        and citation.chunk_index is not None
    )


def _nothing(request: AskRequest, language: AnswerLanguage, why: str) -> Answer:
    return Answer(
        answer=no_answer(language),
        answered=False,
        language=language,
        model="",
        generation="none",
        mode=request.mode,
        sources=(),
        citations=(),
        attributed=(),
        uncited=(),
        context=ContextUse(None, 0, 0, 0, (), None),
        warnings=(why,),
        route=Route("none", why, 0),
    )

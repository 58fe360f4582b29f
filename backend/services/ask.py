"""A question to an answer whose citations were checked."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backend.core.citations import CheckedAnswer
from backend.core.errors import ContextOverflow, InvalidRequest
from backend.core.language import AnswerLanguage, question_language
from backend.core.no_answer import (
    is_no_answer,
    is_sentinel,
    may_become_sentinel,
    no_answer,
    says_nothing,
)
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Queued,
    ScoredChunk,
    TextDelta,
)
from backend.services.answers import (
    EXTRACTIVE,
    Answer,
    AskEvent,
    AskRequest,
    ContextUse,
    Generation,
    Source,
    SourcesFound,
)
from backend.services.cache import SpaceCache
from backend.services.chat_model import ChatModel
from backend.services.cite import CitationChecker
from backend.services.extract import ExtractiveAnswerer
from backend.services.prompt_fitting import FittedPrompt
from backend.services.retrieve import Retriever, SearchQuery
from backend.services.timing import Timings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What was written, before it is checked."""

    text: str
    model: str
    generation: Generation
    used: tuple[ScoredChunk, ...]
    context: ContextUse
    warnings: tuple[str, ...] = ()
    reasoning: str | None = None


class Answerer:
    """``why_extractive`` is told with every answer when there is no chat model."""

    def __init__(
        self,
        *,
        retriever: Retriever,
        chat: ChatModel | None,
        extractor: ExtractiveAnswerer,
        checker: CitationChecker,
        cache: SpaceCache[Answer],
        why_extractive: str = "",
    ) -> None:
        self._retriever = retriever
        self._chat = chat
        self._extractor = extractor
        self._checker = checker
        self._cache = cache
        self._why_extractive = why_extractive

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
            InvalidRequest: the mode is not there yet.
            ContextOverflow: the question alone does not fit the window.
            DependencyError: the model, the embedder or the store failed.
        """
        if request.mode != "normal":
            raise InvalidRequest(
                f"mode {request.mode!r} is not available in this version; use 'normal'."
            )
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
            yield _nothing(request, language, (why,))
            return
        draft: _Draft | None = None
        writing = self._generated if self._chat else self._extracted
        async with aclosing(writing(request, language, found, timings)) as events:
            async for event in events:
                if isinstance(event, _Draft):
                    draft = event
                else:
                    yield event
        if draft is None:
            raise RuntimeError("nothing was written")
        with timings.stage("check_citations"):
            yield await self._checked(request, language, draft)

    # --- writing -----------------------------------------------------------------------------

    async def _generated(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        timings: Timings,
    ) -> AsyncGenerator[AskEvent | _Draft, None]:
        chat = self._chat
        if chat is None:
            raise RuntimeError("there is no chat model")
        completion: Completion | None = None
        for fresh in (False, True):
            with timings.stage("fit_prompt"):
                prompt = await chat.fit(request.q, found, language, fresh=fresh)
            yield SourcesFound(_numbered(prompt.used))
            try:
                with timings.stage("generate"):
                    async with aclosing(_without_sentinel(chat.write(prompt))) as events:
                        async for event in events:
                            if isinstance(event, Completion):
                                completion = event
                            elif isinstance(event, TextDelta):
                                timings.mark("first_token")
                                yield event
                            elif isinstance(event, Queued) or request.include_reasoning:
                                yield event
                break
            except ContextOverflow as overflow:
                # The server was replaced by one with a smaller window: fit once more.
                if fresh or "first_token" in timings.stages or not _is_news(overflow, prompt):
                    raise
        if completion is None:
            raise RuntimeError("the generator ended without a completion")
        yield _draft(chat, prompt, completion, request)

    async def _extracted(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        timings: Timings,
    ) -> AsyncGenerator[SourcesFound | TextDelta | _Draft, None]:
        yield SourcesFound(_numbered(found))
        with timings.stage("extract"):
            best = await self._extractor.answer(request.q, [scored.stored for scored in found])
        text = best.text if best else no_answer(language)
        yield TextDelta(text)
        context = ContextUse(None, 0, 0, len(found), (), None)
        warnings = (f"No chat model: these are the best sentences. {self._why_extractive}",)
        yield _Draft(text, EXTRACTIVE, "extractive", tuple(found), context, warnings)

    # --- checking ----------------------------------------------------------------------------

    async def _checked(
        self, request: AskRequest, language: AnswerLanguage, draft: _Draft
    ) -> Answer:
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
        )
        if is_no_answer(text):
            said = no_answer(language) if says_nothing(text) else text
            return replace(answer, answer=said, answered=False)
        stored = [scored.stored for scored in draft.used]
        checked = await self._checker.check(text, request.q, stored)
        answer = replace(
            answer,
            citations=checked.citations,
            attributed=checked.attributed,
            uncited=checked.uncited,
        )
        misplaced = any(citation.reason == "misplaced" for citation in checked.citations)
        if not checked.supported and not misplaced:
            why = "Nothing the model wrote could be found in the sources; see draft and citations."
            return replace(
                answer,
                answer=no_answer(language),
                answered=False,
                draft=text,
                warnings=(*draft.warnings, why),
            )
        return replace(answer, sources=_numbered(draft.used, checked))


def _is_news(overflow: ContextOverflow, prompt: FittedPrompt) -> bool:
    return overflow.window_tokens < prompt.window


def _draft(
    chat: ChatModel, prompt: FittedPrompt, completion: Completion, request: AskRequest
) -> _Draft:
    context = ContextUse(
        prompt.window,
        prompt.prompt_tokens,
        prompt.max_tokens,
        len(prompt.used),
        prompt.left_out,
        completion.finish_reason,
        prompt.counted.estimated,
    )
    return _Draft(
        completion.text,
        chat.generator.model,
        "model",
        prompt.used,
        context,
        _about(completion, prompt.left_out, prompt.max_tokens),
        (completion.reasoning or None) if request.include_reasoning else None,
    )


async def _without_sentinel(
    events: AsyncGenerator[GeneratorEvent, None],
) -> AsyncGenerator[GeneratorEvent, None]:
    """Hold back what may become the one word that stands for "no answer"."""
    held = ""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Completion):
                if held and not is_sentinel(held):
                    yield TextDelta(held)
                yield event
            elif not isinstance(event, TextDelta):
                yield event
            elif may_become_sentinel(held + event.text):
                held += event.text
            else:
                yield TextDelta(held + event.text)
                held = ""


def _numbered(
    used: Sequence[ScoredChunk], checked: CheckedAnswer | None = None
) -> tuple[Source, ...]:
    cited = {
        (citation.doc_id, citation.chunk_index)
        for citation in ((*checked.citations, *checked.attributed) if checked else ())
        if citation.status != "unsupported"
    }
    return tuple(
        Source(n, scored, (scored.stored.doc_id, scored.stored.chunk.index) in cited)
        for n, scored in enumerate(used, start=1)
    )


def _nothing(request: AskRequest, language: AnswerLanguage, warnings: tuple[str, ...]) -> Answer:
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
        warnings=warnings,
    )


def _about(
    completion: Completion, left_out: Sequence[ScoredChunk], max_tokens: int
) -> tuple[str, ...]:
    warnings = []
    if completion.finish_reason == "length":
        warnings.append(
            f"The answer was cut at {max_tokens} tokens; raise LLM_MAX_TOKENS for longer ones."
        )
    if left_out:
        warnings.append(
            f"{len(left_out)} of the chunks found did not fit the prompt; "
            "context.chunks_left_out names them."
        )
    return tuple(warnings)

"""Chunks to a written answer that is still to be checked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backend.core.errors import ContextOverflow
from backend.core.language import AnswerLanguage
from backend.core.no_answer import is_sentinel, may_become_sentinel, no_answer
from backend.core.types import Completion, GeneratorEvent, Queued, ScoredChunk, TextDelta
from backend.services.answers import (
    EXTRACTIVE,
    AskEvent,
    AskRequest,
    ContextUse,
    Generation,
    Route,
    Source,
    SourcesFound,
)
from backend.services.chat_model import ChatModel
from backend.services.compress import Compressed, Compressor
from backend.services.extract import ExtractiveAnswerer
from backend.services.prompt_fitting import FittedPrompt
from backend.services.route import Plan, Router
from backend.services.timing import Timings
from backend.telemetry.events import LanguageDetected, RagContext, RagMode, record

_SHOWN_DROPPED = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """What was written, before it is checked. ``used[i]`` is source ``[i + 1]``."""

    text: str
    model: str
    generation: Generation
    used: tuple[ScoredChunk, ...]
    context: ContextUse
    route: Route
    summarized: bool = False
    warnings: tuple[str, ...] = ()
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A prompt to answer; ``compressed`` is what was made of the chunks for it."""

    plan: Plan
    prompt: FittedPrompt
    compressed: Compressed | None = None


class ModelWriter:
    def __init__(self, chat: ChatModel, router: Router, compressor: Compressor) -> None:
        self._chat = chat
        self._router = router
        self._compressor = compressor

    async def write(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        timings: Timings,
    ) -> AsyncGenerator[AskEvent | Draft, None]:
        """Sources, deltas, exactly one ``Draft``. Closing the iterator stops the model.

        Raises:
            ContextOverflow: the question alone does not fit the window.
            SummaryPartFailed: what was retrieved could not be compressed.
            DependencyError: the model or the store failed.
        """
        record(LanguageDetected(language))
        for fresh in (False, True):
            with timings.stage("fit_prompt"):
                plan = await self._router.plan(request, language, found, fresh=fresh)
            try:
                async with aclosing(self._planned(plan, request, language, timings)) as events:
                    async for event in events:
                        yield event
                return
            except ContextOverflow as overflow:
                # The server was replaced by one with a smaller window: fit once more.
                seen = "first_token" in timings.stages
                if fresh or seen or overflow.window_tokens >= plan.prompt.window:
                    raise

    async def _planned(
        self, plan: Plan, request: AskRequest, language: AnswerLanguage, timings: Timings
    ) -> AsyncGenerator[AskEvent | Draft, None]:
        left_out = 0 if plan.compresses else len(plan.prompt.left_out)
        tokens = plan.route.context_tokens
        record(RagContext(len(plan.chunks), left_out, tokens, len(request.q)))
        record(RagMode(plan.route.mode, plan.route.reason))
        yield SourcesFound(numbered(plan.chunks))
        ready = _Ready(plan, plan.prompt)
        if plan.compresses:
            with timings.stage("compress"):
                run = self._compressor.run(request.q, language, plan.chunks)
                async with aclosing(run) as events:
                    async for event in events:
                        if not isinstance(event, Compressed):
                            yield event
                        elif event.prompt is None:
                            yield self._nothing(plan, event, language)
                            return
                        else:
                            ready = _Ready(plan, event.prompt, event)
        async with aclosing(self._answered(ready, request, timings)) as written:
            async for one in written:
                yield one

    async def _answered(
        self, ready: _Ready, request: AskRequest, timings: Timings
    ) -> AsyncGenerator[AskEvent | Draft, None]:
        completion: Completion | None = None
        with timings.stage("generate"):
            async with aclosing(_without_sentinel(self._chat.write(ready.prompt))) as events:
                async for event in events:
                    if isinstance(event, Completion):
                        completion = event
                    elif isinstance(event, TextDelta):
                        timings.mark("first_token")
                        yield event
                    elif isinstance(event, Queued) or request.include_reasoning:
                        yield event
        if completion is None:
            raise RuntimeError("the generator ended without a completion")
        yield self._draft(ready, completion, request)

    def _draft(self, ready: _Ready, completion: Completion, request: AskRequest) -> Draft:
        prompt, compressed = ready.prompt, ready.compressed
        context = ContextUse(
            prompt.window,
            prompt.prompt_tokens,
            prompt.max_tokens,
            compressed.relevant if compressed else len(prompt.used),
            prompt.left_out,
            completion.finish_reason,
            prompt.counted.estimated,
            compressed.irrelevant if compressed else (),
        )
        return Draft(
            completion.text,
            self._chat.generator.model,
            "model",
            prompt.used,
            context,
            ready.plan.route,
            compressed is not None,
            (*_about(completion, prompt), *(_lost(compressed) if compressed else ())),
            (completion.reasoning or None) if request.include_reasoning else None,
        )

    def _nothing(self, plan: Plan, compressed: Compressed, language: AnswerLanguage) -> Draft:
        """None of the chunks bears on the question: there is nothing to ask the model."""
        window = plan.prompt.window
        return Draft(
            no_answer(language),
            self._chat.generator.model,
            "model",
            plan.chunks,
            ContextUse(window, 0, 0, 0, (), None, chunks_irrelevant=compressed.irrelevant),
            plan.route,
            True,
            _lost(compressed),
        )


class ExtractiveWriter:
    """``why`` there is no chat model is told with every answer."""

    def __init__(self, extractor: ExtractiveAnswerer, why: str) -> None:
        self._extractor = extractor
        self._why = why

    async def write(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        timings: Timings,
    ) -> AsyncGenerator[AskEvent | Draft, None]:
        """As of ``ModelWriter``.

        Raises:
            DependencyError: the embedder failed.
        """
        reason = f"There is no chat model: the best sentences are the answer. {self._why}".strip()
        route = Route("extractive", reason, 0)
        record(RagMode(route.mode, route.reason))
        yield SourcesFound(numbered(found))
        with timings.stage("extract"):
            best = await self._extractor.answer(request.q, [scored.stored for scored in found])
        text = best.text if best else no_answer(language)
        yield TextDelta(text)
        context = ContextUse(None, 0, 0, len(found), (), None)
        warnings = (f"No chat model: these are the best sentences. {self._why}",)
        yield Draft(
            text, EXTRACTIVE, "extractive", tuple(found), context, route, warnings=warnings
        )  # fmt: skip


def numbered(
    used: Sequence[ScoredChunk], cited: frozenset[tuple[str, int]] = frozenset()
) -> tuple[Source, ...]:
    """``cited``: the document and the index of the chunks that the answer cites."""
    return tuple(
        Source(n, scored, (scored.stored.doc_id, scored.stored.chunk.index) in cited)
        for n, scored in enumerate(used, start=1)
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


def _about(completion: Completion, prompt: FittedPrompt) -> tuple[str, ...]:
    warnings = []
    if completion.finish_reason == "length":
        warnings.append(
            f"The answer was cut at {prompt.max_tokens} tokens; raise LLM_MAX_TOKENS for longer "
            "ones."
        )
    if prompt.left_out:
        warnings.append(
            f"{len(prompt.left_out)} of the chunks found did not fit the prompt; "
            "context.chunks_left_out names them."
        )
    return tuple(warnings)


def _lost(compressed: Compressed) -> tuple[str, ...]:
    if not compressed.dropped:
        return ()
    shown = "; ".join(f"«{text}»" for text in compressed.dropped[:_SHOWN_DROPPED])
    more = len(compressed.dropped) - _SHOWN_DROPPED
    return (
        f"{len(compressed.dropped)} statements were dropped while the context was compressed: "
        f"their sources do not hold them. {shown}" + (f" and {more} more" if more > 0 else ""),
    )

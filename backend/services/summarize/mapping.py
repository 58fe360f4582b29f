"""The parts of a document to their summaries, as many at once as the model works on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from backend.core.errors import ContextOverflow, DependencyError, SummaryPartFailed
from backend.core.parts import halves
from backend.core.sentences import Span
from backend.core.summaries import (
    Part,
    PartSummarized,
    Structure,
    SummaryProgress,
)
from backend.core.summary_prompts import PromptKind
from backend.core.types import FinishReason, Message
from backend.services.summarize.calls import Ask, Caller, Means, is_cut
from backend.services.summarize.cut import Cut
from backend.services.summarize.eta import Cost
from backend.services.summarize.pace import CallId
from backend.services.summarize.partials import Partial
from backend.services.summarize.prompting import Prompting
from backend.services.summarize.room import LEAST_ANSWER, answer_for
from backend.services.summarize.together import together

_DEEPEST = 3  # a part whose summary is always cut is split into eighths, then it is an error
_DEEPEST_STRUCTURE = 2
_SHORT_STRUCTURE = 256  # tokens
STRUCTURE_LEVEL = -2  # of finished parts that hold JSON; those of halves lie below


@dataclass(frozen=True, slots=True)
class Done:
    partials: tuple[Partial, ...]
    structures: tuple[Structure, ...] = ()


@dataclass(slots=True)
class Mapped:
    """What is done, by part: it outlives a cut that had to be made again."""

    done: dict[Span, Done] = field(default_factory=dict)


class PartMapper:
    def __init__(self, caller: Caller, prompting: Prompting, means: Means) -> None:
        self._caller = caller
        self._prompting = prompting
        self._check = means.judges.check
        self._pace = means.pace
        self._emit = means.emit
        self._provider = means.chat.provider

    def calls(self, cut: Cut, done: Mapped) -> dict[CallId, Cost]:
        """What there is to do, for the estimate of the time."""
        calls: dict[CallId, Cost] = {}
        for part in cut.parts:
            if (part.start, part.end) in done.done:
                continue
            prompt = part.tokens + cut.overheads.part
            calls["map", 0, part.index] = Cost(prompt, self._answer(part.tokens, cut))
            if self._prompting.structuring is not None:
                answer = self._structure_answer(part.tokens, cut)
                calls["map", STRUCTURE_LEVEL, part.index] = Cost(prompt, answer)
        return calls

    async def run(self, cut: Cut, mapped: Mapped) -> None:
        """Fill ``mapped``.

        Raises:
            SummaryPartFailed: a part could not be summarized.
            ContextOverflow: the window is smaller than the server said.
        """
        each = 1 if self._prompting.structuring is None else 2
        work = _Work(cut, mapped, total=each * len(cut.parts), each=each)
        work.count = each * sum((part.start, part.end) in mapped.done for part in cut.parts)
        await together(
            self._part(part, work)
            for part in cut.parts
            if (part.start, part.end) not in mapped.done
        )
        if work.overflow is not None:
            raise work.overflow

    async def _part(self, part: Part, work: _Work) -> None:
        span = (part.start, part.end)
        try:
            partials, structures = await self._both(part, span, work)
        except ContextOverflow as overflow:
            work.overflow = overflow  # raised when the calls under way are done: they may succeed
            return
        except DependencyError as error:
            raise self._failed(part, len(work.cut.parts), error) from error
        work.mapped.done[span] = Done(partials, structures)

    async def _both(
        self, part: Part, span: Span, work: _Work
    ) -> tuple[tuple[Partial, ...], tuple[Structure, ...]]:
        if self._prompting.structuring is None:
            return await self._summary(part, span, work), ()
        summary: tuple[Partial, ...] = ()
        structures: tuple[Structure, ...] = ()

        async def summarize() -> None:
            nonlocal summary
            summary = await self._summary(part, span, work)

        async def structure() -> None:
            nonlocal structures
            found = await self._structures(span, part.tokens, part.index, 0, work.cut)
            structures = tuple(found)
            self._progressed(work)

        await together([summarize(), structure()])
        return summary, structures

    async def _summary(self, part: Part, span: Span, work: _Work) -> tuple[Partial, ...]:
        partials = await self._partials(part, span, part.tokens, part.index, 0, work.cut)
        text = "\n\n".join(partial.text for partial in partials)
        self._emit(PartSummarized(part.index, len(work.cut.parts), text))
        self._progressed(work)
        return tuple(partials)

    def _progressed(self, work: _Work) -> None:
        work.count += 1
        self._emit(SummaryProgress("map", 0, work.count, work.total, self._pace.eta()))

    async def _partials(
        self, part: Part, span: Span, tokens: int, index: int, depth: int, cut: Cut
    ) -> list[Partial]:
        """Of the span; of its halves, where the model does not come to an end with it."""
        ask = self._ask(span, tokens, index, depth, cut)
        try:
            finished = await self._caller.answer(ask)
        except DependencyError as error:
            if cut.sizes is None:  # the whole document in one call: its summary is the summary
                raise
            pieces = self._pieces(span, depth, _DEEPEST, error)
            half = -(-tokens // 2)
            found = await together(
                self._partials(part, piece, half, 2 * index + n, depth + 1, cut)
                for n, piece in enumerate(pieces)
            )
            return [partial for partials in found for partial in partials]
        written = finished.usage.completion_tokens
        where = (part.index, part.index)
        path = self._prompting.document.outline.heading_path(span[0])
        return [Partial(finished.text, max(1, written), span, where, path)]

    async def _structures(
        self, span: Span, tokens: int, index: int, depth: int, cut: Cut
    ) -> list[Structure]:
        structuring = self._prompting.structuring
        if structuring is None:
            return []
        ask = self._structure_ask(span, tokens, index, depth, cut)
        try:
            finished = await self._caller.answer(ask)
        except DependencyError as error:
            pieces = self._pieces(span, depth, _DEEPEST_STRUCTURE, error)
            half = -(-tokens // 2)
            found = await together(
                self._structures(piece, half, 2 * index + n, depth + 1, cut)
                for n, piece in enumerate(pieces)
            )
            return [structure for structures in found for structure in structures]
        return [structuring.parse(finished.text)]

    def _pieces(self, span: Span, depth: int, deepest: int, error: DependencyError) -> list[Span]:
        """Raises ``error`` where smaller pieces would not help, or there are none."""
        if not is_cut(error) or not self._may_split(span, depth, deepest):
            raise error
        return halves(self._prompting.document.outline, span)

    def _may_split(self, span: Span, depth: int, deepest: int) -> bool:
        return depth < deepest and len(halves(self._prompting.document.outline, span)) > 1

    # --- what is asked -----------------------------------------------------------------------

    def _ask(self, span: Span, tokens: int, index: int, depth: int, cut: Cut) -> Ask:
        prompting = self._prompting
        kind: PromptKind = "part" if cut.sizes else "whole"
        answer = self._answer(tokens, cut)
        room = self._piece_answer(tokens, answer, cut) if depth else answer
        per_word = cut.sizes.per_word if cut.sizes else None
        words = prompting.words(answer, per_word, of_part=kind == "part")
        excerpt = prompting.document.excerpt(span)

        def build(words: int, again: bool) -> list[Message]:
            return prompting.summary(kind, [excerpt], words, again=again)

        async def check(text: str, finish_reason: FinishReason) -> None:
            await asyncio.to_thread(
                self._check,
                text,
                of=excerpt.text,
                language=prompting.language,
                finish_reason=finish_reason,
            )

        return Ask(
            "map",
            depth,
            index,
            build,
            words,
            room,
            check,
            if_cut="split" if cut.sizes else "shorten",
            urgent=depth > 0,
        )

    def _structure_ask(self, span: Span, tokens: int, index: int, depth: int, cut: Cut) -> Ask:
        prompting = self._prompting
        structuring = prompting.structuring
        if structuring is None:
            raise RuntimeError("no structure was asked for")

        def build(_: int, again: bool) -> list[Message]:
            return prompting.structure(span, again=again)

        async def check(text: str, _: FinishReason) -> object:
            return structuring.parse(text)

        return Ask(
            "map",
            STRUCTURE_LEVEL - depth,
            index,
            build,
            words=0,
            answer=self._structure_answer(tokens, cut),
            check=check,
            if_cut="raise" if self._may_split(span, depth, _DEEPEST_STRUCTURE) else "shorten",
            json_schema=structuring.schema,
            urgent=depth > 0,
        )

    def _answer(self, tokens: int, cut: Cut) -> int:
        return answer_for(tokens, cut.sizes.shares) if cut.sizes else self._caller.room.final

    def _piece_answer(self, tokens: int, answer: int, cut: Cut) -> int:
        """A model that does not stop short of the text may write as much as the text: its pieces
        are merged like any. Were the room as small as the piece, it would be cut for ever."""
        if cut.sizes is None:
            return answer
        mergeable = cut.sizes.shares.merge // 3 - cut.overheads.merge_input
        return max(answer, min(tokens + LEAST_ANSWER, mergeable))

    def _structure_answer(self, tokens: int, cut: Cut) -> int:
        """The fields of a text are shorter than the text, once it is longer than their names."""
        most = cut.sizes.shares.structure_answer if cut.sizes else self._caller.room.final
        return min(most, max(_SHORT_STRUCTURE, tokens))

    def _failed(self, part: Part, parts: int, error: DependencyError) -> SummaryPartFailed:
        name = self._prompting.document.name
        return SummaryPartFailed(
            f"Part {part.index + 1} of {parts} of {name} (characters {part.start} to {part.end}) "
            f"could not be summarized: {error}",
            dependency=self._provider,
            part=part.index + 1,
            parts=parts,
            cause=error.code,
        )


@dataclass(slots=True)
class _Work:
    cut: Cut
    mapped: Mapped
    total: int
    each: int
    count: int = 0
    overflow: ContextOverflow | None = None

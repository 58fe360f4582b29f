"""One document on its way to its summary."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.core.errors import ContextOverflow
from backend.core.language import AnswerLanguage
from backend.core.models import usable_window
from backend.core.summaries import FinishedPart, Strategy, Structure, Summary, SummaryProcessing
from backend.core.types import TokenUsage
from backend.services.summarize.calls import Caller, Means
from backend.services.summarize.cut import Cut, Cutter
from backend.services.summarize.eta import Cost
from backend.services.summarize.mapping import Mapped, PartMapper
from backend.services.summarize.merging import Merger, forecast
from backend.services.summarize.partials import Partial
from backend.services.summarize.prompting import Prompting
from backend.services.summarize.room import Room, answer_for, make_room
from backend.services.summarize.work import SummaryTask
from backend.services.timing import Timings

_CUT_LEVEL = -1  # of the finished part that holds how the document was cut
_NAMES: dict[AnswerLanguage, str] = {"ru": "Russian", "en": "English"}


@dataclass(frozen=True, slots=True)
class _Made:
    final: Partial
    structures: tuple[Structure, ...]
    cut: Cut
    levels: int


class SummaryRun:
    def __init__(
        self,
        task: SummaryTask,
        prompting: Prompting,
        means: Means,
        timings: Timings,
        *,
        most_text: int,
    ) -> None:
        self._task = task
        self._document = prompting.document
        self._prompting = prompting
        self._means = means
        self._timings = timings
        self._cutter = Cutter(prompting.document, prompting, means.counts, most_text=most_text)

    async def summary(self, *, waves_of: int) -> Summary:
        """``waves_of``: how many calls the model works on at once."""
        return await self._checked(await self._made(waves_of))

    async def _made(self, waves_of: int) -> _Made:
        room = await self._room()
        with self._timings.stage("cut"):
            cut = await self._cutter.cut(room, waves_of=waves_of, kept=self._kept_cut())
            await self._keep_cut(cut)
        mapped = Mapped()
        caller = Caller(self._means, self._task.finished, room)
        try:
            return await self._stages(cut, mapped, caller)
        except ContextOverflow as overflow:
            caller.resize(await self._smaller_room(room, overflow))
        with self._timings.stage("cut"):
            if cut.sizes is None:
                cut = await self._cutter.cut(caller.room, waves_of=waves_of)
            else:
                cut = await self._cutter.again(cut, list(mapped.done), caller.room)
            await self._keep_cut(cut)
        return await self._stages(cut, mapped, caller)

    async def _stages(self, cut: Cut, mapped: Mapped, caller: Caller) -> _Made:
        sizes, overheads = cut.sizes, cut.overheads
        mapper = PartMapper(caller, self._prompting, self._means)
        self._means.pace.plan(mapper.calls(cut, mapped), lambda *fills: _merges(cut, fills, caller))
        strategy = _strategy(cut)
        chunks, eta = self._document.outline.chunks, self._means.pace.eta()
        self._means.emit(SummaryProcessing(strategy, len(cut.parts), chunks, cut.tokens, eta))
        with self._timings.stage("map"):
            await mapper.run(cut, mapped)
        done = [mapped.done[part.start, part.end] for part in cut.parts]
        partials = [partial for one in done for partial in one.partials]
        structures = tuple(structure for one in done for structure in one.structures)
        if sizes is None:
            return _Made(partials[0], structures, cut, 0)
        with self._timings.stage("merge"):
            merger = Merger(caller, self._prompting, self._means)
            merged, levels = await merger.run(partials, sizes, overheads)
        return _Made(merged, structures, cut, levels)

    async def _checked(self, made: _Made) -> Summary:
        spent = self._means.spent
        with self._timings.stage("check"):
            unsupported = await asyncio.to_thread(
                self._means.judges.unsupported, made.final.text, self._document.text
            )
            structure, missing = await self._structure(made.structures)
        timings = self._timings.report()
        return Summary(
            text=made.final.text,
            key=self._task.key,
            source=self._task.source,
            strategy=_strategy(made.cut),
            parts=len(made.cut.parts),
            levels=made.levels,
            chunks_processed=self._document.outline.chunks,
            tokens=TokenUsage(spent.prompt, spent.completion),
            seconds=timings["total"],
            generated_at=datetime.now(UTC),
            unsupported=tuple(dict.fromkeys((*unsupported, *missing))),
            structure=structure,
            warnings=tuple(self._warnings(missing)),
            timings=timings,
        )

    async def _structure(
        self, structures: Sequence[Structure]
    ) -> tuple[Structure | None, tuple[str, ...]]:
        """What the document says of it, and what was in it besides."""
        structuring = self._prompting.structuring
        if structuring is None:
            return None, ()
        merged = await asyncio.to_thread(structuring.merge, structures)
        return await asyncio.to_thread(structuring.check, merged, self._document.text)

    def _warnings(self, missing: Sequence[str]) -> Iterator[str]:
        if self._document.language == "other":
            language = _NAMES[self._prompting.language]
            yield (
                f"The document is in neither Russian nor English; its summary is in {language}, so "
                "little of it could be checked against the document."
            )
        if missing:
            yield f"Not in the fields, since the document does not have it: {'; '.join(missing)}."

    # --- the window --------------------------------------------------------------------------

    async def _room(self, *, fresh: bool = False) -> Room:
        chat = self._means.chat
        return self._room_of(usable_window(await chat.generator.served(fresh=fresh), chat.known))

    def _room_of(self, window: int) -> Room:
        chat = self._means.chat
        always = chat.known is not None and chat.known.reasoning == "reasoning_effort"
        thinks = always or self._means.counts.reasoning == "on"
        final = self._task.key.max_tokens
        return make_room(window, chat.safety_margin, final=final, thinks=thinks)

    async def _smaller_room(self, before: Room, overflow: ContextOverflow) -> Room:
        """The window as it is now; where that is as before, our counts were too low."""
        room = await self._room(fresh=True)
        if room.window < before.window:
            return room
        if overflow.window_tokens < before.window:
            return self._room_of(overflow.window_tokens)
        share = min(0.9, before.window / max(1, overflow.needed_tokens))
        return self._room_of(int(before.window * share))

    # --- what a crash must not lose ----------------------------------------------------------

    def _kept_cut(self) -> str | None:
        digest = self._digest()
        for part in self._task.finished:
            if part.level == _CUT_LEVEL and part.input_sha256 == digest:
                return part.text
        return None

    async def _keep_cut(self, cut: Cut) -> None:
        """With it a later run makes the same parts, whatever has changed about the server."""
        if self._task.keep is None or cut.sizes is None:
            return
        described = self._cutter.describe(cut)
        if described == self._kept_cut():
            return
        key_id, digest = self._task.key.id, self._digest()
        nothing = TokenUsage(0, 0)
        kept = FinishedPart(key_id, "map", _CUT_LEVEL, 0, digest, described, nothing)
        await self._task.keep(kept)

    def _digest(self) -> str:
        text = self._document.text
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _strategy(cut: Cut) -> Strategy:
    return "map_reduce" if cut.sizes else "single"


def _merges(cut: Cut, fills: tuple[float, float], caller: Caller) -> Sequence[Sequence[Cost]]:
    """The merges to come, where the answers to parts and merges fill so much of their room."""
    if cut.sizes is None:
        return ()
    of_part, of_merge = fills
    texts = [answer_for(part.tokens, cut.sizes.shares) * of_part for part in cut.parts]
    return forecast(texts, cut.sizes, cut.overheads, caller.room.final, fill=of_merge)

"""A document to parts that fit the model, each counted as the server will count it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from backend.core.errors import ContextOverflow
from backend.core.parts import Ruler, lay_out
from backend.core.sentences import Span
from backend.core.summaries import Part
from backend.core.types import Message
from backend.services.summarize.counting import PromptCounts
from backend.services.summarize.document import Document
from backend.services.summarize.prompting import Prompting
from backend.services.summarize.room import Overheads, Room, Shares, Sizes, share
from backend.services.summarize.together import together

_SAMPLE_CHARS = 4000
_BLOCKS_PER_PART = 2
_LEAST_BLOCK_CHARS = 500
_SURELY_TOO_LONG = 24  # characters per token of the window: no text but blank space is so dense


@dataclass(frozen=True, slots=True)
class Cut:
    """``sizes`` is None where the whole document goes into one call; then it is one part."""

    parts: tuple[Part, ...]
    sizes: Sizes | None
    overheads: Overheads

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)


class Cutter:
    """``most_text`` bounds the tokens of a part (0: the window does)."""

    def __init__(
        self, document: Document, prompting: Prompting, counts: PromptCounts, *, most_text: int
    ) -> None:
        self._document = document
        self._prompting = prompting
        self._counts = counts
        self._most_text = most_text

    async def cut(self, room: Room, *, waves_of: int, kept: str | None = None) -> Cut:
        """``waves_of`` calls are worked on at once: more parts than that come in full waves.
        ``kept`` is an earlier cut as ``describe`` has written it.

        Raises:
            ContextOverflow: the window is too small for any part of it.
        """
        overheads = await self._overheads()
        if kept is not None:
            return self._described(kept, overheads)
        tokens = await self._whole_if_it_fits(room, overheads)
        if tokens is not None:
            return Cut((self._part(0, self._document.whole, tokens),), None, overheads)
        shares = share(room, overheads, most_text=self._most_text)
        ruler = await self._measure(shares)
        sizes = Sizes(shares, self._prompting.per_word(ruler.total), overheads.again)
        span = self._document.whole
        spans = await self._fitting(span, ruler, room, sizes, waves_of=waves_of)
        return self._of(spans, ruler, sizes, overheads)

    async def again(self, cut: Cut, done: Sequence[Span], room: Room) -> Cut:
        """What is not done yet, cut anew for a window that has changed."""
        overheads = cut.overheads
        shares = share(room, overheads, most_text=self._most_text)
        ruler = await self._measure(shares)
        sizes = Sizes(shares, self._prompting.per_word(ruler.total), overheads.again)
        spans: list[Span] = []
        for span in _runs(cut.parts, done):
            if span in done:
                spans.append(span)
            else:
                spans += await self._fitting(span, ruler, room, sizes)
        return self._of(spans, ruler, sizes, overheads)

    def describe(self, cut: Cut) -> str:
        """The cut as text, so that a later run makes the same parts."""
        spans = [[part.start, part.end, part.tokens] for part in cut.parts]
        return json.dumps({"sizes": cut.sizes and asdict(cut.sizes), "parts": spans})

    # --- inside ------------------------------------------------------------------------------

    async def _overheads(self) -> Overheads:
        prompts = self._prompting.empty_prompts()
        counted = await together(self._counts.prompt(messages) for messages in prompts)
        part, again, one, two, *structure = (count.tokens for count in counted)
        structured = structure[0] if structure else 0
        return Overheads(part, structured, one, max(1, two - one), max(0, again - part))

    async def _whole_if_it_fits(self, room: Room, overheads: Overheads) -> int | None:
        text = self._document.text
        most = room.prompt(room.final) - overheads.again
        if len(text) > _SURELY_TOO_LONG * most:
            return None
        base = overheads.part
        if self._most_text:
            most = min(most, base + self._most_text)
        for messages in self._prompting.whole(self._document.whole, room):
            counted = (await self._counts.prompt(messages)).tokens
            if counted > most:
                return None
        return max(1, counted - base)

    async def _measure(self, shares: Shares) -> Ruler:
        text = self._document.text
        start, _ = self._document.whole
        sample = text[start : start + _SAMPLE_CHARS]
        chars_per_token = len(sample) / max(1, await self._counts.text(sample))
        size = max(_LEAST_BLOCK_CHARS, int(shares.text * chars_per_token / _BLOCKS_PER_PART))
        blocks = [text[low : low + size] for low in range(0, len(text), size)]
        tokens = await together(self._counts.text(block) for block in blocks)
        return Ruler([(len(block), n) for block, n in zip(blocks, tokens, strict=True)])

    async def _fitting(
        self, span: Span, ruler: Ruler, room: Room, sizes: Sizes, *, waves_of: int = 1
    ) -> list[Span]:
        outline, limit = self._document.outline, sizes.shares.text
        spans = await asyncio.to_thread(lay_out, outline, ruler, span, limit=limit)
        if len(spans) > waves_of > 1:
            full = -(-len(spans) // waves_of) * waves_of
            spans = await asyncio.to_thread(
                lay_out, outline, ruler, span, limit=limit, at_least=full
            )
        checked = await together(self._checked(one, ruler, room, sizes) for one in spans)
        return [piece for pieces in checked for piece in pieces]

    async def _checked(self, span: Span, ruler: Ruler, room: Room, sizes: Sizes) -> list[Span]:
        """The span itself, or as many pieces of it as are needed for each to fit."""
        over = await self._over(span, ruler, room, sizes)
        if over <= 0:
            return [span]
        pieces = lay_out(self._document.outline, ruler, span, limit=sizes.shares.text, at_least=2)
        if len(pieces) < 2:
            raise ContextOverflow(needed_tokens=room.window + over, window_tokens=room.window)
        checked = [await self._checked(piece, ruler, room, sizes) for piece in pieces]
        return [piece for found in checked for piece in found]

    async def _over(self, span: Span, ruler: Ruler, room: Room, sizes: Sizes) -> int:
        """By how many tokens the part's prompts are too long, second tries included."""
        shares = sizes.shares
        messages = self._prompting.part(span, _tokens(ruler, span), sizes)
        over = await self._beyond(messages, room.prompt(shares.part_answer) - sizes.again)
        if shares.structure_answer:
            most = room.prompt(shares.structure_answer) - sizes.again
            over = max(over, await self._beyond(self._prompting.structure(span), most))
        return over

    async def _beyond(self, messages: list[Message], most: int) -> int:
        return (await self._counts.prompt(messages)).tokens - most

    def _of(self, spans: Sequence[Span], ruler: Ruler, sizes: Sizes, overheads: Overheads) -> Cut:
        parts = [self._part(index, span, _tokens(ruler, span)) for index, span in enumerate(spans)]
        return Cut(self._with_chunks(parts), sizes, overheads)

    def _described(self, kept: str, overheads: Overheads) -> Cut:
        read = json.loads(kept)
        parts = [
            self._part(index, (start, end), tokens)
            for index, (start, end, tokens) in enumerate(read["parts"])
        ]
        sizes = read["sizes"] | {"shares": Shares(**read["sizes"]["shares"])}
        return Cut(self._with_chunks(parts), Sizes(**sizes), overheads)

    def _part(self, index: int, span: Span, tokens: int) -> Part:
        outline = self._document.outline
        text = self._document.text[slice(*span)]
        return Part(index, text, *span, tokens, outline.chunks, outline.heading_path(span[0]))

    def _with_chunks(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        if not parts:
            return ()
        bounds = [0, *(part.start for part in parts[1:]), len(self._document.text) + 1]
        counts = [self._document.outline.chunks_between(*pair) for pair in pairwise(bounds)]
        return tuple(
            replace(part, chunks=chunks) for part, chunks in zip(parts, counts, strict=True)
        )


def _tokens(ruler: Ruler, span: Span) -> int:
    return max(1, round(ruler.between(*span)))


def _runs(parts: Sequence[Part], done: Sequence[Span]) -> list[Span]:
    """Done parts as they are, neighbours that are not done as one span."""
    finished = set(done)
    runs: list[Span] = []
    for part in parts:
        span = (part.start, part.end)
        if runs and span not in finished and runs[-1] not in finished:
            runs[-1] = (runs[-1][0], part.end)
        else:
            runs.append(span)
    return runs

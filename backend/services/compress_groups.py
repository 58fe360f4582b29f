"""Sources in groups of which each fits one prompt, counted as the server counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.core.errors import ContextOverflow
from backend.core.language import AnswerLanguage
from backend.core.prompts import NumberedSource, build_messages
from backend.core.sentences import sentence_spans
from backend.core.token_budget import MIN_ANSWER_TOKENS, TokenBudget
from backend.core.types import Message, ReasoningMode, TokenCount
from backend.services.chat_model import ChatModel, Room
from backend.services.summarize.calls import reasoning_for
from backend.services.summarize.room import words_in

_MOST_CHUNKS = 5  # of a group: a small model that reads more of them notes one or two
_LENGTH_SHARE = 1 / 3  # of what a group holds is what its compression is asked to be
_LENGTH_SHARE_AGAIN = 1 / 2
_ROOM_SHARE = 1 / 2  # of the room for the answer's sources; the tags around them take the rest
_THINKING_SHARE = 4  # of the window, where the model reasons
_WIDEST_WORDS = 1000  # as long as any number of words that is asked for, when a prompt is measured


@dataclass(frozen=True, slots=True)
class Group:
    sources: tuple[NumberedSource, ...]
    messages: list[Message]
    counted: TokenCount
    max_tokens: int
    reasoning: ReasoningMode


class Grouper:
    def __init__(
        self, chat: ChatModel, room: Room, question: str, language: AnswerLanguage
    ) -> None:
        self._chat = chat
        self._question = question
        self._language = language
        self._room = room
        self._reasoning = reasoning_for(chat)
        window = room.budget.context_window
        longest = max(MIN_ANSWER_TOKENS, room.longest_compression)
        thinking = window // _THINKING_SHARE if self._reasoning == "on" else 0
        self._budget = TokenBudget(window, room.budget.safety_margin, longest + thinking)

    async def groups(self, sources: Sequence[NumberedSource], *, again: bool) -> list[Group]:
        """All of ``sources``, in order; one that is too long for any prompt in pieces. ``again``:
        they were compressed before.

        Raises:
            ContextOverflow: the window is too small for a sentence of them.
        """
        empty, limit = await self._limit()
        parts: list[Sequence[NumberedSource]] = []
        sizes: list[int] = []
        rest = list(sources)
        while rest:
            most = len(rest) if again else _MOST_CHUNKS
            count, tokens = await self._prefix(rest[:most], limit)
            if count == 0:
                rest[:1] = self._pieces(rest[0], tokens)
                continue
            parts.append(rest[:count])
            sizes.append(tokens - empty)
            rest = rest[count:]
        share = _LENGTH_SHARE_AGAIN if again else _LENGTH_SHARE
        room = _ROOM_SHARE * self._room.budget.prompt_limit / max(1, sum(sizes))
        share = min(share, room)
        return [
            await self._group(part, share * size) for part, size in zip(parts, sizes, strict=True)
        ]

    async def group(self, sources: Sequence[NumberedSource]) -> Group:
        """One group of what is known to fit."""
        empty, _ = await self._limit()
        _, counted = await self._counted(sources, _WIDEST_WORDS)
        return await self._group(sources, _LENGTH_SHARE * (counted.tokens - empty))

    async def _limit(self) -> tuple[int, int]:
        """Tokens of the prompt without sources, and of the longest one with them."""
        empty = (await self._counted((), _WIDEST_WORDS))[1].tokens
        most = max(1, self._room.threshold)
        if self._chat.fitter.source_limit:
            most = min(most, self._chat.fitter.source_limit)
        return empty, min(self._budget.prompt_limit, empty + most)

    async def _prefix(self, sources: Sequence[NumberedSource], limit: int) -> tuple[int, int]:
        """How many fit, and the tokens of their prompt; where none does, those of the first."""
        low, high, fitting, tokens = 0, len(sources), 0, 0
        while low < high:
            middle = (low + high + 1) // 2
            tokens = (await self._counted(sources[:middle], _WIDEST_WORDS))[1].tokens
            if tokens <= limit:
                low, fitting = middle, tokens
            else:
                high = middle - 1
        return low, fitting or tokens

    async def _group(self, sources: Sequence[NumberedSource], asked: float) -> Group:
        asked = min(asked, self._room.longest_compression)
        words = words_in(int(asked), self._language, None)
        messages, counted = await self._counted(sources, words)
        longest = self._budget.max_tokens(counted.tokens)
        return Group(tuple(sources), messages, counted, longest, self._reasoning)

    async def _counted(
        self, sources: Sequence[NumberedSource], words: int
    ) -> tuple[list[Message], TokenCount]:
        prompt = self._chat.fitter.prompts.compress(self._language)
        messages = build_messages(prompt, self._question, sources, words=words)
        return messages, await self._chat.counter.count_messages(messages, self._reasoning)

    def _pieces(self, source: NumberedSource, tokens: int) -> list[NumberedSource]:
        pieces = _torn(source)
        if len(pieces) < 2:
            budget = self._budget
            needed = tokens + budget.reserved_for_answer + budget.safety_margin
            raise ContextOverflow(needed_tokens=needed, window_tokens=budget.context_window)
        return pieces


def halves(sources: Sequence[NumberedSource]) -> list[Sequence[NumberedSource]]:
    """Two groups of half the size; one, where there is nothing left to part."""
    if len(sources) == 1:
        return [[piece] for piece in _torn(sources[0])]
    middle = len(sources) // 2
    return [sources[:middle], sources[middle:]]


def _torn(source: NumberedSource) -> list[NumberedSource]:
    """Between two sentences near the middle, else between two words."""
    text = source.text
    ends = [end for _, end in sentence_spans(text)[:-1]]
    ends = ends or [i for i, c in enumerate(text) if c.isspace() and text[:i].strip()]
    if not ends:
        return [source]
    cut = min(ends, key=lambda end: abs(end - len(text) / 2))
    pieces = (text[:cut].strip(), text[cut:].strip())
    return [replace(source, text=piece) for piece in pieces if piece]

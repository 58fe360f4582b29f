"""Telling ``<think>…</think>`` from the answer, for servers that leave both in one text."""

from __future__ import annotations

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Kind = Literal["text", "reasoning"]
Piece = tuple[Kind, str]


class ThinkSplitter:
    """Splits a text that arrives in pieces, cut anywhere, inside a tag too.

    A block at the beginning is reasoning even if it never ends: the tokens ran out. A block
    after text is reasoning only once it has ended, and text again if it never does: an answer
    may speak of the tag. White space around a block at the beginning belongs to neither.

    ``opened``: the chat template ends with the opening tag, so the text begins with reasoning
    and only a ``</think>`` comes. Without it a bare ``</think>`` is text.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._held = ""  # not decided yet
        self._inside = opened
        self._may_repeat_tag = opened  # some models say the tag that the template said already
        self._thought = opened  # a block has begun
        self._spoke = False  # text has been given out

    def feed(self, text: str) -> list[Piece]:
        """What is decided by now, in order; no piece is empty."""
        self._held += text
        pieces: list[Piece] = []
        while self._inside_step(pieces) if self._inside else self._outside_step(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """The rest, when nothing more will come."""
        rest, self._held = self._held, ""
        if self._inside and self._spoke:
            return [("text", OPEN + rest)]
        if self._inside:
            return [("reasoning", rest)] if rest else []
        return [("text", rest)] if rest else []

    def _inside_step(self, pieces: list[Piece]) -> bool:
        """Go on inside a block; whether the text after it is to be looked at."""
        if self._may_repeat_tag:
            begin = self._held.lstrip()
            if len(begin) < len(OPEN) and OPEN.startswith(begin):
                return False
            self._held = begin.removeprefix(OPEN)
            self._may_repeat_tag = False
        reasoning, closed, after = self._held.partition(CLOSE)
        if closed:
            self._give("reasoning", reasoning, pieces)
            self._held, self._inside = after, False
            return True
        if not self._spoke:
            self._release("reasoning", CLOSE, pieces)
        return False

    def _outside_step(self, pieces: list[Piece]) -> bool:
        """Go on outside a block; whether one has begun."""
        if self._thought and not self._spoke:
            self._held = self._held.lstrip()
        text, opened, after = self._held.partition(OPEN)
        if opened:
            if self._spoke or text.strip():
                self._give("text", text, pieces)
            self._held, self._inside, self._thought = after, True, True
            return True
        self._release("text", OPEN, pieces)
        return False

    def _release(self, kind: Kind, tag: str, pieces: list[Piece]) -> None:
        """Give out all that cannot be the beginning of ``tag``."""
        kept = next(n for n in range(len(tag) - 1, -1, -1) if self._held.endswith(tag[:n]))
        decided = self._held[: len(self._held) - kept]
        if kind == "text" and not self._spoke and not decided.strip():
            return  # a block may follow, and then it is no part of the answer
        self._give(kind, decided, pieces)
        self._held = self._held[len(decided) :]

    def _give(self, kind: Kind, piece: str, pieces: list[Piece]) -> None:
        if piece:
            pieces.append((kind, piece))
            self._spoke |= kind == "text"

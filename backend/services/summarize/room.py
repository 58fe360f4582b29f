"""How a context window is shared between prompt and answer while a document is summarized."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backend.core.errors import ContextOverflow
from backend.core.language import AnswerLanguage

LEAST_ANSWER = 24  # tokens: below this no sentence can be asked for
_LEAST_TEXT = 16
_MOST_PART_ANSWER = 1024
_WINDOW_PER_PART_ANSWER = 8
_MOST_STRUCTURE_ANSWER = 1536
_PARTIALS_PER_MERGE = (3, 2)  # at least; two only where the window is very small
_THINKING_SHARE = 4
_FINAL_SHARE = 4

# Of the room for an answer, what the model is asked to fill: models write longer than asked, and
# an answer that is cut costs another call.
ASKED_OF_PART = 0.5
ASKED_OF_MERGE = 0.7
_TOKENS_PER_WORD = {"ru": 3.0, "en": 1.5}
_FEWEST_WORDS = 15


@dataclass(frozen=True, slots=True)
class Overheads:
    """Tokens of the prompts with nothing in them, counted. ``again``: what a second try adds."""

    part: int
    structure: int
    merge: int
    merge_input: int  # around each text that is merged
    again: int


@dataclass(frozen=True, slots=True)
class Room:
    """Tokens. ``final`` is the longest final text, ``thinking`` what reasoning takes besides."""

    window: int
    margin: int
    final: int
    thinking: int

    def prompt(self, answer: int) -> int:
        """The longest prompt that leaves room for ``answer``."""
        return self.window - self.margin - self.thinking - answer


@dataclass(frozen=True, slots=True)
class Shares:
    """Tokens. ``text``: the longest part; ``part_answer``: its longest summary; ``level_answer``:
    of a merge that is not the last; ``merge``: what the texts of one merge may take together."""

    text: int
    part_answer: int
    level_answer: int
    merge: int
    structure_answer: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """``per_word``: tokens per word as measured, None where the usual has to do. ``again``: what
    a second try adds to a prompt."""

    shares: Shares
    per_word: float | None
    again: int


def make_room(window: int, margin: int, *, final: int, thinks: bool) -> Room:
    thinking = window // _THINKING_SHARE if thinks else 0
    return Room(
        window, margin, max(LEAST_ANSWER, min(final, (window - margin) // _FINAL_SHARE)), thinking
    )


def share(room: Room, overheads: Overheads, *, most_text: int = 0) -> Shares:
    """``most_text`` bounds a part below the window (0: no bound).

    Raises:
        ContextOverflow: the window is too small for any part at all.
    """
    merge = room.prompt(room.final) - overheads.merge - overheads.again
    per_merge = (merge // count - overheads.merge_input for count in _PARTIALS_PER_MERGE)
    most_partial = next((most for most in per_merge if most >= LEAST_ANSWER), 0)
    part_answer = min(_MOST_PART_ANSWER, room.window // _WINDOW_PER_PART_ANSWER, most_partial)
    structure_answer = min(_MOST_STRUCTURE_ANSWER, room.window // 5) if overheads.structure else 0
    text = room.prompt(part_answer) - overheads.part - overheads.again
    if overheads.structure:
        structured = room.prompt(structure_answer) - overheads.structure - overheads.again
        text = min(text, structured)
    lacking = max(LEAST_ANSWER - part_answer, _LEAST_TEXT - text)
    if lacking > 0:
        raise ContextOverflow(needed_tokens=room.window + lacking, window_tokens=room.window)
    if most_text:
        text = min(text, max(most_text, _LEAST_TEXT))
    level_answer = min(room.final, most_partial)
    return Shares(text, part_answer, level_answer, merge, structure_answer)


def answer_for(tokens: float, shares: Shares) -> int:
    """The room for the summary of a part of so many tokens: a shorter part, a shorter summary."""
    fair = math.ceil(shares.part_answer * tokens / shares.text)
    return max(min(shares.part_answer, 4 * LEAST_ANSWER), min(shares.part_answer, fair))


def words_in(
    answer: int, language: AnswerLanguage, measured: float | None, *, of_part: bool = False
) -> int:
    """How many words to ask for. ``measured``: tokens per word of a text in this language."""
    per_word = measured or _TOKENS_PER_WORD[language]
    words = int(answer * (ASKED_OF_PART if of_part else ASKED_OF_MERGE) / per_word)
    return max(_FEWEST_WORDS, words // 10 * 10 if words > 40 else words)

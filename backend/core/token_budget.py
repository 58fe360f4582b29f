"""How the context window is shared between prompt and answer."""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.errors import ContextOverflow

MIN_ANSWER_TOKENS = 64  # an answer with less room than this is not worth asking for


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """All sizes in tokens of the chat model.

    ``available = context_window - prompt_tokens - safety_margin``; the answer gets what is
    available, at most ``max_answer``.
    """

    context_window: int
    safety_margin: int
    max_answer: int

    @property
    def reserved_for_answer(self) -> int:
        """Room kept for the answer while sources are fitted: all of it, if the window allows."""
        return max(MIN_ANSWER_TOKENS, min(self.max_answer, self.context_window // 2))

    @property
    def prompt_limit(self) -> int:
        """The longest prompt that leaves the reserved room."""
        return self.context_window - self.safety_margin - self.reserved_for_answer

    def max_tokens(self, prompt_tokens: int) -> int:
        """``max_tokens`` of the request.

        Raises:
            ContextOverflow: the prompt leaves no room for an answer.
        """
        available = self.context_window - prompt_tokens - self.safety_margin
        if available < MIN_ANSWER_TOKENS:
            raise ContextOverflow(
                needed_tokens=prompt_tokens + self.safety_margin + MIN_ANSWER_TOKENS,
                window_tokens=self.context_window,
            )
        return min(self.max_answer, available)

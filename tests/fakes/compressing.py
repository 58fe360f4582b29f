"""A chat model that compresses numbered sources, and says what the test wrote down of them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from backend.core.types import Completion, FinishReason, GeneratorEvent, Message, Sampling
from tests.fakes.generator import ScriptedGenerator

COMPRESS = "Compress.\n---\n{sources}\n{question}\nwords {words}"
_SOURCE = re.compile(r"<source \[(\d+)\][^>]*>\n(.*?)\n</source>", re.DOTALL)
Sources = dict[int, str]
Compress = Callable[[Sources], str]


def first_sentences(sources: Sources) -> str:
    """An honest compression: the first sentence of each source with its number."""
    return "\n".join(f"- {_first(text)} [{n}]" for n, text in sources.items())


def _first(text: str) -> str:
    return text.removeprefix("- ").split(". ")[0].strip().rstrip(".") + "."


class CompressingGenerator(ScriptedGenerator):
    """``compress`` writes the compression of the numbered sources of a prompt, or raises;
    ``answer`` the answer from them."""

    def __init__(
        self,
        compress: Compress = first_sentences,
        answer: Compress = lambda sources: "Ответ.",
        *,
        window: int = 1000,
        hangs: bool = False,
    ) -> None:
        super().__init__(window=window, hangs=hangs)
        self._compress = compress
        self._answer = answer
        self.most_running = 0
        self.compressed: list[Sources] = []
        self.answered: list[Sources] = []
        self.cut_above: int | None = None  # words of a compression that are one too many

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        sources = {int(n): text for n, text in _SOURCE.findall(messages[-1].content)}
        if messages[0].content == "Compress.":
            self.compressed.append(sources)
            text = self._compress(sources)
            cut = self.cut_above is not None and len(text.split()) > self.cut_above
        else:
            self.answered.append(sources)
            text, cut = self._answer(sources), False
        reason: FinishReason = "length" if cut else "stop"
        self.answers = [text]
        events = super().stream(messages, sampling)
        async with aclosing(events):
            async for event in events:
                self.most_running = max(self.most_running, self.running)
                if isinstance(event, Completion):
                    yield replace(event, finish_reason=reason)
                else:
                    yield event

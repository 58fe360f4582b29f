"""A document of any length to its summary: one call where it fits, else parts and merges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from backend.core.summaries import Summary, SummaryEvent, SummaryStarted
from backend.core.summary_prompts import SummaryPrompts
from backend.services.chat_model import ChatModel
from backend.services.summarize.calls import Means, reasoning_for
from backend.services.summarize.counting import PromptCounts
from backend.services.summarize.document import open_document
from backend.services.summarize.pace import Habit, Pace
from backend.services.summarize.ports import Judges, Structuring
from backend.services.summarize.progress import Progress
from backend.services.summarize.prompting import Prompting
from backend.services.summarize.run import SummaryRun
from backend.services.summarize.together import Lanes, told
from backend.services.summarize.work import SummaryTask
from backend.services.timing import Timings
from backend.telemetry.events import LanguageDetected, record

Emit = Callable[[SummaryEvent], None]


class Summarizer:
    """``parallel`` is how many calls the model works on at once; background work takes half.
    ``most_text`` bounds the tokens of a part below the window (0: the window does)."""

    def __init__(
        self,
        *,
        chat: ChatModel,
        prompts: SummaryPrompts,
        judges: Judges,
        structuring: Structuring,
        parallel: Callable[[], int],
        most_text: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._chat = chat
        self._prompts = prompts
        self._judges = judges
        self._structuring = structuring
        self._parallel = parallel
        self._most_text = most_text
        self._sleep = sleep
        self._habit = Habit()

    @property
    def model(self) -> str:
        return self._chat.generator.model

    def prompt_version(self, *, structured: bool) -> str:
        """Changes with every text that is put to the model."""
        version = self._prompts.version
        return f"{version}+{self._structuring.version}" if structured else version

    async def run(self, task: SummaryTask) -> AsyncGenerator[SummaryEvent, None]:
        """What happens on the way, then exactly one ``Summary``. Closing the iterator stops every
        call of the model, and returns when they have stopped.

        Raises:
            SummaryPartFailed: a part or a merge could not be done; it says which, and why.
            ContextOverflow: the window is too small for any part, or shrank twice.
            InvalidRequest: the document has no text.
            DependencyError: the server could not be asked for its window.
        """
        events: AsyncGenerator[SummaryEvent, None] = told(lambda emit: self._work(task, emit))
        async with aclosing(events):
            async for event in events:
                yield event

    async def _work(self, task: SummaryTask, emit: Emit) -> Summary:
        timings = Timings()
        key = task.key
        document = await asyncio.to_thread(open_document, task.source, task.chunks)
        record(LanguageDetected(document.language, "Document"))
        emit(SummaryStarted(key, task.source, document.language))
        structuring = self._structuring if key.structured else None
        prompting = Prompting(document, self._prompts, key.language, key.focus, structuring)
        lanes = Lanes(lambda: self._lanes(task))
        pace = Pace(lanes, self._habit)
        progress = Progress(emit, pace, calls_per_part=2 if key.structured else 1)
        means = Means(
            chat=self._chat,
            counts=PromptCounts(self._chat.counter, reasoning_for(self._chat)),
            lanes=lanes,
            pace=pace,
            judges=self._judges,
            emit=progress.emit,
            background=task.background,
            keep=task.keep,
            key_id=key.id,
            sleep=self._sleep,
        )
        run = SummaryRun(task, prompting, means, timings, most_text=self._most_text)
        async with progress.between_calls():
            summary = await run.summary(waves_of=self._parallel())
        self._habit = pace.habit()
        return summary

    def _lanes(self, task: SummaryTask) -> int:
        return max(1, self._parallel() // 2) if task.background() else self._parallel()

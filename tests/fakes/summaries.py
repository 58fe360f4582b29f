"""A chat model that summarizes as the test says, and documents to summarize."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from backend.core.errors import ContextOverflow, RagError, UnusableCompletion
from backend.core.language import AnswerLanguage
from backend.core.prompts import PromptSet
from backend.core.summaries import Structure
from backend.core.summary_prompts import KINDS, LANGUAGES, Excerpt, SummaryPrompts
from backend.core.types import (
    Completion,
    FinishReason,
    GeneratorEvent,
    Message,
    ReasoningMode,
    Sampling,
    ServedModel,
    TextDelta,
    TokenCount,
    TokenUsage,
)
from backend.services.chat_model import ChatModel
from backend.services.prompt_fitting import PromptFitter
from backend.services.summarize.engine import Summarizer
from backend.services.summarize.ports import Judges

_PROMPTS = Path(__file__).parents[2] / "config" / "prompts"
_PER_MESSAGE = 4
_STOP: FinishReason = "stop"


def tokens_of(text: str) -> int:
    """Like a subword tokenizer: a word is a token per four letters, a sign is a token."""
    return sum(-(-len(piece) // 4) for piece in re.findall(r"\w+|[^\w\s]", text))


def summary_prompts() -> SummaryPrompts:
    return SummaryPrompts(
        {
            (kind, language): (_PROMPTS / f"summary_{kind}.{language}.md").read_text("utf-8")
            for kind in KINDS
            for language in LANGUAGES
        }
    )


class PieceCounter:
    """Counts as ``SummarizingModel`` does. ``calls`` are the texts it was asked about."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def count(self, text: str) -> TokenCount:
        self.calls.append(text)
        await asyncio.sleep(0)
        return TokenCount(tokens_of(text))

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        self.calls.append(messages[-1].content)
        await asyncio.sleep(0)
        return TokenCount(prompt_tokens(messages))

    def learn(self, counted: TokenCount, reported: int) -> None:
        assert counted.tokens == reported


def prompt_tokens(messages: Sequence[Message]) -> int:
    return sum(_PER_MESSAGE + tokens_of(message.content) for message in messages)


class Seen:
    """A call as the model saw it."""

    def __init__(self, messages: Sequence[Message], sampling: Sampling) -> None:
        self.prompt = messages[-1].content
        self.system = messages[0].content
        self.sampling = sampling
        self.tokens = prompt_tokens(messages)
        self.is_merge = "<summary " in self.prompt
        self.is_structure = sampling.json_schema is not None


Reply = str | tuple[str, FinishReason] | RagError
Answer = Callable[[Seen, int], Reply]


def short_answer(seen: Seen, number: int) -> Reply:
    if seen.is_structure:
        return "{}"
    return f"Answer {number} says what was decided."


class SummarizingModel:
    """``answer(seen, number)`` decides each reply; ``window`` may be changed at any time.

    ``pause`` turns of the event loop pass before each reply, ``gate`` stops replies while clear.
    """

    def __init__(
        self, answer: Answer = short_answer, *, window: int = 2048, pause: int = 1
    ) -> None:
        self.answer = answer
        self.window = window
        self.pause = pause
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen: list[Seen] = []
        self.answered: list[Seen] = []
        self.running = 0
        self.most_running = 0
        self.background_calls = 0

    @property
    def model(self) -> str:
        return "summarizing"

    async def served(self, *, fresh: bool = False) -> ServedModel:
        if fresh or not hasattr(self, "_told"):
            self._told = ServedModel(self.model, self.window, "the script")
        return self._told

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.background_calls += 1
        async with aclosing(self.stream(messages, sampling)) as events:
            async for event in events:
                if isinstance(event, Completion):
                    return event
        raise AssertionError("the stream had no completion")

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        seen = Seen(messages, sampling)
        if seen.tokens + sampling.max_tokens > self.window:
            needed = seen.tokens + sampling.max_tokens
            raise ContextOverflow(needed_tokens=needed, window_tokens=self.window)
        self.seen.append(seen)
        number = len(self.seen)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for _ in range(self.pause):
                await asyncio.sleep(0)
            await self.gate.wait()
            reply = self.answer(seen, number)
            if isinstance(reply, RagError):
                raise reply
            text, finish = reply if isinstance(reply, tuple) else (reply, _STOP)
            self.answered.append(seen)
            yield TextDelta(text)
        finally:
            self.running -= 1
        yield Completion(text, finish, TokenUsage(seen.tokens, tokens_of(text)))

    async def check(self) -> str:
        return "summarizes"


class NoStructuring:
    """Structure is what a test says it is: here one topic per part."""

    version = "topics"
    schema = '{"type": "object"}'

    def messages(
        self, excerpt: Excerpt, language: AnswerLanguage, focus: str, *, again: bool
    ) -> list[Message]:
        return [Message("system", "Fields, please."), Message("user", excerpt.text)]

    def parse(self, text: str) -> Structure:
        assert text == "{}"
        return Structure(topics=("one",))

    def merge(self, structures: Sequence[Structure]) -> Structure:
        return Structure(topics=tuple(topic for one in structures for topic in one.topics))

    def check(self, structure: Structure, document_text: str) -> tuple[Structure, tuple[str, ...]]:
        return structure, ("a topic",)


class Checks:
    """``fault(text, source)`` names what is wrong with a text, if anything."""

    def __init__(
        self,
        fault: Callable[[str, str], str | None] = lambda text, source: None,
        unsupported: tuple[str, ...] = (),
    ) -> None:
        self._fault = fault
        self._unsupported = unsupported

    def check(
        self, text: str, *, of: str, language: AnswerLanguage, finish_reason: FinishReason
    ) -> None:
        reason = self._fault(text, of)
        if reason is not None:
            raise UnusableCompletion(f"It is {reason}.", dependency="scripted", reason=reason)

    def unsupported(self, summary_text: str, document_text: str, /) -> tuple[str, ...]:
        return self._unsupported


class Sleeps:
    """Instead of waiting; ``seconds`` is what would have been waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def summarizer(
    model: SummarizingModel,
    *,
    checks: Checks | None = None,
    parallel: int = 4,
    counter: PieceCounter | None = None,
    sleeps: Sleeps | None = None,
    most_text: int = 0,
) -> Summarizer:
    counter = counter or PieceCounter()
    checks = checks or Checks()
    asking = "Answer.\n---\n{sources} {question}"
    answering = PromptSet.from_texts(answer_ru=asking, answer_en=asking)
    chat = ChatModel(
        generator=model,
        counter=counter,
        fitter=PromptFitter(counter, answering, source_limit=0),
        sampling=Sampling(max_tokens=512),
        safety_margin=16,
        provider="scripted",
        background=model,
    )
    return Summarizer(
        chat=chat,
        prompts=summary_prompts(),
        judges=Judges(checks.check, checks.unsupported),
        structuring=NoStructuring(),
        parallel=lambda: parallel,
        most_text=most_text,
        sleep=sleeps or Sleeps(),
    )

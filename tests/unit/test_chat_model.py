from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from backend.core.errors import NotReady, PromptTruncated, RagError
from backend.core.prompts import PromptSet
from backend.core.types import (
    Completion,
    GeneratorEvent,
    Message,
    ReasoningMode,
    Sampling,
    ScoredChunk,
    TokenCount,
    TokenUsage,
)
from backend.services.canary import Canary
from backend.services.chat_model import ChatModel
from backend.services.prompt_fitting import PromptFitter
from tests.factories import stored
from tests.fakes.generator import ScriptedGenerator, WordCounter

PROMPT = "Be brief.\n---\n{sources}\n{question}"


class CuttingGenerator(ScriptedGenerator):
    """Reports at most ``sees`` tokens of any prompt, as a server does that cut it."""

    sees = 100

    def _usage(self, messages: Sequence[Message], sampling: Sampling, text: str) -> TokenUsage:
        usage = super()._usage(messages, sampling, text)
        return TokenUsage(min(usage.prompt_tokens, self.sees), usage.completion_tokens)


class RememberingCounter(WordCounter):
    def __init__(self, *, estimated: bool = False) -> None:
        self.estimated = estimated
        self.learned: list[tuple[int, int]] = []

    async def count_messages(
        self, messages: Sequence[Message], reasoning: ReasoningMode = "auto"
    ) -> TokenCount:
        counted = await super().count_messages(messages, reasoning)
        return TokenCount(counted.tokens, self.estimated)

    def learn(self, counted: TokenCount, reported: int) -> None:
        self.learned.append((counted.tokens, reported))


def chat_of(generator: ScriptedGenerator, counter: RememberingCounter) -> ChatModel:
    prompts = PromptSet.from_texts(answer_ru=PROMPT, answer_en=PROMPT)
    return ChatModel(
        generator=generator,
        counter=counter,
        fitter=PromptFitter(counter, prompts, source_limit=0),
        sampling=Sampling(100),
        safety_margin=8,
        provider="vllm",
        background=generator,
    )


async def written(chat: ChatModel, words: int) -> list[GeneratorEvent]:
    found = [ScoredChunk(stored("word " * words, 0), 1.0)]
    prompt = await chat.fit("What?", found, "en")
    async with aclosing(chat.write(prompt)) as events:
        return [event async for event in events]


async def test_an_answer_to_a_whole_prompt_is_passed_on() -> None:
    counter = RememberingCounter()

    events = await written(chat_of(ScriptedGenerator("Yes."), counter), words=300)

    assert isinstance(events[-1], Completion)
    assert counter.learned[0][0] == counter.learned[0][1]


async def test_a_server_that_saw_fewer_tokens_than_it_was_sent_is_an_error() -> None:
    chat = chat_of(CuttingGenerator("Yes."), RememberingCounter())

    with pytest.raises(PromptTruncated) as caught:
        await written(chat, words=300)

    assert caught.value.seen_tokens == 100
    assert caught.value.sent_tokens > 300


async def test_a_count_below_an_upper_bound_proves_nothing() -> None:
    chat = chat_of(CuttingGenerator("Yes."), RememberingCounter(estimated=True))

    events = await written(chat, words=300)

    assert isinstance(events[-1], Completion)


async def test_a_few_tokens_of_difference_are_not_a_cut() -> None:
    generator = CuttingGenerator("Yes.")
    generator.sees = 300

    events = await written(chat_of(generator, RememberingCounter()), words=300)

    assert isinstance(events[-1], Completion)


# --- the canary --------------------------------------------------------------------------------


async def test_the_canary_fills_the_window_with_its_fact_in_the_first_line() -> None:
    generator = ScriptedGenerator("ALBATROSS-731", window=2000)
    canary = Canary(chat_of(generator, RememberingCounter()))

    await canary.run()

    assert (canary.verdict, canary.remembered) == ("proved", True)
    assert 1900 < canary.tokens <= 2000
    assert generator.prompts[0].splitlines()[0].endswith("ALBATROSS-731.")
    assert canary.warnings() == ()


async def test_a_window_that_is_not_real_is_a_warning_with_both_numbers() -> None:
    canary = Canary(chat_of(CuttingGenerator("no", window=2000), RememberingCounter()))

    await canary.run()

    assert canary.verdict == "cut"
    assert "100" in canary.warnings()[0]


class LoadingAtFirst(ScriptedGenerator):
    tries = 0

    def _usage(self, messages: Sequence[Message], sampling: Sampling, text: str) -> TokenUsage:
        self.tries += 1
        if self.tries < 3:
            raise self.not_yet()
        return super()._usage(messages, sampling, text)

    def not_yet(self) -> RagError:
        return NotReady("The model is loading.")


async def test_the_canary_waits_for_a_model_that_loads() -> None:
    generator = LoadingAtFirst("yes", window=2000)
    canary = Canary(chat_of(generator, RememberingCounter()), again_after_s=0.0)

    await canary.run()

    assert (canary.verdict, generator.tries) == ("proved", 3)

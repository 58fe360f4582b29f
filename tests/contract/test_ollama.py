"""Ollama by its native API, against a double that behaves as documented."""

from __future__ import annotations

import json

import pytest

from backend.core.errors import (
    ReasoningSpentAll,
)
from backend.core.types import Completion, ReasoningDelta, Sampling, TextDelta
from tests.fakes.ollama_server import (
    ANSWER,
    MODEL,
    PIECES,
    TRAINED,
    FakeOllama,
    last,
    line,
    streamed,
)
from tests.fakes.openai_wire import ASK, SHORT, drained, told

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


# --- the contract ------------------------------------------------------------------------------


@both_ways
async def test_the_answer_comes_whole_with_its_end_and_its_usage(stream: bool) -> None:
    completion = await told(FakeOllama().generator(), stream=stream)

    assert completion.text == ANSWER
    assert completion.finish_reason == "stop"
    assert completion.usage.prompt_tokens > 10
    assert completion.usage.completion_tokens == len(PIECES) + 1


async def test_a_stream_has_its_deltas_and_then_one_completion() -> None:
    *deltas, end = await drained(FakeOllama().generator())

    assert deltas == [TextDelta(piece) for piece in PIECES]
    assert isinstance(end, Completion)


@both_ways
async def test_an_answer_cut_by_max_tokens_says_so(stream: bool) -> None:
    sampling = Sampling(max_tokens=2)

    completion = await told(FakeOllama().generator(), stream=stream, sampling=sampling)

    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens == 2


@both_ways
async def test_every_sampling_field_reaches_the_server(stream: bool) -> None:
    fake = FakeOllama()
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    sampling = Sampling(
        max_tokens=70,
        temperature=0.3,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        repetition_penalty=1.1,
        stop=("\n\n", "END"),
        seed=42,
        json_schema=json.dumps(schema),
        reasoning="off",
    )

    await told(fake.generator(keep_alive="10m"), stream=stream, sampling=sampling)

    assert fake.chats == [
        {
            "model": MODEL,
            "messages": [{"role": m.role, "content": m.content} for m in ASK],
            "stream": True,
            "truncate": False,
            "shift": False,
            "think": False,
            "format": schema,
            "keep_alive": "10m",
            "options": {
                "num_ctx": 512,
                "num_predict": 70,
                "temperature": 0.3,
                "top_p": 0.9,
                "top_k": 40,
                "min_p": 0.05,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
                "repeat_penalty": 1.1,
                "seed": 42,
                "stop": ["\n\n", "END"],
            },
        }
    ]


async def test_what_is_not_asked_for_is_left_to_the_server() -> None:
    fake = FakeOllama()

    await fake.generator().complete(ASK, SHORT)

    [sent] = fake.chats
    assert sent["options"] == {"num_ctx": 512, "num_predict": 60, "temperature": 0.0}
    assert sent.keys().isdisjoint({"think", "format", "keep_alive"})


@pytest.mark.parametrize(
    ("model", "mode", "think"),
    [
        ("qwen3:8b", "on", True),
        ("qwen3:8b", "off", False),
        ("gpt-oss:20b", "on", "medium"),
        ("gpt-oss:20b", "off", "low"),
    ],
)
async def test_reasoning_is_switched_in_the_model_s_words(
    model: str, mode: str, think: object
) -> None:
    fake = FakeOllama(models=(model,))
    sampling = Sampling(max_tokens=60, reasoning=mode)  # type: ignore[arg-type]

    await fake.generator(model=model).complete(ASK, sampling)

    assert fake.chats[0]["think"] == think


@pytest.mark.parametrize(("given", "sent"), [("-1", -1), ("600", 600), ("1h30m", "1h30m")])
async def test_keep_alive_is_a_duration_or_a_number_of_seconds(given: str, sent: object) -> None:
    fake = FakeOllama()

    await fake.generator(keep_alive=given).complete(ASK, SHORT)

    assert fake.chats[0]["keep_alive"] == sent


# --- reasoning ---------------------------------------------------------------------------------


@both_ways
async def test_reasoning_is_kept_apart_from_the_answer(stream: bool) -> None:
    fake = FakeOllama(thinking=("Let me ", "think."), pieces=("42",))

    completion = await told(fake.generator(), stream=stream)

    assert (completion.text, completion.reasoning) == ("42", "Let me think.")


async def test_reasoning_is_streamed_as_such() -> None:
    fake = FakeOllama(thinking=("Hm. ",), pieces=("42",))

    *deltas, _ = await drained(fake.generator())

    assert deltas == [ReasoningDelta("Hm. "), TextDelta("42")]


@both_ways
async def test_a_think_block_in_the_text_is_reasoning_too(stream: bool) -> None:
    fake = FakeOllama(pieces=("<thi", "nk>Hm.</th", "ink>\n\n4", "2"))

    completion = await told(fake.generator(), stream=stream)

    assert (completion.text, completion.reasoning) == ("42", "Hm.")


@both_ways
async def test_an_answer_that_was_all_reasoning_says_what_to_raise(stream: bool) -> None:
    fake = FakeOllama(thinking=("a", "b", "c"))

    with pytest.raises(ReasoningSpentAll, match="all 2 tokens") as caught:
        await told(fake.generator(), stream=stream, sampling=Sampling(max_tokens=2))

    assert caught.value.setting == "LLM_MAX_TOKENS"


@both_ways
async def test_a_model_that_says_nothing_at_all_gave_an_empty_answer(stream: bool) -> None:
    completion = await told(FakeOllama(pieces=()).generator(), stream=stream)

    assert (completion.text, completion.finish_reason) == ("", "stop")


async def test_counts_that_are_left_out_are_zero() -> None:
    response = streamed(line("42") + last(prompt=0, answer=0))
    fake = FakeOllama(instead_of_chat=lambda _: response, loaded={MODEL: 512})

    usage = (await fake.generator().complete(ASK, SHORT)).usage

    assert (usage.prompt_tokens, usage.completion_tokens) == (0, 0)


# --- the model ---------------------------------------------------------------------------------


async def test_the_smallest_window_is_the_window() -> None:
    fake = FakeOllama()

    served = await fake.generator(window=8192).served()

    assert (served.context_window, served.asked_window) == (8192, 8192)
    assert (served.trained_window, served.quantization) == (TRAINED, "Q4_K_M")
    assert "num_ctx" in served.origin


async def test_a_model_trained_on_less_has_that_window() -> None:
    served = await FakeOllama(trained=2048).generator(window=8192).served()

    assert (served.context_window, served.origin) == (2048, "/api/show")


async def test_a_model_loaded_with_less_has_that_window() -> None:
    fake = FakeOllama(loaded={MODEL: 4096})

    served = await fake.generator(window=8192).served()

    assert (served.context_window, served.origin) == (4096, "/api/ps")


async def test_the_server_is_asked_once_and_again_when_it_must_be_fresh() -> None:
    fake = FakeOllama()
    generator = fake.generator()

    for _ in range(3):
        await generator.served()
    asked = len(fake.requests)
    await generator.served(fresh=True)

    assert (asked, len(fake.requests)) == (2, 4)


@pytest.mark.parametrize("model", [MODEL, "llama3.2", "llama3.2:latest"])
async def test_the_check_knows_a_model_with_and_without_its_default_tag(model: str) -> None:
    said = await FakeOllama().generator(model=model).check()

    assert model in said
    assert "0.40.2" in said

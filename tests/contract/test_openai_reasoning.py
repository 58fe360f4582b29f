"""The model's reasoning: how it is switched, and that it is never part of the answer."""

from __future__ import annotations

import pytest

from backend.adapters._chat_wire import ReasoningSwitch
from backend.adapters.generators._requests import Dialect
from backend.core.errors import (
    ReasoningSpentAll,
)
from backend.core.types import (
    Completion,
    ReasoningDelta,
    ReasoningMode,
    Sampling,
    TextDelta,
)
from tests.fakes.openai_wire import (
    USAGE,
    answering,
    body_sent,
    delta,
    drained,
    over_wire,
    sse,
    streamed,
    told,
)

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@pytest.mark.parametrize(
    ("switch", "dialect", "mode", "sent"),
    [
        ("enable_thinking", "vllm", "on", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("enable_thinking", "llamacpp", "on", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("reasoning_effort", "vllm", "on", {"reasoning_effort": "medium"}),
        ("reasoning_effort", "vllm", "off", {"reasoning_effort": "low"}),
        (
            "reasoning_effort",
            "llamacpp",
            "off",
            {"chat_template_kwargs": {"reasoning_effort": "low"}},
        ),
        ("none", "vllm", "off", {}),
        ("enable_thinking", "vllm", "auto", {}),
        ("reasoning_effort", "vllm", "auto", {}),
    ],
)
async def test_reasoning_is_switched_as_the_model_understands_it(
    switch: ReasoningSwitch, dialect: Dialect, mode: ReasoningMode, sent: dict[str, object]
) -> None:
    body = await body_sent(Sampling(7, reasoning=mode), dialect=dialect, switch=switch)

    said = {key: body[key] for key in ("reasoning_effort", "chat_template_kwargs") if key in body}
    assert said == sent


@both_ways
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_is_never_part_of_the_answer(field: str, stream: bool) -> None:
    thinking = {field: "Let me think"}
    events = [delta(None, None, **thinking), delta("42", "stop"), {"choices": [], "usage": USAGE}]
    response = streamed(sse(*events))

    completion = await told(answering(response), stream=stream)

    assert completion.text == "42"


@both_ways
@pytest.mark.parametrize("thinking", [{"reasoning": "Let me think"}, {}], ids=["shown", "hidden"])
async def test_an_answer_that_was_all_reasoning_says_what_to_raise(
    thinking: dict[str, object], stream: bool
) -> None:
    events = [delta(None, "length", **thinking), {"choices": [], "usage": USAGE}]
    response = streamed(sse(*events))

    with pytest.raises(ReasoningSpentAll, match=r"4 tokens on reasoning.*LLM_MAX_TOKENS") as caught:
        await told(answering(response), stream=stream)

    assert (caught.value.spent_tokens, caught.value.setting) == (4, "LLM_MAX_TOKENS")


@both_ways
async def test_reasoning_that_was_never_closed_spent_all(stream: bool) -> None:
    response = streamed(sse(delta("<think>Let me"), delta(" see", "length"), {"usage": USAGE}))

    with pytest.raises(ReasoningSpentAll):
        await told(answering(response), stream=stream)


REASONED = {
    "reasoning": [delta(reasoning="Let me"), delta(reasoning=" see"), delta("\n\n42", "stop")],
    "reasoning_content": [delta(reasoning_content="Let me see"), delta("42", "stop")],
    "both names": [
        delta(reasoning="Let me see", reasoning_content="Let me see"),
        delta("42", "stop"),
    ],
    "a block": [delta("<thi"), delta("nk>Let me"), delta(" see</think"), delta(">\n\n42", "stop")],
}


@both_ways
@pytest.mark.parametrize("name", REASONED)
async def test_reasoning_is_told_apart_from_the_answer(name: str, stream: bool) -> None:
    response = streamed(sse(*REASONED[name], {"choices": [], "usage": USAGE}))

    completion = await told(answering(response), stream=stream)

    assert (completion.text, completion.reasoning) == ("42", "Let me see")


async def test_reasoning_is_streamed_apart_from_the_answer() -> None:
    response = streamed(sse(*REASONED["reasoning"], {"choices": [], "usage": USAGE}))

    *deltas, _ = await drained(answering(response))

    assert deltas == [ReasoningDelta("Let me"), ReasoningDelta(" see"), TextDelta("42")]


async def test_a_tag_in_the_text_of_a_server_that_tells_reasoning_apart_is_text() -> None:
    events = [delta(reasoning="hm"), delta("Say <think>"), delta("x</think>", "stop")]
    response = streamed(sse(*events, {"choices": [], "usage": USAGE}))

    completion = await told(answering(response), stream=False)

    assert completion.text == "Say <think>x</think>"


async def test_reasoning_that_the_template_opened_is_no_answer() -> None:
    response = streamed(sse(delta("Let me see</think>42", "stop"), {"usage": USAGE}))
    generator = over_wire(lambda _: response, think_opened=True)

    completion = await told(generator, stream=False)

    assert (completion.text, completion.reasoning) == ("42", "Let me see")


async def test_an_answer_that_ends_like_a_tag_is_whole() -> None:
    response = streamed(sse(delta("1 <"), delta("th", "stop"), {"usage": USAGE}))

    *deltas, last = await drained(answering(response))

    assert isinstance(last, Completion)
    assert last.text == "1 <th"
    assert deltas == [TextDelta("1 "), TextDelta("<th")]

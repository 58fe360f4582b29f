from __future__ import annotations

import asyncio
import re
from contextlib import aclosing

import pytest

from backend.core.errors import (
    ContextOverflow,
    DependencyTimeout,
    Overloaded,
    SummaryPartFailed,
    UnusableCompletion,
)
from backend.core.summaries import (
    FinishedPart,
    SummaryProcessing,
)
from backend.services.gate import Yielded
from tests.fakes.summaries import (
    Checks,
    Reply,
    Seen,
    Sleeps,
    SummarizingModel,
    short_answer,
    summarizer,
)
from tests.fakes.summary_tasks import (
    SHORT,
    events_of,
    key,
    last,
    map_prompts,
    marked_document,
    marks_in_order,
    of_kind,
    task,
)


def refusing(times: int) -> Checks:
    """The first ``times`` texts are of no use."""
    left = iter(["nonsense"] * times)
    return Checks(lambda text, source: next(left, None))


async def test_a_text_of_no_use_is_asked_for_again_in_other_words() -> None:
    model = SummarizingModel()

    summary = last(await events_of(summarizer(model, checks=refusing(2)), task(SHORT)))

    assert summary.text.startswith("Answer 3")
    first, _, third = (seen.sampling for seen in model.seen)
    assert third.temperature > first.temperature
    assert third.seed != first.seed
    assert "last answer was too long or of no use" in model.seen[2].prompt
    assert summary.tokens.prompt_tokens == sum(seen.tokens for seen in model.seen)


async def test_a_part_that_fails_for_good_fails_the_whole_and_says_which_and_why() -> None:
    text, _ = marked_document(12_000)

    checks = Checks(lambda text, source: "nonsense" if "MARK0006b" in source else None)
    model = SummarizingModel()

    with pytest.raises(SummaryPartFailed) as raised:
        await events_of(summarizer(model, checks=checks), task(text))

    failed = [prompt for prompt in map_prompts(model) if "MARK0006b" in prompt]
    assert len(failed) == 3
    assert raised.value.cause == "unusable_completion"
    assert f"Part {raised.value.part} of {raised.value.parts}" in str(raised.value)
    assert model.running == 0


async def test_a_server_that_fails_once_is_asked_once_more() -> None:
    timeout = DependencyTimeout("late", dependency="scripted")
    model = SummarizingModel(lambda seen, number: timeout if number == 1 else "It held.")

    assert last(await events_of(summarizer(model), task(SHORT))).text == "It held."
    assert len(model.seen) == 2


async def test_a_server_that_fails_twice_fails_the_part() -> None:
    timeout = DependencyTimeout("late", dependency="scripted")
    model = SummarizingModel(lambda seen, number: timeout)

    with pytest.raises(SummaryPartFailed) as raised:
        await events_of(summarizer(model), task(SHORT))

    assert (raised.value.cause, len(model.seen)) == ("dependency_timeout", 2)
    assert raised.value.__cause__ is timeout


async def test_a_full_queue_is_waited_for() -> None:
    full = Overloaded("full", retry_after_s=7)
    model = SummarizingModel(lambda seen, number: full if number < 4 else "It held.")
    sleeps = Sleeps()

    assert last(await events_of(summarizer(model, sleeps=sleeps), task(SHORT))).text == "It held."
    assert sleeps.seconds == [7, 7, 7]


async def test_who_waits_for_a_server_that_stays_full_is_told() -> None:
    model = SummarizingModel(lambda seen, number: Overloaded("full", retry_after_s=60))
    sleeps = Sleeps()

    with pytest.raises(Overloaded):
        await events_of(summarizer(model, sleeps=sleeps), task(SHORT))

    assert sum(sleeps.seconds) == 300
    assert model.running == 0


async def test_background_work_waits_for_a_full_server_as_long_as_it_takes() -> None:
    full = Overloaded("full", retry_after_s=300)
    model = SummarizingModel(lambda seen, number: full if number < 40 else "It held.")

    summary = last(await events_of(summarizer(model), task(SHORT, background=True)))

    assert summary.text == "It held."


async def test_background_work_that_gave_way_goes_on_and_loses_no_finished_part() -> None:
    text, marks = marked_document(12_000)
    gave_way = iter([3, 5])
    when = [next(gave_way)]

    def answer(seen: Seen, number: int) -> Reply:
        if number == when[0]:
            when[0] = next(gave_way, 0)
            return Yielded()
        return short_answer(seen, number)

    model = SummarizingModel(answer)

    await events_of(summarizer(model), task(text, background=True))

    assert marks_in_order(model) == marks
    assert len(model.seen) == len(model.answered) + 2


async def test_a_part_that_is_cut_is_split_and_every_mark_is_in_an_answered_prompt() -> None:
    text, marks = marked_document(8000)

    def answer(seen: Seen, number: int) -> Reply:
        return ("It goes on and", "length") if seen.tokens > 1200 else "It held."

    model = SummarizingModel(answer)

    summary = last(await events_of(summarizer(model), task(text)))

    whole = [seen for seen in model.seen if not seen.is_merge and seen.tokens <= 1200]
    found = sorted(mark for seen in whole for mark in re.findall(r"MARK\d+[abc]", seen.prompt))
    assert found == marks
    assert "It goes on and" not in summary.text


async def test_a_part_that_is_always_cut_is_an_error_after_a_few_calls() -> None:
    text, _ = marked_document(3000)
    model = SummarizingModel(lambda seen, number: ("On and on", "length"))

    with pytest.raises(SummaryPartFailed) as raised:
        await events_of(summarizer(model, parallel=1), task(text))

    assert raised.value.cause == "unusable_completion"
    assert len(model.seen) < 25


async def test_a_last_text_that_is_cut_is_asked_for_again_shorter_and_never_taken() -> None:
    model = SummarizingModel(
        lambda seen, number: ("On and on", "length") if number == 1 else "Short."
    )

    summary = last(await events_of(summarizer(model), task(SHORT)))

    words = [int(re.findall(r"at most (\d+) words", seen.prompt)[0]) for seen in model.seen]
    assert summary.text == "Short."
    assert words[1] < words[0]
    assert model.seen[1].sampling.max_tokens == 256


async def test_a_merge_longer_than_its_inputs_is_asked_for_again_then_an_error() -> None:
    """Where another level follows: the levels would not come to an end."""
    text, _ = marked_document(40_000)
    model = SummarizingModel(
        lambda seen, number: "Long. " * 200 if seen.is_merge else short_answer(seen, number),
        window=2048,
    )

    with pytest.raises(SummaryPartFailed, match="could not be merged"):
        await events_of(summarizer(model, parallel=1), task(text, wanted=key(max_tokens=600)))

    assert 3 <= sum(seen.is_merge for seen in model.seen) <= 6  # two groups, three tries each


async def test_a_last_merge_may_be_longer_than_its_short_inputs() -> None:
    text, _ = marked_document(6000)
    long = "Long. " * 60
    model = SummarizingModel(lambda seen, number: long if seen.is_merge else "It held.")

    summary = last(
        await events_of(summarizer(model, parallel=2), task(text, wanted=key(max_tokens=600)))
    )

    assert summary.text == long.strip()
    assert sum(seen.is_merge for seen in model.seen) == 1


async def test_a_window_that_shrank_has_the_rest_cut_anew() -> None:
    text, marks = marked_document(24_000)

    def answer(seen: Seen, number: int) -> Reply:
        if number == 3:
            model.window = 1024
        return short_answer(seen, number)

    model = SummarizingModel(answer, window=2048)

    events = await events_of(summarizer(model, parallel=1), task(text))

    assert marks_in_order(model) == marks
    first, second = of_kind(events, SummaryProcessing)
    assert second.parts > first.parts


async def test_a_window_that_keeps_shrinking_is_an_error() -> None:
    text, _ = marked_document(24_000)

    def answer(seen: Seen, number: int) -> Reply:
        model.window = 2048 - number * 300
        return short_answer(seen, number)

    model = SummarizingModel(answer, window=2048)

    with pytest.raises(ContextOverflow):
        await events_of(summarizer(model, parallel=1), task(text))


# --- stopping and going on -------------------------------------------------------------------


async def test_leaving_stops_every_call_at_once() -> None:
    text, _ = marked_document(24_000)
    model = SummarizingModel()
    model.gate.clear()

    async with aclosing(summarizer(model).run(task(text))) as events:
        async for event in events:
            if isinstance(event, SummaryProcessing):
                break
        while model.running < 4:
            await asyncio.sleep(0)

    assert model.running == 0


async def test_a_failed_part_stops_the_others() -> None:
    text, _ = marked_document(24_000)
    timeout = DependencyTimeout("late", dependency="scripted")
    model = SummarizingModel(
        lambda seen, number: timeout if "MARK0000a" in seen.prompt else "It held."
    )

    with pytest.raises(SummaryPartFailed):
        await events_of(summarizer(model), task(text))

    assert model.running == 0


@pytest.mark.parametrize("crash_after", [1, 4, 9])
async def test_finished_calls_are_not_made_again_after_a_crash(crash_after: int) -> None:
    text, marks = marked_document(16_000)
    kept: list[FinishedPart] = []
    model = SummarizingModel(window=1024)
    async with aclosing(summarizer(model, parallel=1).run(task(text, kept=kept))) as events:
        async for _ in events:
            if len(kept) > crash_after:
                break
    before = list(kept)
    done = sum(part.stage == "map" and part.level == 0 for part in before)
    model.answered.clear()

    # Another process: a window and a number of places it would cut differently for.
    model.window = 4096
    engine = summarizer(model, parallel=7)
    summary = last(await events_of(engine, task(text, finished=before, kept=kept)))

    assert done >= crash_after
    assert marks_in_order(model) == [m for m in marks if m in "".join(map_prompts(model))]
    assert len(map_prompts(model)) == summary.parts - done
    hashes = [part.input_sha256 for part in kept]
    assert len(hashes) == len(set(hashes))
    places = [(part.stage, part.level, part.index) for part in kept]
    assert len(places) == len(set(places))
    assert summary.tokens.prompt_tokens == sum(part.usage.prompt_tokens for part in kept)


async def test_what_a_run_learned_of_the_speed_helps_the_next_one() -> None:
    engine = summarizer(SummarizingModel())
    await events_of(engine, task(SHORT))

    events = await events_of(engine, task(SHORT))

    assert of_kind(events, SummaryProcessing)[0].eta is not None


async def test_no_prompt_is_over_the_window_by_the_servers_own_count() -> None:
    text, _ = marked_document(24_000)
    model = SummarizingModel(window=900)

    await events_of(summarizer(model), task(text, wanted=key(structured=True)))

    assert all(seen.tokens + seen.sampling.max_tokens <= 900 - 16 for seen in model.seen)


# --- structure -------------------------------------------------------------------------------


def cut_if_longer_than(tokens: int, seen: Seen, number: int) -> Reply:
    if seen.is_structure and seen.tokens > tokens:
        return '{"decisions": [', "length"
    return short_answer(seen, number)


async def test_a_structure_that_is_cut_is_asked_of_the_halves_at_once() -> None:
    text, marks = marked_document(6000)
    model = SummarizingModel(lambda seen, number: cut_if_longer_than(700, seen, number))

    summary = last(await events_of(summarizer(model), task(text, wanted=key(structured=True))))

    asked = [seen for seen in model.seen if seen.is_structure]
    whole = "".join(seen.prompt for seen in asked if seen.tokens <= 700)
    assert sorted(re.findall(r"MARK\d+[abc]", whole)) == marks
    assert len({seen.prompt for seen in asked}) == len(asked)
    assert summary.structure is not None
    assert len(summary.structure.topics) > summary.parts


async def test_a_structure_that_is_always_cut_fails_the_part_and_keeps_the_prose() -> None:
    text, _ = marked_document(3000)
    model = SummarizingModel(lambda seen, number: cut_if_longer_than(0, seen, number))
    kept: list[FinishedPart] = []

    work = task(text, wanted=key(structured=True), kept=kept)

    with pytest.raises(SummaryPartFailed) as raised:
        await events_of(summarizer(model), work)

    assert raised.value.cause == "unusable_completion"
    assert isinstance(raised.value.__cause__, UnusableCompletion)
    assert sum(seen.is_structure for seen in model.seen) < 50
    assert any(part.level == 0 for part in kept)

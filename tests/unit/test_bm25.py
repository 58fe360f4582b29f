from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.adapters.sparse.bm25 import BilingualBm25

BM25 = BilingualBm25()


def matches(question: str, text: str) -> bool:
    return bool(set(BM25.query(question).indices) & set(BM25.document(text).indices))


def score(question: str, text: str) -> float:
    document = BM25.document(text)
    weights = dict(zip(document.indices, document.values, strict=True))
    return sum(weights.get(term, 0.0) for term in BM25.query(question).indices)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("дедлайны", "Дедлайн проекта"),
        ("deadline", "All DEADLINES are met"),
        ("елка", "Ёлка стоит"),
        ("Ёлка", "ЕЛКУ убрали"),
        ("замок", "за\u0301мок"),
        ("переносом", "пере\u00adнос срока"),
        ("дедлайн release", "the releases of March"),
        ("2231", "счёт INV-2231"),
        ("inv-2231", "Счёт INV-2231 оплачен."),
        ("12-А/2026", "договор № 12-А/2026 от 3 мая"),
        ("v1.2.3", "release v1.2.3 is out"),
        ("ivan.petrov@mail.example", "пишите на Ivan.Petrov@mail.example."),
    ],
)
def test_a_question_finds_the_word_in_another_form(question: str, text: str) -> None:
    assert matches(question, text)


@pytest.mark.parametrize("words", ["и в на что где", "the of what is", "", "— …", "\x00"])
def test_words_that_say_nothing_make_an_empty_query(words: str) -> None:
    assert BM25.query(words).indices == ()


def test_a_code_as_a_whole_ranks_above_its_parts() -> None:
    assert score("№ 12-А/2026", "договор 12-А/2026") > score("№ 12-А/2026", "12 встреч в 2026")


def test_a_code_is_found_with_the_other_keyboard_layout() -> None:
    cyrillic, latin = "12-\u0410\u0412/2026", "12-AB/2026"

    assert score(latin, cyrillic) > score(latin, "12 2026")


def test_repeated_words_count_more_but_with_less_and_less_gain() -> None:
    once, twice, often = (score("план", "план " * n + "слово " * (9 - n)) for n in (1, 2, 8))

    assert once < twice < often < 4 * once


def test_a_match_in_a_short_text_counts_more_than_in_a_long_one() -> None:
    assert score("план", "план работ") > score("план", "план работ " + "другое слово " * 100)


def test_length_is_measured_over_both_languages() -> None:
    assert score("план", "план") > score("план", "план " + "deadline " * 200)


@settings(deadline=None)
@given(st.text())
def test_indices_are_sorted_unique_and_weights_positive(text: str) -> None:
    for vector in (BM25.document(text), BM25.query(text)):
        assert list(vector.indices) == sorted(set(vector.indices))
        assert len(vector.indices) == len(vector.values)
        assert all(0 <= index < 2**32 for index in vector.indices)
        assert all(value > 0 for value in vector.values)
    assert BM25.query(text).indices == BM25.document(text).indices

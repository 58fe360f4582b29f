from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.sentences import paragraph_spans, sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "ООО «Ромашка» (г. Москва, ул. Ленина, д. 5, стр. 2) платит 100 тыс. руб. в месяц.",
        "Отв. И. И. Иванов и А.С. Пушкин согласны.",
        "Поставка, монтаж и т.д. входят в цену, т.е. в 5 млн. рублей.",
        "• Т-01. Приёмка идёт по заказам.",
        "4.1. Приёмка и размещение",
        "Рис. 2. Схема участка",
        "В 2025 г. Петров перешёл в другой отдел.",
        "Договор № 12-А/2026 от 15.01.2027 действует до 1 марта.",
        "Mr. Smith and Dr. J. Doe paid $3.14, e.g. for No. 5 in the U.S. market.",
        "See https://example.com/a.b?c=1.2 or mail a.b@c.example for v1.2.3 of it.",
        "«Стой!» — крикнул он.",
        "Тишина... и снова шаги.",
        "Это длинная строка прозы, которая переносится на следующую\nстраницу и там кончается.",
        "Имя: Иван; Роль: руководитель. Отдел: 5; Срок: 1.02.2027",
        "Этап 1 | Сдача. Приёмка | 15 мая",
    ],
)
def test_what_belongs_together_stays_one_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Первое. Второе! Третье?", ["Первое.", "Второе!", "Третье?"]),
        ("Договор подписан 3 мая 2026 г. Оплата позже.", None),
        ("Цена 100 руб. Срок неделя.", ["Цена 100 руб.", "Срок неделя."]),
        ("И так далее, и т.д. Конец.", ["И так далее, и т.д.", "Конец."]),
        ("Он сказал «да». (Она — «нет».) Всё…", ["Он сказал «да».", "(Она — «нет».)", "Всё…"]),
        ("We left at 5 p.m. They stayed.", ["We left at 5 p.m.", "They stayed."]),
        (
            "Повестка\n1. Сроки\n2. Бюджет\n- прочее",
            ["Повестка", "1. Сроки", "2. Бюджет", "- прочее"],
        ),
        ("Тема: план\nОт: a@b.example\nДата: 1.02.2027", None),
        ("[10:32] Оля: привет\n[10:33] Лев: да", ["[10:32] Оля: привет", "[10:33] Лев: да"]),
        ("Один абзац\n\nДругой абзац", ["Один абзац", "Другой абзац"]),
        ("Имя\tСрок\nИван\t1 мая", ["Имя\tСрок", "Иван\t1 мая"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str] | None) -> None:
    found = sentences(text)

    if expected is None:
        assert len(found) > 1
    else:
        assert found == expected


PIECES = st.sampled_from(
    [
        *"абвAb .!?…\n\t;:|«»()-1\u00a0",
        ". ",
        "\n\n",
        "т.д. ",
        "г. ",
        "3.14",
        "Mr. ",
        "- ",
        "и\u0306",
    ]
)


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_spans_are_ordered_disjoint_trimmed_and_cover_all_text(text: str) -> None:
    for spans in (sentence_spans(text), paragraph_spans(text)):
        end_of_last = 0
        for start, end in spans:
            assert end_of_last <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            assert not text[end_of_last:start].strip()
            end_of_last = end
        assert not text[end_of_last:].strip()


@settings(deadline=None)
@given(st.lists(PIECES).map("".join))
def test_a_sentence_never_crosses_a_blank_line(text: str) -> None:
    for sentence in sentences(text):
        assert all(line.strip() for line in sentence.split("\n"))

"""The cases a reader would object to: each answer stands beside what must be said of it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.citations import CheckedAnswer, Citation, check_by_words, conclude
from backend.core.types import Chunk, DocType, StoredChunk
from tests.factories import stored

_BM25 = BilingualBm25()


def terms(text: str) -> frozenset[int]:
    return frozenset(_BM25.query(text).indices)


def chunk(
    text: str, source: str = "notes.txt", heading: tuple[str, ...] = (), start: int = 0
) -> StoredChunk:
    piece = Chunk(0, text, start, start + len(text), 10, None, heading)
    return StoredChunk(f"id-{source}", source, DocType.UNSTRUCTURED, piece)


PLAN = chunk(
    "Этап 1 (обследование) завершается 15.01.2027. Этап 2 (пилот на складе в Твери) — до 30 марта "
    "2027 г. Ответственная за пилот — Ирина Соколова. Пилот продлится три недели.",
    "plan/plan.docx",
    ("План внедрения", "Сроки"),
    start=100,
)
CONTRACT = chunk(
    "Стоимость работ составляет 1 200 000 рублей без НДС. Аванс 30% выплачивается в течение 10 "
    "рабочих дней. Штраф за просрочку — 0,1% в день, но не более 5%. Договор не продлевается "
    "автоматически. Счета направляются на адрес buh@vektor.example.",
    "contracts/vektor.pdf",
    ("Договор № 17/2026", "Цена"),
)
MAIL = chunk(
    "From: Peter Lang. The server migration is postponed: new deadline is January 29, 2027. "
    "Budget for hosting was not approved by the board. The audit takes three weeks.",
    "mail/2026-11-03.eml",
)
NOTE = chunk(
    "Павел Орлов: гарантийный срок на оборудование — 24 месяца. "
    "Доставка бесплатная при заказе от 50 тыс. рублей.",
)
PRICES = chunk(
    "Товар | Цена, руб. | Срок, дней\nНасос QX-200 | 45 000 | 10\nФильтр F-12 | 3 500 | 5",
    "price.xlsx",
)
CHUNKS = [PLAN, CONTRACT, MAIL, NOTE, PRICES]


def check(answer: str, question: str = "Что сказано в документах?") -> CheckedAnswer:
    """By words alone: what only meaning could decide counts as not found."""
    draft = check_by_words(answer, question, CHUNKS, terms)
    return conclude(draft, [[0.0] * len(asked.pieces) for asked in draft.open_questions])


def only(answer: str, question: str = "Что сказано в документах?") -> Citation:
    (citation,) = check(answer, question).citations
    return citation


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        ("Договор не продлевается автоматически [2].", "Договор не продлевается автоматически."),
        (
            "Budget for hosting was not approved by the board [3].",
            "Budget for hosting was not approved by the board.",
        ),
        (
            "В записке сказано: «Доставка бесплатная при заказе» [4].",
            "Доставка бесплатная при заказе от 50 тыс. рублей.",
        ),
    ],
)
def test_words_taken_over_verbatim_are_exact(answer, quote):
    citation = only(answer)

    assert (citation.status, citation.method, citation.quote) == ("exact", "verbatim", quote)


@pytest.mark.parametrize(
    ("answer", "piece_of_quote"),
    [
        ("Этап 1 завершается 15 января 2027 года [1].", "15.01.2027"),
        ("Этап 1 завершается 2027-01-15 [1].", "15.01.2027"),
        ("Этап 1 (обследование) завершается 15 января [1].", "15.01.2027"),
        ("Пилот на складе в Твери — до 30.03.2027 [1].", "30 марта 2027 г."),
        ("Стоимость работ — 1,2 млн рублей [2].", "1 200 000"),
        ("Стоимость работ без НДС: 1,200,000 руб. [2]", "1 200 000"),
        ("Аванс 30 процентов выплачивается в течение десяти рабочих дней [2].", "30%"),
        ("Пилот продлится 3 недели [1].", "три недели"),
        ("The audit takes 3 weeks [3].", "three weeks"),
        ("The new deadline of the server migration is 29.01.2027 [3].", "January 29, 2027"),
        ("Штраф за просрочку не превышает 5% [2].", "не более 5%"),
        ("За пилот отвечает Ирина Соколова [1].", "Ирина Соколова"),
        ("Пилотом на складе в Твери занимается этап 2 [1].", "Твери"),
        ("Доставка бесплатна при заказе от 50 000 рублей [4].", "50 тыс."),
        ("Счета направляют на buh@vektor.example [2].", "buh@vektor.example"),
        ("Насос QX-200 стоит 45 000 рублей [5].", "QX-200"),
        ("Срок поставки фильтра F12 — 5 дней [5].", "F-12"),
    ],
)
def test_other_notations_and_word_forms_are_normalized(answer, piece_of_quote):
    citation = only(answer)

    assert citation.status == "normalized"
    assert piece_of_quote in citation.quote


@pytest.mark.parametrize(
    "answer",
    [
        "Этап 1 завершается 16 января 2027 года [1].",
        "Этап 1 завершается 15 января 2028 года [1].",
        "Этап 2 (пилот на складе в Твери) — до 15.01.2027 [1].",
        "Стоимость работ составляет 1 300 000 рублей без НДС [2].",
        "Стоимость работ составляет 1 200 000 долларов без НДС [2].",
        "Аванс 35% выплачивается в течение 10 рабочих дней [2].",
        "Аванс 30% выплачивается в течение 10 календарных дней [2].",
        "Аванс 30% выплачивается в течение 10 рабочих недель [2].",
        "Штраф за просрочку — не менее 5% [2].",
        "Штраф за просрочку — 5 рублей [2].",
        "Пилот продлится три месяца [1].",
        "За пилот отвечает Пётр Соколов [1].",
        "Анна Соколова отвечает за пилот [1].",
        "Орлов отвечает за пилот [1].",
        "Пилот на складе в Казани — до 30 марта 2027 г. [1]",
        "Договор продлевается автоматически [2].",
        "Бюджет на хостинг утверждён советом [3].",
        "Budget for hosting was approved by the board [3].",
        "The board approved the budget for hosting [3].",
        "Доставка платная при заказе от 50 тыс. рублей [4].",
        "Счета направляются на адрес buh@sever.example [2].",
        "Насос QX-200 стоит 3 500 рублей [5].",
        "Насос QX-300 стоит 45 000 рублей [5].",
        "Погода завтра будет хорошая [1].",
    ],
)
def test_a_changed_figure_name_or_negation_is_not_found(answer):
    citation = only(answer)

    assert (citation.status, citation.reason) == ("unsupported", "not_found")
    assert citation.quote == ""
    assert citation.char_start is None


@pytest.mark.parametrize(
    ("question", "answer", "status"),
    [
        ("Когда завершается этап 1?", "15 января 2027 [1]", "normalized"),
        ("Когда завершается этап 2?", "15 января 2027 [1]", "unsupported"),
        ("Когда завершается этап 2?", "30 марта 2027 г. [1]", "exact"),
        ("Кто отвечает за пилот?", "Ирина Соколова [1]", "exact"),
        ("Кто отвечает за пилот?", "Соколова [1].", "exact"),
        ("Сколько стоят работы?", "1 200 000 рублей [2]", "exact"),
        ("Кто подписал договор?", "Ирина Соколова [2]", "unsupported"),
        ("Продлевается ли договор автоматически?", "Нет [2].", "normalized"),
        ("Продлевается ли договор автоматически?", "Да [2].", "unsupported"),
        ("Was the hosting budget approved?", "No [3].", "normalized"),
        ("Was the hosting budget approved?", "Yes [3].", "unsupported"),
        ("Is the server migration postponed?", "Yes [3].", "normalized"),
        ("Правда ли, что этап 1 завершается 20 января?", "Да [1].", "unsupported"),
    ],
)
def test_a_short_answer_is_judged_with_its_question(question, answer, status):
    citations = check(answer, question).citations

    assert [c.status if c.reason != "misplaced" else "unsupported" for c in citations] == [status]


@pytest.mark.parametrize("marker", ["[6]", "[0]", "[99]", "[2027]", "【7】"])
def test_an_invented_marker_is_reported(marker):
    citation = only(f"Договор не продлевается автоматически {marker}.")

    assert (citation.status, citation.reason) == ("unsupported", "no_such_source")
    assert citation.doc_id is None


def test_a_misplaced_marker_says_where_the_statement_is():
    citation = only("Договор не продлевается автоматически [4].")

    assert (citation.status, citation.reason) == ("unsupported", "misplaced")
    assert citation.better_marker == 2
    assert citation.quote == ""


def test_a_right_marker_beside_a_wrong_one_stays_right():
    right, wrong = check("Договор не продлевается автоматически [2][4].").citations

    assert (right.status, wrong.reason) == ("exact", "misplaced")


def test_two_sources_may_support_a_statement_together():
    answer = (
        "За пилот отвечает Ирина Соколова, гарантийный срок на оборудование — 24 месяца [1][4]."
    )

    first, second = check(answer).citations

    assert (first.status, second.status) == ("normalized", "normalized")
    assert "Соколова" in first.quote
    assert "24 месяца" in second.quote


def test_each_marker_of_a_sentence_stands_for_its_own_part():
    answer = "Гарантийный срок — 24 месяца [4], а договор не продлевается автоматически [2]."

    first, second = check(answer).citations

    assert (first.marker, first.status) == (4, "normalized")
    assert (second.marker, second.status) == (2, "normalized")
    assert "24" not in second.quote


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        ("[1]", [1]),
        ("[1, 2]", [1, 2]),
        ("[1][2]", [1, 2]),
        ("[1-3]", [1, 2, 3]),
        ("[1–3]", [1, 2, 3]),
        ("[1] и [3]", [1, 3]),
        ("【1】", [1]),
        ("【2†L3-L5】", [2]),
        ("[Источник 1]", [1]),
        ("[источники 1 и 2]", [1, 2]),
        ("[source 2]", [2]),
        ("(Source 3)", [3]),
        ("[^2]", [2]),
        ("[1, стр. 4]", [1]),
        ("[1; 3]", [1, 3]),
    ],
)
def test_markers_are_read_in_the_forms_models_write(written, numbers):
    citations = check(f"Договор не продлевается автоматически {written}.").citations

    assert [c.marker for c in citations] == numbers


def test_a_marker_is_located_in_the_answer():
    answer = "Пилот продлится **три недели** [1]. Ещё."

    citation = only(answer)

    assert answer[citation.answer_start : citation.answer_end] == "[1]"
    assert citation.statement == "Пилот продлится три недели."


@pytest.mark.parametrize(
    "answer",
    [
        "Пилот продлится три недели [1]. Договор не продлевается автоматически [2].",
        "Пилот продлится три недели. [1] Договор не продлевается автоматически. [2]",
        "[1] Пилот продлится три недели. [2] Договор не продлевается автоматически.",
        "- Пилот продлится три недели [1]\n- Договор не продлевается автоматически [2]",
        "1. Пилот продлится три недели. [1]\n2. Договор не продлевается автоматически. [2]",
        "Пилот продлится три недели\n[1]\nДоговор не продлевается автоматически\n[2]",
    ],
)
def test_a_marker_belongs_to_its_sentence_wherever_it_stands(answer):
    checked = check(answer)

    assert [(c.marker, c.status) for c in checked.citations] == [(1, "exact"), (2, "exact")]
    assert checked.uncited == ()


def test_a_marker_at_the_end_of_a_paragraph_covers_the_sentences_before_it():
    checked = check("Пилот продлится три недели. За пилот отвечает Ирина Соколова [1].")

    assert checked.uncited == ()


def test_it_does_not_cover_what_its_source_does_not_say():
    checked = check("Пилот стоит 9 млн рублей. За пилот отвечает Ирина Соколова [1].")

    assert checked.uncited == ("Пилот стоит 9 млн рублей.",)


def test_a_marker_above_a_list_is_checked_for_every_item():
    checked = check("По плану [1]:\n- Этап 1 — 15 января 2027\n- Этап 2 — 1 мая 2027")

    assert [(c.marker, c.status) for c in checked.citations] == [
        (1, "normalized"),
        (1, "unsupported"),
    ]
    assert checked.uncited == ("Этап 2 — 1 мая 2027",)


def test_a_line_of_sources_at_the_end_stands_for_what_has_no_marker():
    checked = check("Пилот продлится три недели.\n\nИсточники: [1], [4]")

    assert [c.status for c in checked.citations] == ["exact", "unsupported"]
    assert checked.uncited == ()


def test_claims_without_a_marker_are_listed_and_small_talk_is_not():
    checked = check("Вот ответ:\nПилот продлится три недели [1]. Бюджет равен 7 млн. Что ещё?")

    assert checked.uncited == ("Бюджет равен 7 млн.",)


def test_an_answer_without_any_support_is_not_supported():
    assert not check("Погода хорошая [1]. Солнце взошло рано утром [7].").supported
    assert check("Погода хорошая [1]. Пилот продлится три недели [1].").supported


def test_figures_of_different_rows_or_people_do_not_add_up():
    bonus = chunk("Иванов получил 3 млн рублей, Петров получил 5 млн рублей.")

    def status(answer: str) -> str:
        draft = check_by_words(answer, "Кто сколько получил?", [bonus], terms)
        return (
            conclude(draft, [[0.0] * len(q.pieces) for q in draft.open_questions])
            .citations[0]
            .status
        )

    assert status("Петров получил 5 млн рублей [1].") != "unsupported"
    assert status("Петров получил 3 млн рублей [1].") == "unsupported"


def test_the_shortest_piece_that_supports_is_quoted():
    citation = only("Штраф за просрочку — 0,1% в день [2].")

    assert citation.quote == "Штраф за просрочку — 0,1% в день, но не более 5%."


def test_two_sentences_are_quoted_where_one_does_not_say_it_all():
    report = chunk("Ирина Соколова руководит пилотом. Она отвечает за бюджет 5 млн рублей. Всё.")
    answer = "Ирина Соколова отвечает за бюджет 5 млн рублей [1]."

    (citation,) = conclude(check_by_words(answer, "Кто?", [report], terms), []).citations

    assert (
        citation.quote == "Ирина Соколова руководит пилотом. Она отвечает за бюджет 5 млн рублей."
    )


def test_the_quote_knows_its_place_in_the_document():
    citation = only("Пилот продлится три недели [1].")

    at = PLAN.chunk.text.index("Пилот продлится")
    assert (citation.char_start, citation.char_end) == (100 + at, 100 + len(PLAN.chunk.text))
    assert (citation.source, citation.heading) == ("plan/plan.docx", ("План внедрения", "Сроки"))


def test_the_heading_may_say_what_the_quoted_sentence_leaves_out():
    citation = only("По договору № 17/2026 стоимость работ — 1 200 000 рублей [2].")

    assert citation.status == "normalized"


class TestMeaning:
    """Statements words leave open, with the cosines given."""

    def test_a_translation_is_supported_when_its_figures_match(self):
        draft = check_by_words(
            "Новый срок переноса сервера — 29 января 2027 [3].", "Когда?", CHUNKS, terms
        )
        (asked,) = draft.open_questions

        (citation,) = conclude(draft, [[0.9] * len(asked.pieces)]).citations

        assert (citation.status, citation.method) == ("normalized", "meaning")
        assert "January 29, 2027" in citation.quote

    def test_a_translation_below_the_threshold_is_not(self):
        draft = check_by_words(
            "Новый срок переноса сервера — 29 января 2027 [3].", "Когда?", CHUNKS, terms
        )

        (citation,) = conclude(
            draft, [[0.8] * len(q.pieces) for q in draft.open_questions]
        ).citations

        assert citation.status == "unsupported"

    @pytest.mark.parametrize(
        "answer",
        [
            "Новый срок переноса сервера — 30 января 2027 [3].",
            "Перенос сервера поручен Анне Смирновой [3].",
            "Бюджет на хостинг был утверждён правлением [3].",
        ],
    )
    def test_no_cosine_outweighs_a_wrong_figure_name_or_negation(self, answer):
        draft = check_by_words(answer, "Что в письме?", CHUNKS, terms)
        cosines = [[0.99] * len(q.pieces) for q in draft.open_questions]

        (citation,) = conclude(draft, cosines).citations

        assert citation.status == "unsupported" or "approved" not in citation.quote
        assert "January" not in citation.quote

    def test_a_name_is_the_same_in_both_alphabets(self):
        draft = check_by_words("Письмо написал Питер Ланг [3].", "Кто писал?", CHUNKS, terms)

        assert any("Peter Lang" in p for q in draft.open_questions for p in q.pieces)

    def test_what_another_source_means_is_reported_as_misplaced(self):
        draft = check_by_words(
            "Новый срок переноса сервера — 29 января 2027 [4].", "Когда?", CHUNKS, terms
        )

        (citation,) = conclude(
            draft, [[0.95] * len(q.pieces) for q in draft.open_questions]
        ).citations

        assert (citation.reason, citation.better_marker) == ("misplaced", 3)


_PIECES = st.sampled_from(
    [
        *re.split(r"(?<=\.) ", " ".join(c.chunk.text for c in CHUNKS)),
        "Этап 1 — 15 января 2027",
        "\n- ",
        "\n\n",
        "Нет.",
        "**Итог:**",
        "а также",
        "| 5 | 7 |",
        "1.",
        "😀 ",
        "İstanbul ﬁ",
    ]
)
_MARKERS = st.sampled_from(
    [
        "[1]",
        "[2].",
        " [3][4]",
        "[5, 9]",
        "[0]",
        "【1】",
        "[1-3]",
        "",
        "",
        "[12",
        "]",
        "[Источник 2]",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_PIECES, _MARKERS), max_size=8), st.floats(0.5, 1.0))
def test_every_quote_is_cut_from_its_chunk_and_every_marker_is_accounted_for(parts, cosine):
    answer = " ".join(piece + marker for piece, marker in parts)
    draft = check_by_words(answer, "Какие сроки?", CHUNKS, terms)

    checked = conclude(draft, [[cosine] * len(q.pieces) for q in draft.open_questions])

    located = {(c.answer_start, c.answer_end) for c in checked.citations}
    assert {m.span() for m in re.finditer(r"\[\d+\]", answer)} <= located
    for citation in checked.citations:
        assert str(citation.marker) in answer[citation.answer_start : citation.answer_end] or (
            "-" in answer[citation.answer_start : citation.answer_end]
        )
        if citation.status == "unsupported":
            assert (citation.quote, citation.char_start) == ("", None)
            assert citation.reason is not None
            continue
        stored = CHUNKS[citation.marker - 1]
        start = citation.char_start - stored.chunk.start
        assert citation.quote == stored.chunk.text[start : start + len(citation.quote)] != ""
        assert citation.char_end - citation.char_start == len(citation.quote)
        assert citation.doc_id == stored.doc_id


# --- statements without a marker -----------------------------------------------------------------


def test_a_sentence_without_a_marker_is_attributed_to_the_source_that_holds_it() -> None:
    sources = [stored("Меню на среду: борщ."), stored("Срок сдачи — 15 января 2027 года.", 1)]

    answer = "Срок сдачи — 15 января 2027 года. Бюджет равен 7 млн рублей."
    checked = conclude(check_by_words(answer, "Когда срок?", sources, terms), [])

    (found,) = checked.attributed
    assert (found.marker, found.status) == (2, "exact")
    assert found.quote == "Срок сдачи — 15 января 2027 года."
    assert found.answer_start == found.answer_end == len("Срок сдачи — 15 января 2027 года.")
    assert checked.uncited == ("Бюджет равен 7 млн рублей.",)
    assert checked.citations == ()
    assert checked.supported


def test_clauses_that_a_source_says_in_different_places_are_checked_one_by_one() -> None:
    text = (
        "The duty engineer starts the switch to the standby database by hand. Logs are kept. "
        "Backups run at night. Alerts go to the chat. The rehearsal took 7 minutes."
    )
    answer = "The duty engineer starts the switch by hand, and the rehearsal took 7 minutes [1]."

    draft = check_by_words(answer, "Who starts the switch?", [stored(text)], terms)
    first, second = conclude(draft, []).citations

    assert (first.marker, second.marker) == (1, 1)
    assert first.quote.startswith("The duty engineer starts the switch")
    assert second.quote == "The rehearsal took 7 minutes."


def test_a_clause_that_no_source_holds_is_reported_beside_the_one_that_holds() -> None:
    text = "The duty engineer starts the switch to the standby database by hand."
    answer = "The duty engineer starts the switch by hand, and the rehearsal took 9 minutes [1]."

    draft = check_by_words(answer, "Who starts the switch?", [stored(text)], terms)
    cosines = [[0.0] * len(asked.pieces) for asked in draft.open_questions]
    first, second = conclude(draft, cosines).citations

    assert first.status == "normalized"
    assert (second.status, second.reason) == ("unsupported", "not_found")

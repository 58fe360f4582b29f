from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.citations import check_by_words, conclude
from backend.core.extractive import LikelySentence, compose, likely_sentences
from backend.core.types import Chunk, DocType, StoredChunk
from tests.factories import stored

_BM25 = BilingualBm25()


def terms(text: str) -> frozenset[int]:
    return frozenset(_BM25.query(text).indices)


def chunk(text: str) -> StoredChunk:
    return StoredChunk("d", "a.txt", DocType.UNSTRUCTURED, Chunk(0, text, 0, len(text), 9))


PLAN = chunk("Этап 1 завершается 15.01.2027. Пилот проводится в Твери. За пилот отвечает Соколова.")
PRICE = chunk("Стоимость работ составляет 1 200 000 рублей. Аванс выплачивается до начала работ.")
CHUNKS = [PRICE, PLAN]


def best(question: str) -> str:
    return likely_sentences(question, CHUNKS, terms)[0].text


def test_the_sentence_with_the_words_of_the_question_comes_first():
    assert best("Где проводится пилот?") == "Пилот проводится в Твери."


def test_a_question_for_a_date_is_answered_by_a_date():
    found = likely_sentences("Когда завершается этап 1?", CHUNKS, terms)

    assert [s.text for s in found] == ["Этап 1 завершается 15.01.2027."]


def test_a_question_for_an_amount_is_answered_by_a_number():
    assert best("Сколько составляет стоимость работ?").endswith("1 200 000 рублей.")


def test_a_question_for_a_person_is_answered_by_a_name():
    assert best("Кто отвечает за пилот?") == "За пилот отвечает Соколова."


def test_what_the_question_itself_says_is_no_answer_to_it():
    found = likely_sentences("Когда после 15.01.2027 завершается этап?", CHUNKS, terms)

    assert found == ()


def _sentence(number: int, text: str, coverage: float, *, same: bool = True) -> LikelySentence:
    return LikelySentence(number, 0, text, coverage, same)


def test_every_sentence_of_the_answer_carries_its_marker():
    answer = compose([_sentence(2, "B b\nb.", 0.9), _sentence(1, "A a a.", 0.9)], [0.9, 0.9])

    assert answer is not None
    assert answer.text == "A a a. [1]\nB b b. [2]"
    assert answer.markers == (1, 2)


def test_at_most_three_sentences_answer():
    answer = compose([_sentence(n, f"S {n}.", 1.0) for n in range(1, 6)], [0.9] * 5)

    assert answer is not None
    assert answer.text.count("[") == 3


def test_a_much_weaker_sentence_is_left_out():
    answer = compose([_sentence(1, "A.", 1.0), _sentence(2, "B.", 0.6)], [0.92, 0.85])

    assert answer is not None
    assert answer.markers == (1,)


def test_nothing_answers_when_no_sentence_is_near():
    assert compose([_sentence(1, "A.", 0.2)], [0.82]) is None
    assert compose([], []) is None


def test_without_cosines_words_alone_decide():
    assert compose([_sentence(1, "A.", 0.9)], None) is not None
    assert compose([_sentence(1, "A.", 0.3)], None) is None


def test_the_bar_is_lower_for_a_sentence_in_the_other_language():
    assert compose([_sentence(1, "A.", 0.0, same=False)], [0.82]) is not None
    assert compose([_sentence(1, "A.", 0.0, same=True)], [0.82]) is None


def test_an_extractive_answer_passes_its_own_citation_check():
    question = "Кто отвечает за пилот?"
    answer = compose(likely_sentences(question, CHUNKS, terms), None)
    assert answer is not None

    checked = conclude(check_by_words(answer.text, question, CHUNKS, terms), [])

    assert [c.status for c in checked.citations] == ["exact"]
    assert checked.uncited == ()


def test_a_heading_is_no_answer_but_the_list_below_it_is() -> None:
    text = (
        "## Дедлайны по проекту\n\nДействующие дедлайны по проекту такие:\n\n"
        "- 27 ноября 2026 — интеграция с ERP;\n- 15 января 2027 — обучение всех смен."
    )

    found = compose(likely_sentences("Какие дедлайны по проекту?", [stored(text)], terms), None)

    assert found is not None
    assert found.text.splitlines() == [
        "Действующие дедлайны по проекту такие:",
        "- 27 ноября 2026 — интеграция с ERP; [1]",
        "- 15 января 2027 — обучение всех смен. [1]",
    ]

import pytest

from backend.core.language import detect_language, question_language

ENGLISH_TEXT = "The contract is signed by both parties and the price of the work is fixed. " * 3
GERMAN_TEXT = "Der Vertrag wurde gestern unterschrieben und wir liefern alle Waren sofort. " * 4
RUSSIAN_TEXT = "Договор подписан обеими сторонами, цена работ не меняется. " * 3


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (RUSSIAN_TEXT, "ru"),
        (ENGLISH_TEXT, "en"),
        (RUSSIAN_TEXT + ENGLISH_TEXT, "mixed"),
        (RUSSIAN_TEXT + "API, SLA", "ru"),
        (GERMAN_TEXT, "other"),
        ("Угода підписана обома сторонами, ціна робіт є незмінною.", "other"),
        ("契約は両当事者によって署名されました。", "other"),
        ("تم توقيع العقد", "other"),
        ("12 345 | 67 % — 2027", "unknown"),
        ("", "unknown"),
        ("API key", "en"),
        ("Привет", "ru"),
    ],
)
def test_a_document_has_the_language_of_its_letters(text, language):
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Какие дедлайны по проекту?", "ru"),
        ("What are the deadlines?", "en"),
        ("Какой deadline у release candidate в Q3 milestone plan?", "ru"),
        ("What does «Альфа-Проект» mean?", "en"),
        ("Что такое SLA?", "ru"),
        ("Как настроить Kubernetes ingress controller с TLS?", "ru"),
        ("API timeout", "en"),
        ("дедлайн API gateway", "en"),
        ("дедлайны API", "ru"),
        ("2027?", "en"),
    ],
)
def test_a_question_is_answered_in_the_language_it_is_asked_in(question, language):
    assert question_language(question) == language

import pytest

from backend.core.no_answer import (
    NO_ANSWER_EN,
    NO_ANSWER_RU,
    is_no_answer,
    is_sentinel,
    may_become_sentinel,
)


@pytest.mark.parametrize(
    "text",
    [
        NO_ANSWER_RU,
        NO_ANSWER_EN,
        f"**{NO_ANSWER_RU}** [1]",
        f"Ответ: {NO_ANSWER_RU}",
        "К сожалению, в предоставленных источниках нет информации о складе в Казани.",
        "Информация об этом в документах не указана.",
        "Информация отсутствует в источниках.",
        "Я не знаю.",
        "НЕИЗВЕСТНО [2]",
        "В источниках этого нет.",
        "Источник [1] не содержит информации об адресе.",
        "В источниках не указано, кто подписал договор.",
        "Не могу ответить на этот вопрос, так как нет данных.",
        "Адрес склада в Казани не указан в документах.",
        "Ответ на вопрос не найден.",
        "Не найдено в документах",
        "Генеральный директор не упоминается в источниках.",
        "В тексте нет информации о CEO.",
        "Информации недостаточно для ответа. Пожалуйста, уточните вопрос.",
        "I don't know.",
        "I’m sorry, I cannot answer this question.",
        "Unfortunately, the provided sources do not mention the CEO. Please provide more context.",
        "There is no information about the CEO in the sources.",
        "The context doesn't provide this information.",
        "No information is available.",
        "The address is not mentioned in the documents.",
        "",
    ],
)
def test_the_usual_ways_of_having_no_answer_are_recognised(text):
    assert is_no_answer(text)


@pytest.mark.parametrize(
    "text",
    [
        "Нет [1].",
        "No [1].",
        "Нет, договор не продлевается [1].",
        "Штраф не превышает 5% [2].",
        "В документах нет информации о цене, но аванс составляет 30% [1].",
        "Нет данных об адресе. Срок — 15 января [1].",
        "В договоре нет штрафа за отказ [2].",
        "The budget was not approved by the board [3].",
        "Документы не представлены заказчиком до 5 мая [1].",
        "Подрядчик не имеет права передавать данные третьим лицам [1].",
        "Доступ к информации невозможен без пароля [2].",
        "The seller does not provide a warranty [2].",
        "Данные хранятся в зашифрованном виде [1].",
    ],
)
def test_an_answer_with_a_negation_is_an_answer(text):
    assert not is_no_answer(text)


@pytest.mark.parametrize("text", ["НЕИЗВЕСТНО", "unknown.", "**Неизвестно** [1]", " UNKNOWN\n"])
def test_the_one_word_of_the_prompts_is_recognised(text: str) -> None:
    assert is_sentinel(text)
    assert is_no_answer(text)


def test_a_text_may_become_the_word_until_it_differs() -> None:
    assert may_become_sentinel("")
    assert may_become_sentinel("НЕИЗ")
    assert not may_become_sentinel("Неизвестно, кто")
    assert not may_become_sentinel("Срок")

import pytest

from backend.core.facts import find_facts, is_held
from backend.core.names import is_same_name


def agree(a: str, b: str) -> bool:
    """Every fact of the first text is held by the second."""
    needed, present = find_facts(a), find_facts(b)
    return bool(needed) and all(is_held(fact, present) for fact in needed)


@pytest.mark.parametrize(
    "notation",
    [
        "15.01.2027",
        "15 января 2027 г.",
        "15 января 2027 года",
        "January 15, 2027",
        "15th of January 2027",
        "Jan 15 2027",
        "2027-01-15",
        "15/01/2027",
        "15.01.27",
    ],
)
def test_a_date_is_one_fact_in_every_notation(notation):
    assert agree(notation, "Срок — 15.01.2027.")
    assert agree("15.01.2027", f"Срок: {notation}")
    assert not agree("16.01.2027", notation)
    assert not agree("15.01.2028", notation)


@pytest.mark.parametrize(
    ("said", "source", "agrees"),
    [
        ("15 января", "15.01.2027", True),
        ("15.01.2027", "15 января", True),
        ("январь 2027", "15.01.2027", True),
        ("15.01.2027", "в январе 2027 года", False),
        ("в 2027 году", "15.01.2027", True),
        ("в 2026 году", "15.01.2027", False),
        ("03/04/2027", "3 апреля 2027", True),
        ("с 15 по 20 января", "15.01.2027 — 20.01.2027", True),
        ("III квартал 2026", "Q3 2026", True),
        ("II квартал 2026", "Q3 2026", False),
        ("в 15:00", "at 3 pm", True),
        ("1 200 000", "1,200,000", True),
        ("1.2 million", "1 200 000", True),
        ("1,2 млн", "1 200 000", True),
        ("$1.2m", "1 200 000 долларов", True),
        ("50 тыс.", "50 000", True),
        ("1,5", "1.5", True),
        ("1 200 000 рублей", "$1,200,000", False),
        ("25%", "двадцать пять процентов", True),
        ("25%", "25 percent", True),
        ("25%", "25 дней", False),
        ("25 дней", "25%", False),
        ("3 недели", "three weeks", True),
        ("3 недели", "трёхнедельный срок", True),
        ("3 недели", "3 дня", False),
        ("24 months", "24-месячный", True),
        ("10 рабочих дней", "10 business days", True),
        ("10 рабочих дней", "10 календарных дней", False),
        ("10 дней", "10 рабочих дней", True),
        ("-5", "5", False),
        ("QX-200", "QX200", True),
        ("QX-200", "QX-300", False),
        ("ГОСТ 12.1.005", "12.1.005", True),
        ("12-А/2026", "12-A/2026", True),
        ("+7 (495) 123-45-67", "8 495 123-45-67", True),
        ("ivan@firm.example", "IVAN@firm.example.", True),
        ("ivan@firm.example", "oleg@firm.example", False),
    ],
)
def test_facts_agree_across_notations_and_only_then(said, source, agrees):
    assert agree(said, source) is agrees


def test_a_modal_verb_is_no_month():
    assert find_facts("You may leave; the troops march on.") == ()


def test_offsets_hold_for_letters_that_grow_when_lowered():
    text = "İİİ 15.01.2027"

    (fact,) = find_facts(text)

    assert text[fact.start : fact.end] == "15.01.2027"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Соколова", "Соколовой", True),
        ("Соколова", "Sokolova", True),
        ("Sokолова", "Соколова", True),
        ("Пётр", "Петра", True),
        ("Павел", "Павла", True),
        ("Иванов", "Иванова", True),
        ("Иванов", "Иваненко", False),
        ("Иван", "Иванов", False),
        ("Вектор", "Vector", True),
        ("Chekhov", "Чехов", True),
        ("Smith", "Smith's", True),
        ("Smith", "Jones", False),
        ("Петров", "Ivanov", False),
        ("Орлов", "Sokolov", False),
    ],
)
def test_a_name_is_known_in_its_case_forms_and_both_alphabets(a, b, same):
    assert is_same_name(a, b) is same

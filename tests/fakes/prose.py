"""Documents of any length in Russian and English, with marks at known places."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.core.language import AnswerLanguage
from tests.fakes.summaries import tokens_of

MARK = re.compile(r"Q\d{5}[abc]")
_MARK_EVERY = 1000  # tokens

_SENTENCES: dict[AnswerLanguage, Sequence[str]] = {
    "ru": (
        "{who} сообщает, что {what} для объекта {where} принят комиссией по акту {n}.",
        "На {where} выделено {n} тысяч рублей, и {who} отвечает за расход этих средств.",
        "Срок по теме «{what}» перенесён на {day} {month}: накладная {n} задержалась.",
        "После встречи {n} готовит {what} для {where} уже {who}.",
        "Замеры на {where} показали {n} единиц, и {who} записал это {day} {month}.",
        "Без документа {n} ({what}) работы на {where} остановят {day} {month}.",
    ),
    "en": (
        "{who} reports that the {what} for {where} was accepted under act {n}.",
        "The budget of {where} is {n} thousand dollars, and {who} answers for it.",
        "The {what} was moved to {day} {month}, because waybill {n} was late.",
        "After meeting {n} it is {who} who prepares the {what} for {where}.",
        "The readings at {where} came to {n} units, noted by {who} on {day} {month}.",
        "Without paper {n} on the {what} the work at {where} stops on {day} {month}.",
    ),
}
_WHO: dict[AnswerLanguage, Sequence[str]] = {
    "ru": "Ирина Соколова|Павел Громов|Олег Тихонов|Марина Белова|Антон Зуев".split("|"),
    "en": "Alice Moore|Peter Grant|Helen Shaw|Victor Dale|Nora Wells".split("|"),
}
_WHAT: dict[AnswerLanguage, Sequence[str]] = {
    "ru": "расчёт насосов|монтаж датчиков|план испытаний|осмотр кровли|отчёт о шуме".split("|"),
    "en": "pump survey|sensor layout|test plan|roof inspection|noise report".split("|"),
}
_WHERE: dict[AnswerLanguage, Sequence[str]] = {
    "ru": "Лотме|Северной площадке|третьем складе|станции Заречье|старом причале".split("|"),
    "en": "Frostlyn|the north yard|the third depot|Millbrook station|the old pier".split("|"),
}
_MONTHS: dict[AnswerLanguage, Sequence[str]] = {
    "ru": "января февраля марта апреля июня июля августа сентября октября ноября".split(),
    "en": "January February March April June July August September October November".split(),
}
_CHAPTER: dict[AnswerLanguage, str] = {"ru": "Раздел", "en": "Chapter"}


@dataclass(frozen=True, slots=True)
class Marked:
    """``marks`` in the order of the text: at the start, the middle and the end of each thousand
    tokens."""

    text: str
    marks: tuple[str, ...]


def sentences(language: AnswerLanguage, seed: int) -> Iterator[str]:
    chance = random.Random(seed)  # noqa: S311 - test data
    while True:
        yield chance.choice(_SENTENCES[language]).format(
            who=chance.choice(_WHO[language]),
            what=chance.choice(_WHAT[language]),
            where=chance.choice(_WHERE[language]),
            n=chance.randrange(11, 9999),
            day=chance.randrange(1, 28),
            month=chance.choice(_MONTHS[language]),
        )


def prose(language: AnswerLanguage, tokens: int, seed: int = 1) -> str:
    return marked_prose(language, tokens, seed, marks=False).text


def marked_prose(
    language: AnswerLanguage, tokens: int, seed: int = 1, *, marks: bool = True
) -> Marked:
    """``tokens`` as ``tokens_of`` counts them, in paragraphs and chapters of uneven length."""
    chance = random.Random(seed)  # noqa: S311 - test data
    source = sentences(language, seed)
    pieces: list[str] = []
    planted: list[str] = []
    written, next_mark = 0, 0.0
    while written < tokens:
        if not pieces or chance.random() < 0.02:
            pieces.append(f"\n\n# {_CHAPTER[language]} {len(pieces)}\n\n")
        elif chance.random() < 0.15:
            pieces.append("\n\n")
        while marks and written >= next_mark:
            planted.append(f"Q{int(next_mark) // _MARK_EVERY:05}{'abc'[len(planted) % 3]}")
            pieces.append(f"{planted[-1]} ")
            next_mark += _MARK_EVERY / 2 - 20 if len(planted) % 3 else 40
        pieces.append(next(source) + " ")
        written += tokens_of(pieces[-1])
    return Marked("".join(pieces).strip(), tuple(planted))

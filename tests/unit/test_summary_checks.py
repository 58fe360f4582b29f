"""Whether what a model wrote is a summary of its text, and what in it the text does not say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.errors import UnusableCompletion
from backend.core.language import AnswerLanguage
from backend.core.summary_source import SourceText
from backend.core.types import FinishReason
from backend.core.unsupported import unsupported
from backend.services.summarize.checks import (
    CompletionCheck,
    UnsupportedFinder,
    check_completion,
    similarity_by,
)
from tests.fakes.embedder import HashingEmbedder

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
BM25 = BilingualBm25()
RU = (
    "Решено перенести начало опытной эксплуатации с 14 декабря 2026 года на 18 января 2027 года "
    "из-за заморозки изменений в ERP «Ладья»."
)
EN = (
    "The start of pilot operation was moved from 14 December 2026 to 18 January 2027 because of "
    "the change freeze in the Ladya ERP. Oleg Kamyshev made the decision."
)
UKRAINIAN = (
    "Документ описує листування про проєкт «Горизонт». Було вирішено перенести початок дослідної "
    "експлуатації, що пов'язано із замороженням змін."
)
GERMAN = (
    "Das Dokument beschreibt das Projekt und die Entscheidungen. Es wurde beschlossen, den Beginn "
    "auf den 18. Januar zu verschieben."
)


def terms(text: str) -> frozenset[int]:
    return frozenset(BM25.query(text).indices)


def source(name: str) -> SourceText:
    return SourceText((SAMPLES / name).read_text(encoding="utf-8"), terms)


MAIL = source("email_correspondence/2026-11_perenos_opytnoy_ekspluatatsii.txt")
CALIBRATION = source("email_correspondence/2026-10_frostlyn_calibration.md")
CHAT = source("messenger_correspondence/chat_gorizont_lotma_2026-12.txt")
MINUTES = source("protocols/2026-11-24_protokol_statusa.md")
SPEC = source("technical_docs/temperature_telemetry_spec.md")
SLIDES = source("presentations/steering_committee_2026-12.md")
NOTES = source("zametki_poezdka_lotma.txt")


def reason(
    text: str,
    language: AnswerLanguage = "ru",
    of: SourceText = MAIL,
    finish_reason: FinishReason = "stop",
    instructions: str = "",
) -> str:
    try:
        check_completion(
            text,
            of=of,
            language=language,
            finish_reason=finish_reason,
            dependency="vllm",
            instructions=instructions,
        )
    except UnusableCompletion as error:
        return error.reason
    return "usable"


@pytest.mark.parametrize(
    ("of", "language", "text"),
    [
        (MAIL, "ru", RU),
        (MAIL, "en", EN),
        (
            MAIL,
            "ru",
            "## Кратко\n\n- Опытная эксплуатация: 18 января 2027\n- Причина: заморозка ERP\n"
            "- Оплата 6,1 млн рублей не сдвигается\n- Ответственные: Прудкова, Лебедянская",
        ),
        (
            CALIBRATION,
            "ru",
            "11 из 240 датчиков FL-200 не прошли проверку калибровки. Причина — партия 26-31. "
            "Frostlyn бесплатно заменила датчики и продлила гарантию с 36 до 48 месяцев.",
        ),
        (
            SPEC,
            "ru",
            "Спецификация описывает передачу показаний датчиков FL-200 через шлюзы FL-GW по MQTT "
            "(порт 8883, TLS, QoS 1) в топик `lotma/ch{chamber}/t/{sensor}`. Payload — JSON с "
            "полями `ts`, `t`, `bat`, `seq`, `fw`; retained flag выключен.",
        ),
        (
            SPEC,
            "ru",
            "| Камера | Норма, °C |\n|---|---|\n| 1 | от +2 до +6 |\n| 4 | от −20 до −18 |\n\n"
            "Датчики камер 4–6 опрашиваются каждые 60 секунд.",
        ),
        (
            CHAT,
            "en",
            "The team closed defect GOR-212 in build 4.2.7, signed supplementary agreement No. 1 "
            "on 3 December and moved the VPN to gate.sevzimstroy.example.",
        ),
        (NOTES, "ru", "Поездка прошла удачно: монтаж идёт быстро, 120 датчиков уже висят."),
        (SLIDES, "en", "Go-live remains on 15 March 2027. Most of the budget has been spent."),
    ],
)
def test_right_summaries_pass(of: SourceText, language: AnswerLanguage, text: str) -> None:
    assert reason(text, language, of) == "usable"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("...!!! — 12", "empty"),
        ("<think>The user wants a summary of the mail.</think>", "empty"),
        ("<think>" + RU, "empty"),
        ("# Краткое изложение", "empty"),
        ("**Итоги:**", "empty"),
        ("Итоги переписки", "empty"),
        ("qwrtp zxcvb ghjkl mnbvc wrtps dfghj kjhgf lkjhg " * 3, "nonsense"),
        ("впрлт дгнпр штрвк прлдж кнгшщ зхврп длжвн " * 3, "nonsense"),
        ("Lorem ipsum dolor sit amet, consectetur adipiscing elit.", "nonsense"),
        ("проект " * 80, "nonsense"),
        ("а" * 300, "nonsense"),
        (RU + " Опытная эксплуатация начнётся в январе." * 6, "nonsense"),
        ("РџРµСЂРµРЅРѕСЃ РЅР°С‡Р°Р»Р° РѕРїС‹С‚РЅРѕР№ СЌРєСЃРїР»СѓР°С‚Р°С†РёРё", "nonsense"),
        ('{"error": {"message": "overloaded", "code": 503}}', "format"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "format"),
        ("RuntimeError: CUDA out of memory", "format"),
        ("<|im_start|>assistant\n" + RU, "format"),
        ("I'm sorry, I can't help with that.", "nonsense"),
        ("Извините, я не могу помочь с этим.", "nonsense"),
        ("As an AI language model, I cannot summarize. " + RU, "nonsense"),
        ("Пожалуйста, предоставьте текст документа.", "nonsense"),
        ("Сегодня в Москве облачно, температура 20 градусов, слабый ветер.", "nonsense"),
        ("Мороз и солнце; день чудесный! Ещё ты дремлешь, друг прелестный.", "nonsense"),
        (EN, "language"),
        (RU + " " + EN, "language"),
        ("该文件描述了项目的状态和决定。", "language"),
        (RU.replace("Решено", "Решено 已经"), "language"),
        (UKRAINIAN, "language"),
        (GERMAN, "language"),
        (RU + " Остальные сроки и", "cut"),
    ],
)
def test_what_is_no_summary_is_refused(text: str, expected: str) -> None:
    found = reason(text)

    assert found == expected


@pytest.mark.parametrize("text", [RU, GERMAN, "该文件描述了项目。"])
def test_a_summary_in_another_language_than_asked_is_refused(text: str) -> None:
    assert reason(text, "en") == "language"


def test_an_answer_that_ran_out_of_tokens_is_refused() -> None:
    assert reason(RU, finish_reason="length") == "cut"


def test_a_repeated_prompt_is_refused() -> None:
    prompt = "1. Числа, даты и имена переписывайте точно. 2. Пишите связным текстом по-русски."

    assert reason(RU + " " + prompt, instructions=prompt) == "nonsense"


def test_letters_and_refusals_that_the_text_itself_has_may_be_quoted() -> None:
    text = "Иван написал: «Извините, я не могу помочь». Знак 表 означает таблицу. " * 3
    own = SourceText(text, terms)

    assert reason("Иван ответил: «Извините, я не могу помочь», знак 表 — таблица.", of=own) == (
        "usable"
    )


@pytest.mark.parametrize("other", [SPEC, NOTES])
def test_the_summary_of_another_document_is_refused(other: SourceText) -> None:
    assert reason(RU, "ru", other) == "nonsense"


def test_what_words_leave_open_between_languages_is_decided_by_meaning() -> None:
    seen: list[Sequence[str]] = []

    def unlike(text: str, others: Sequence[str]) -> Sequence[float]:
        seen.append(others)
        return [0.8] * len(others)

    check = CompletionCheck(terms, dependency="vllm", similarity=unlike)

    with pytest.raises(UnusableCompletion, match="not about this text"):
        check(
            "The weather will be fine, with a light breeze in the evening.",
            of=MAIL.text,
            language="en",
            finish_reason="stop",
        )
    assert seen


async def test_the_embedder_of_the_event_loop_serves_threads() -> None:
    similarity = similarity_by(HashingEmbedder(), asyncio.get_running_loop())

    cosines = await asyncio.to_thread(similarity, "одно и то же", ["одно и то же", "другое"])

    assert cosines[0] == pytest.approx(1.0)
    assert cosines[1] < cosines[0]


@pytest.mark.parametrize(
    ("of", "text", "expected"),
    [
        (MAIL, "Начало перенесено на 19 января 2027 года.", ("19 января 2027 года",)),
        (MAIL, "Оплата 6 200 000 рублей не сдвигается.", ("6 200 000 рублей",)),
        (MAIL, "Оплата 6 100 000 долларов не сдвигается.", ("6 100 000 долларов",)),
        (MAIL, "Решение принял Олег Петров.", ("Петров",)),
        (MAIL, "Oleg Ivanov moved the start to 18 January 2027.", ("Ivanov",)),
        (MAIL, "The start was moved to 18 February 2027.", ("18 February 2027",)),
        (CALIBRATION, "12 of the 240 sensors failed.", ("12",)),
        (CALIBRATION, "They offered a discount of 35 per cent.", ("35 per cent",)),
        (CALIBRATION, "Томас Фишер предложил замену.", ("Фишер",)),
        (CALIBRATION, "The replacements arrive on 11 September 2026.", ("11 September 2026",)),
        (CHAT, "Дефект GOR-213 закрыт в сборке 4.2.7.", ("GOR-213",)),
        (MINUTES, "Подписать до 12 апреля 2026 года.", ("12 апреля 2026 года",)),
        (MINUTES, "The repeaters cost 180,000 euros.", ("180,000 euros",)),
        (SLIDES, "Потрачено 36 млн рублей.", ("36 млн рублей",)),
    ],
)
def test_planted_figures_dates_and_names_are_told(
    of: SourceText, text: str, expected: tuple[str, ...]
) -> None:
    assert unsupported(text, of) == expected


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (MAIL, RU),
        (MAIL, EN),
        (MAIL, "1. Принято три решения.\n2. Оплата 4-го этапа — 6,1 млн руб. — не сдвигается."),
        (MAIL, "**Решения:** перенос на 18.01.2027.\n\n## Ключевые Итоги\nВсе согласны."),
        (SLIDES, "Потрачено 35 млн рублей из 46,8 млн, то есть около 75 %."),
        (CALIBRATION, "Томас Эльгард сообщил Дарье Ничипорук, что партия 26-31 неисправна."),
        (CHAT, "Marat Zaynashev installed two repeaters in chamber 4; five tasks are closed."),
    ],
)
def test_what_the_document_says_in_other_words_is_not_told(of: SourceText, text: str) -> None:
    assert unsupported(text, of) == ()


def test_the_finder_takes_plain_texts() -> None:
    found = UnsupportedFinder(terms)("Срок — 1 мая 2031 года.", MAIL.text)

    assert found == ("1 мая 2031 года",)

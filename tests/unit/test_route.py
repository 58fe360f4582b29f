from __future__ import annotations

from collections.abc import Sequence

import pytest

from backend.core.prompts import PromptSet
from backend.core.types import DocType, DocumentRecord, Sampling, ScoredChunk, StoredChunk
from backend.services.answers import AskMode, AskRequest
from backend.services.chat_model import ChatModel
from backend.services.prompt_fitting import PromptFitter
from backend.services.route import Library, Plan, Router, asks_for_breadth, named_document
from tests.factories import record, stored, version
from tests.fakes.generator import ScriptedGenerator, WordCounter

PROMPT = "Be brief.\n---\n{sources}\n{question}"
NARROW = "Когда срок сдачи проекта?"
BROAD = "Расскажи подробно обо всём"

FOR_EVERYTHING = [
    "Расскажи подробно обо всём",
    "Расскажи подробно обо всем",
    "Кратко обо всём",
    "Дай краткий обзор",
    "Дайте, пожалуйста, общий обзор документов",
    "Сделай сводку по проекту",
    "Какие все решения были приняты?",
    "Все решения",
    "Перечисли всех участников совещаний",
    "Назови все сроки и ответственных",
    "Выпиши все суммы из договоров",
    "Составь список задач",
    "Полный список рисков",
    "Суммаризируй документы",
    "Подведи итоги переписки",
    "О чём эти документы?",
    "О чём вся переписка?",
    "Главное из протоколов",
    "Основные выводы отчёта",
    "Можешь рассказать обо всех этапах?",
    "Что известно в документах по каждому этапу? Перечисли.",
    "Опиши проект в целом",
    "Кто все участники проекта?",
    "Нужна общая картина",
    "Перескажи переписку",
    "Give me an overview",
    "Overview of the project",
    "Summarize everything",
    "Can you summarise the documents?",
    "List all decisions",
    "List the participants",
    "What are all the deadlines?",
    "Show me every decision and its owner",
    "Tell me everything about the calibration",
    "What are the key takeaways?",
    "What is the big picture?",
    "What are these documents about?",
    "Please write a short summary of the correspondence",
    "Who are all the participants?",
    "TL;DR",
    "What was decided? Describe all open issues.",
]
FOR_ONE_THING = [
    "Когда срок сдачи проекта?",
    "Кто отвечает за закупки?",
    "Сколько стоит лицензия?",
    "Какой адрес у склада?",
    "Почему перенесли опытную эксплуатацию?",
    "Где проходит обучение?",
    "Все ли датчики откалиброваны?",
    "Всё ещё действует договор?",
    "Кто утвердил общий обзор рынка?",
    "До какого числа сдать сводку?",
    "Когда закончатся все этапы?",
    "О чём договорились с подрядчиком по оплате?",
    "Что решили по бюджету?",
    "Подробно опиши порядок калибровки датчика",
    "Какая температура допустима при перевозке?",
    "Есть ли в договоре штраф?",
    "Как часто передаются показания?",
    "А в мае?",
    "Кому отправить отчёт?",
    "Какого числа подписан договор?",
    "Чей это телефон?",
    "Расскажи про отпуск Петрова",
    "When is the deadline?",
    "Who is responsible for procurement?",
    "How much does the license cost?",
    "Did all employees sign the agreement?",
    "Is the summary ready?",
    "Who wrote the overview?",
    "When were all sensors calibrated?",
    "What is the price after all?",
    "Where is the warehouse?",
    "Which port does the gateway use?",
    "What temperature is allowed during transport?",
    "Why was the pilot postponed?",
    "How many gateways are installed?",
    "What is the penalty for late delivery?",
]


@pytest.mark.parametrize("question", FOR_EVERYTHING)
def test_a_question_for_everything_is_recognised(question: str) -> None:
    assert asks_for_breadth(question)


@pytest.mark.parametrize("question", FOR_ONE_THING)
def test_a_question_for_one_thing_is_not_taken_for_one(question: str) -> None:
    assert not asks_for_breadth(question)


# --- documents by name -------------------------------------------------------------------------


def document(doc_id: str, source: str, title: str | None = None) -> DocumentRecord:
    return record(doc_id, source=source, live=version(title=title), pending=None)


DOCUMENTS = [
    document(
        "spec", "technical_docs/temperature_telemetry_spec.md", "Temperature telemetry: rules"
    ),
    document("contract", "contracts/dogovor_117-26-G.docx"),
    document("minutes", "protocols/2026-11-24_protokol_statusa.md"),
    document("earlier", "protocols/2026-07-13_protokol_statusa.md"),
    document("plan", "plan.xlsx"),
    document("readme", "a/readme.md"),
    document("readme2", "b/readme.md"),
]


@pytest.mark.parametrize(
    ("question", "doc_id"),
    [
        ("О чём temperature_telemetry_spec.md?", "spec"),
        ("What does the temperature telemetry spec say of gateways?", "spec"),
        ("Кратко по «Temperature telemetry: rules»", "spec"),
        ("Что в файле plan.xlsx?", "plan"),
        ("Что в protocols/2026-11-24_protokol_statusa.md?", "minutes"),
        ("Какая цена в договоре 117-26-G?", "contract"),
        ("Что в a/readme.md?", "readme"),
    ],
)
def test_a_document_is_known_by_its_name_title_or_number(question: str, doc_id: str) -> None:
    found = named_document(question, DOCUMENTS, best="contract")

    assert found is not None
    assert found.doc_id == doc_id


@pytest.mark.parametrize(
    "question",
    [
        "Какой план на май?",
        "Что в readme.md?",  # there are two
        "Сравни plan.xlsx и a/readme.md",  # there are two as well
        "Когда встреча 2026-11-24?",  # a date is no name unless the best chunk is of that document
        "What is the telemetry interval?",
        "protokol statusa",  # of which month?
    ],
)
def test_what_only_sounds_like_a_document_is_none(question: str) -> None:
    assert named_document(question, DOCUMENTS, best="contract") is None


# --- the route ---------------------------------------------------------------------------------


class Shelf:
    """Document records and their chunks: as much of both stores as a ``Library`` asks."""

    def __init__(self, records: Sequence[DocumentRecord], chunks: Sequence[StoredChunk]) -> None:
        self._records = list(records)
        self._chunks = list(chunks)

    async def records(self, space_id: str | None = None) -> list[DocumentRecord]:
        return self._records

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        return [chunk for chunk in self._chunks if chunk.doc_id == doc_id]


def chat(window: int = 1000, source_limit: int = 0) -> ChatModel:
    counter, generator = WordCounter(), ScriptedGenerator(window=window)
    prompts = PromptSet.from_texts(answer_ru=PROMPT, answer_en=PROMPT)
    return ChatModel(
        generator=generator,
        counter=counter,
        fitter=PromptFitter(counter, prompts, source_limit=source_limit),
        sampling=Sampling(100),
        safety_margin=8,
        provider="vllm",
        background=generator,
    )


def chunks(doc_id: str, count: int, words: int) -> list[StoredChunk]:
    return [stored(f"{doc_id}{i} " + "слово " * (words - 1), i, doc_id) for i in range(count)]


async def plan(
    question: str,
    found: Sequence[StoredChunk],
    *,
    mode: AskMode = "auto",
    library: Shelf | None = None,
    window: int = 1000,
    doc_types: tuple[DocType, ...] = (),
    source_limit: int = 0,
) -> Plan:
    router = Router(
        chat(window, source_limit),
        Library(library, library) if library else None,  # type: ignore[arg-type]
    )
    scored = [ScoredChunk(one, 1.0 - i / 100) for i, one in enumerate(found)]
    return await router.plan(AskRequest(question, "s", 30, doc_types, mode), "ru", scored)


async def test_a_small_context_is_read_as_it_is() -> None:
    made = await plan(NARROW, [*chunks("a", 2, 20), *chunks("b", 2, 20)])

    assert made.route.mode == "normal"
    assert made.route.context_tokens == 4 * (20 + 4)  # two words of a tag around each
    assert "within the threshold of 366" in made.route.reason
    assert len(made.chunks) == 4


async def test_a_context_over_the_threshold_is_compressed() -> None:
    made = await plan(NARROW, [*chunks("a", 10, 50), *chunks("b", 10, 50)])

    assert made.route.mode == "summarize"
    assert made.route.context_tokens == 20 * 54
    assert "over the threshold of 366" in made.route.reason
    assert len(made.chunks) == 20


async def test_a_question_for_everything_has_its_context_compressed() -> None:
    made = await plan(BROAD, [*chunks("a", 2, 20), *chunks("b", 2, 20)])

    assert (made.route.mode, made.compresses) == ("summarize", True)
    assert "asks for breadth" in made.route.reason


async def test_when_all_chunks_are_of_one_short_document_it_is_read_whole_and_in_order() -> None:
    whole = chunks("a", 6, 20)
    shelf = Shelf([document("a", "a.md")], whole)

    made = await plan(NARROW, [whole[4], whole[1]], library=shelf)

    assert made.route.mode == "whole_document"
    assert [one.stored.chunk.index for one in made.chunks] == [0, 1, 2, 3, 4, 5]
    assert made.chunks[4].score == 1.0
    assert made.route.context_tokens == 6 * 24
    assert "'a.md' holds every retrieved chunk" in made.route.reason


async def test_a_single_chunk_does_not_make_its_document_the_one_asked_about() -> None:
    whole = chunks("a", 6, 20)

    made = await plan(NARROW, [whole[4]], library=Shelf([document("a", "a.md")], whole))

    assert made.route.mode == "normal"


async def test_a_named_document_is_read_whole_whatever_else_was_found() -> None:
    whole = chunks("work_plan", 3, 20)
    records = [document("work_plan", "work_plan.md"), document("b", "b.md")]
    shelf = Shelf(records, whole)

    made = await plan("Что в work_plan.md?", [*chunks("b", 3, 20), whole[0]], library=shelf)

    assert made.route.mode == "whole_document"
    assert {one.stored.doc_id for one in made.chunks} == {"work_plan"}
    assert "is named in the question" in made.route.reason
    assert "3 retrieved chunks of other documents are not read" in made.route.reason


async def test_a_named_document_over_the_threshold_is_not_read_whole() -> None:
    whole = chunks("work_plan", 30, 20)
    shelf = Shelf([document("work_plan", "work_plan.md")], whole)

    made = await plan("Что в work_plan.md?", whole[:5], library=shelf)

    assert made.route.mode == "normal"
    assert "too long to be read whole" in made.route.reason


async def test_a_named_document_of_a_type_that_is_not_searched_is_none() -> None:
    whole = chunks("work_plan", 3, 20)
    shelf = Shelf([document("work_plan", "work_plan.md")], whole)

    made = await plan(
        "Что в work_plan.md?", chunks("b", 1, 20), library=shelf, doc_types=(DocType.EMAIL,)
    )

    assert made.route.mode == "normal"


async def test_what_does_not_fit_the_prompt_is_compressed_though_it_is_under_the_threshold() -> (
    None
):
    question = "Когда срок сдачи? " + "подробности " * 150

    made = await plan(question, [*chunks("a", 2, 40), *chunks("b", 2, 40)], window=440)

    assert made.prompt.found_tokens < 440 * 3000 / 8192 + 20
    assert made.route.mode == "summarize"


async def test_the_operators_limit_for_sources_puts_no_extra_calls_on_the_model() -> None:
    made = await plan(NARROW, [*chunks("a", 2, 40), *chunks("b", 2, 40)], source_limit=60)

    assert made.route.mode == "normal"
    assert len(made.prompt.left_out) == 3


@pytest.mark.parametrize("mode", ["normal", "detailed"])
async def test_asked_for_chunks_stay_as_they_are_and_those_that_do_not_fit_are_told(
    mode: AskMode,
) -> None:
    made = await plan(BROAD, chunks("a", 30, 50), mode=mode)

    assert (made.route.mode, made.compresses) == (mode, False)
    assert made.route.context_tokens == 30 * 54
    assert len(made.chunks) + len(made.prompt.left_out) == 30
    assert made.prompt.left_out


async def test_asked_for_compression_is_never_refused_for_a_small_context() -> None:
    made = await plan(NARROW, chunks("a", 2, 10), mode="summarize")

    assert (made.route.mode, made.compresses) == ("summarize", True)

"""A space as a chat model: what is shown, when, and with which markers."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence

import pytest

from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.errors import InvalidRequest
from backend.core.no_answer import NO_ANSWER_EN, NO_ANSWER_RU, is_no_answer
from backend.core.types import (
    Chunk,
    DocType,
    Message,
    Queued,
    ReasoningDelta,
    ScoredChunk,
    StoredChunk,
    TextDelta,
)
from backend.services.answers import (
    Answer,
    AskEvent,
    AskRequest,
    ContextUse,
    Source,
    SourcesFound,
)
from backend.services.chat import Conversation, RagAnswer, RagChat
from backend.services.cite import CitationChecker
from backend.services.rewrite import RewritePrompts, Rewriter
from tests.fakes.embedder import E5LikeEmbedder
from tests.fakes.generator import ScriptedGenerator, WordCounter

_BM25 = BilingualBm25()
PLAN = StoredChunk(
    "d1",
    "plan.md",
    DocType.UNSTRUCTURED,
    Chunk(0, "Срок сдачи проекта — 15 января 2027 года. Бюджет: 40 тысяч рублей.", 0, 66, 20, 3),
)
MAIL = StoredChunk(
    "d2",
    "mail.txt",
    DocType.EMAIL,
    Chunk(0, "За пилот отвечает Ирина Соколова. Пилот длится три недели.", 0, 58, 15),
)
GOOD = "Проект сдаётся 15 января 2027 года [1]."
PROMPT = "Rewrite.\n---\n{history}\n{question}"


def terms(text: str) -> frozenset[int]:
    return frozenset(_BM25.query(text).indices)


class ScriptedAnswerer:
    """Streams ``text`` word by word, and checks it whole as ``Answerer`` does."""

    def __init__(self, text: str, checker: CitationChecker) -> None:
        self.text = text
        self.asked: list[AskRequest] = []
        self.given = 0  # deltas that were taken
        self._checker = checker

    async def stream(self, request: AskRequest) -> AsyncGenerator[AskEvent, None]:
        self.asked.append(request)
        yield Queued(1)
        scored = tuple(ScoredChunk(stored, 1.0) for stored in (PLAN, MAIL))
        sources = tuple(Source(n, one) for n, one in enumerate(scored, start=1))
        yield SourcesFound(sources)
        yield ReasoningDelta("hm")
        for piece in re.findall(r"\s*\S+", " " + self.text):
            self.given += 1
            yield TextDelta(piece)
        yield await self._answer(request, sources)

    async def _answer(self, request: AskRequest, sources: tuple[Source, ...]) -> Answer:
        checked = await self._checker.check(self.text, request.q, [PLAN, MAIL])
        misplaced = any(c.reason == "misplaced" for c in checked.citations)
        said_none = is_no_answer(self.text)
        good = not said_none and (checked.supported or misplaced)
        return Answer(
            answer=self.text if good or said_none else NO_ANSWER_RU,
            answered=good,
            language="ru",
            model="scripted",
            generation="model",
            mode="normal",
            sources=sources if good else (),
            citations=() if said_none else checked.citations,
            attributed=() if said_none else checked.attributed,
            uncited=checked.uncited,
            context=ContextUse(4096, 100, 200, 2, (), "stop"),
            draft=None if good else self.text,
        )


def rag(text: str, generator: ScriptedGenerator | None = None) -> tuple[RagChat, ScriptedAnswerer]:
    checker = CitationChecker(E5LikeEmbedder(), terms)
    answerer = ScriptedAnswerer(text, checker)
    counter = WordCounter()
    prompts = RewritePrompts.from_texts(ru=PROMPT, en=PROMPT)
    rewriter = Rewriter(generator, counter, prompts, safety_margin=8) if generator else None
    chat = RagChat(answerer=answerer, checker=checker, rewriter=rewriter, counter=counter, top_k=5)
    return chat, answerer


def talk(*turns: str) -> Conversation:
    roles = ("user", "assistant")
    return Conversation("s", tuple(Message(roles[n % 2], t) for n, t in enumerate(turns)))  # type: ignore[arg-type]


async def ask(text: str, *turns: str) -> tuple[list[str], RagAnswer]:
    chat, _ = rag(text)
    events = [e async for e in chat.stream(talk(*(turns or ("Когда сдача проекта?",))))]
    assert isinstance(events[-1], RagAnswer)
    return [e.text for e in events if isinstance(e, TextDelta)], events[-1]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"{GOOD} Бюджет — 40 тысяч рублей [1]. За пилот отвечает Ирина Соколова [2].",
        f"{GOOD} Бюджет — 90 тысяч рублей [1].",
        "Проект сдаётся 3 марта 2031 года [1].",
        "Проект сдаётся 15 января 2027 года. [1] За пилот отвечает Ирина Соколова. [2]",
        "[1] Проект сдаётся 15 января 2027 года. [2] За пилот отвечает Ирина Соколова.",
        "Известно [1]:\n- срок сдачи проекта 15 января 2027 года\n- бюджет 40 тысяч рублей",
        "Проект сдаётся 15 января 2027 года [2].",
        "В документах об этом ничего не сказано [1].",
        f"Итак, вот ответ.\n\n{GOOD}\n\nПилот длится три недели [2][9].",
    ],
)
async def test_the_pieces_are_the_whole_and_places_fit_the_text(text: str) -> None:
    pieces, ended = await ask(text)

    assert "".join(pieces) == ended.text
    for citation in ended.citations:
        marker = ended.text[citation.answer_start : citation.answer_end]
        assert marker == "" or str(citation.marker) in marker
        assert f"[{citation.marker}] {citation.source}" in ended.text


async def test_the_message_ends_with_the_quotes_of_its_markers() -> None:
    _, ended = await ask(GOOD)

    assert ended.text.startswith(GOOD + "\n\nИсточники:\n[1] plan.md, стр. 3, «")
    assert "15 января 2027 года" in ended.text.split("Источники:")[1]


async def test_a_marker_that_does_not_hold_is_taken_out() -> None:
    _, ended = await ask(f"{GOOD} Пилот длится три недели [2][9].")

    assert "[9]" not in ended.text
    assert "Пилот длится три недели [2]." in ended.text
    assert {c.marker for c in ended.citations} == {1, 2}
    assert {c.marker for c in ended.answer.citations} == {1, 2, 9}


async def test_nothing_is_shown_of_an_answer_of_which_nothing_holds() -> None:
    wrong = "Проект сдаётся 3 марта 2031 года [1]. Бюджет равен 900 тысячам рублей [2]."

    pieces, ended = await ask(wrong)

    assert pieces == [NO_ANSWER_RU]
    assert (ended.answer.answered, ended.citations, ended.answer.draft) == (False, (), wrong)


async def test_a_sentence_is_shown_before_the_answer_is_over() -> None:
    chat, answerer = rag(
        f"{GOOD} За пилот отвечает Ирина Соколова [2]. Пилот длится три недели [2]."
    )
    events = chat.stream(talk("Когда сдача проекта?"))

    first = await anext(events)
    given = answerer.given
    await events.aclose()

    assert first == TextDelta(GOOD)
    assert given < len(answerer.text.split())


async def test_the_first_question_is_not_rewritten() -> None:
    model = ScriptedGenerator("never")
    chat, answerer = rag(GOOD, model)

    [_ async for _ in chat.stream(talk("Когда сдача проекта?"))]

    assert model.calls == []
    assert answerer.asked[0].q == "Когда сдача проекта?"


async def test_a_follow_up_is_rewritten_from_the_conversation_without_its_source_list() -> None:
    model = ScriptedGenerator("Вопрос: «Какой бюджет у проекта?»\nпояснение")
    chat, answerer = rag(GOOD, model)
    said = f"{GOOD}\n\nИсточники:\n[1] plan.md, стр. 3, «Срок»"

    events = [e async for e in chat.stream(talk("Когда сдача проекта?", said, "А бюджет?"))]

    assert answerer.asked[0].q == "Какой бюджет у проекта?"
    assert "plan.md" not in model.prompts[0]
    assert GOOD in model.prompts[0]
    assert isinstance(events[-1], RagAnswer)
    assert events[-1].question == "Какой бюджет у проекта?"


async def test_a_conversation_too_long_for_the_window_keeps_its_last_turns_whole() -> None:
    model = ScriptedGenerator("Какой бюджет у проекта?", window=320)
    chat, _ = rag(GOOD, model)

    [_ async for _ in chat.stream(talk("слово " * 400, "старый ответ", "А бюджет?"))]

    assert "старый ответ" in model.prompts[0]
    assert "слово" not in model.prompts[0]


async def test_what_the_model_does_not_rewrite_is_asked_as_it_stands_with_a_warning() -> None:
    chat, answerer = rag(GOOD, ScriptedGenerator("Какой", finish_reason="length"))

    events = [e async for e in chat.stream(talk("Когда?", GOOD, "А бюджет?"))]

    assert answerer.asked[0].q == "А бюджет?"
    assert isinstance(events[-1], RagAnswer)
    assert "taken as it stands" in events[-1].answer.warnings[0]


async def test_without_a_chat_model_only_the_last_message_counts_and_that_is_said() -> None:
    _, ended = await ask(GOOD, "Когда?", GOOD, "Когда сдача проекта?")

    assert "only the last message" in ended.answer.warnings[0]


async def test_a_conversation_must_end_with_a_question() -> None:
    with pytest.raises(InvalidRequest, match="last message"):
        await ask(GOOD, "Когда?", "ответ")


def test_the_no_answer_sentences_are_no_answers() -> None:
    texts: Sequence[str] = (NO_ANSWER_EN, NO_ANSWER_RU)
    assert all(is_no_answer(text) for text in texts)

"""A space as a chat model: the last question of a conversation, answered from the documents."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from backend.core.citations import Citation
from backend.core.errors import InvalidRequest
from backend.core.language import AnswerLanguage
from backend.core.ports import TokenCounter
from backend.core.types import Message, TextDelta, TokenUsage
from backend.services.answers import Answer, AskEvent, AskRequest, SourcesFound
from backend.services.cite import CitationChecker
from backend.services.release import CheckedText
from backend.services.rewrite import Rewriter, Standalone

RAG_PREFIX = "rag/"
_HEADS = {"ru": "Источники:", "en": "Sources:"}
_PAGES = {"ru": "стр.", "en": "p."}
_SOURCE_LIST = re.compile(r"\n\n(?:Источники|Sources):\n\[\d.*\Z", re.DOTALL)


class AnswersQuestions(Protocol):
    """``services.ask.Answerer``."""

    def stream(self, request: AskRequest) -> AsyncGenerator[AskEvent, None]: ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """``messages`` end with the question; ``warnings`` are about what was left aside of the
    request."""

    space_id: str
    messages: tuple[Message, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RagAnswer:
    """``answer`` has its citations placed in ``text``, which is the message: the answer with the
    markers that hold, and the list of sources. ``citations`` are those that hold."""

    text: str
    question: str
    answer: Answer
    citations: tuple[Citation, ...]
    usage: TokenUsage


class RagChat:
    """``rewriter`` is None without a chat model. ``counter`` counts the tokens of answers."""

    def __init__(
        self,
        *,
        answerer: AnswersQuestions,
        checker: CitationChecker,
        rewriter: Rewriter | None,
        counter: TokenCounter | None,
        top_k: int,
    ) -> None:
        self._answerer = answerer
        self._checker = checker
        self._rewriter = rewriter
        self._counter = counter
        self._top_k = top_k

    async def stream(self, talk: Conversation) -> AsyncGenerator[TextDelta | RagAnswer, None]:
        """The message in pieces, then exactly one ``RagAnswer``. Closing it stops the model.

        Raises:
            InvalidRequest: the conversation does not end with a question.
            RagError: as ``Answerer.stream`` does.
        """
        standalone = await self._standalone(talk)
        request = AskRequest(standalone.question, talk.space_id, self._top_k)
        text = CheckedText(self._checker, standalone.question)
        async with aclosing(self._answerer.stream(request)) as events:
            async for event in events:
                if isinstance(event, SourcesFound):
                    text.sources = tuple(source.scored.stored for source in event.sources)
                elif isinstance(event, TextDelta):
                    if new := await text.add(event.text):
                        yield TextDelta(new)
                elif isinstance(event, Answer):
                    rest = text.finish(event)
                    ended = await self._ended(event, text, standalone, talk)
                    if rest := rest + ended.text[len(text.shown) :]:
                        yield TextDelta(rest)
                    yield ended

    async def _standalone(self, talk: Conversation) -> Standalone:
        turns = [message for message in talk.messages if message.role != "system"]
        if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
            raise InvalidRequest("The last message must be the user's question.")
        question = turns[-1].content.strip()
        history = [_without_sources(turn) for turn in turns[:-1] if turn.content.strip()]
        if not history:
            return Standalone(question)
        if self._rewriter is None:
            why = "There is no chat model to read the conversation: only the last message counts."
            return Standalone(question, (why,))
        return await self._rewriter.standalone(question, history)

    async def _ended(
        self, answer: Answer, text: CheckedText, standalone: Standalone, talk: Conversation
    ) -> RagAnswer:
        held = text.placed(text.held(answer))
        disputed = text.disputed(answer) if answer.answered else ()
        warnings = [*talk.warnings, *standalone.warnings, *answer.warnings]
        if disputed:
            numbers = ", ".join(f"[{number}]" for number in disputed)
            warnings.append(f"The check of the whole answer did not confirm {numbers}.")
        placed = replace(answer, answer=text.shown, warnings=tuple(warnings))
        if answer.answered:
            placed = replace(
                placed,
                citations=text.placed(answer.citations),
                attributed=text.placed(answer.attributed),
            )
        shown = text.shown + source_list(held, answer.language)
        return RagAnswer(shown, standalone.question, placed, held, await self._usage(answer))

    async def _usage(self, answer: Answer) -> TokenUsage:
        if self._counter is None or answer.generation != "model":
            return TokenUsage(0, 0)
        written = await self._counter.count(answer.draft or answer.answer)
        return TokenUsage(answer.context.prompt_tokens, written.tokens)


def source_list(citations: Sequence[Citation], language: AnswerLanguage) -> str:
    """``[1] name, p. 3, «quote»``, one line for each quote; empty without citations."""
    lines: dict[str, None] = {}
    for citation in sorted(citations, key=lambda c: c.marker):
        page = f", {_PAGES[language]} {citation.page}" if citation.page is not None else ""
        quote = " ".join(citation.quote.split())
        lines[f"[{citation.marker}] {citation.source}{page}, «{quote}»"] = None
    return "\n\n" + "\n".join([_HEADS[language], *lines]) if lines else ""


def _without_sources(turn: Message) -> Message:
    """Our own list of sources says nothing that the answer above it does not."""
    if turn.role != "assistant":
        return turn
    return Message(turn.role, _SOURCE_LIST.sub("", turn.content))

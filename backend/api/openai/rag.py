"""``model: "rag/<space>"``: an answer from a space in the shape of a chat completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from backend.api.openai.chat import Ended, JsonObject, Reply, ReplyEvent
from backend.api.openai.errors import BadParameter
from backend.api.openai.schemas import ChatBody, messages_of, read_chat
from backend.api.schemas import MAX_QUESTION_CHARS, AskResponse, CitationOut
from backend.core.types import TextDelta
from backend.services.chat import RAG_PREFIX, Conversation, RagAnswer, RagChat

_NOT_USED = (
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "reasoning_effort",
    "chat_template_kwargs",
)
_REFUSED = ("stop", "response_format")  # they would change what can be checked


def answer_from_space(rag: RagChat, space_id: str, fields: JsonObject) -> Reply:
    """
    Raises:
        BadParameter: a field is wrong or cannot be honoured.
    """
    body = read_chat(fields)
    talk = Conversation(space_id, tuple(messages_of(body)), _warnings(body))
    _check(body, talk)
    model = RAG_PREFIX + space_id
    events = _events(rag, talk)
    return Reply(model, bool(body.stream), body.include_usage, events)


async def _events(rag: RagChat, talk: Conversation) -> AsyncGenerator[ReplyEvent, None]:
    stream = rag.stream(talk)
    try:
        async for event in stream:
            yield event if isinstance(event, TextDelta) else _ended(event, talk)
    finally:
        await stream.aclose()


def _ended(answer: RagAnswer, talk: Conversation) -> Ended:
    citations = [CitationOut.of(one).model_dump(mode="json") for one in answer.citations]
    report = AskResponse.of(answer.answer).model_dump(mode="json")
    del report["answer"]  # the message
    rag = {"space_id": talk.space_id, "question": answer.question, **report}
    return Ended(
        answer.answer.context.finish_reason or "stop",
        answer.usage,
        {"citations": citations},
        {"rag": rag},
    )


def _warnings(body: ChatBody) -> tuple[str, ...]:
    warnings = []
    if any(message.role in ("system", "developer") for message in body.messages):
        warnings.append("System messages do not change how a space answers; they were not used.")
    unused = [name for name in _NOT_USED if getattr(body, name) is not None]
    if unused:
        warnings.append(f"Not used by rag/ models: {', '.join(unused)}.")
    return tuple(warnings)


def _check(body: ChatBody, talk: Conversation) -> None:
    for name in _REFUSED:
        if getattr(body, name) not in (None, []) and not _is_plain_text(body, name):
            raise BadParameter(name, f"`{name}` is not supported by rag/ models.")
    last = len(body.messages) - 1
    question = talk.messages[last]
    where = f"messages[{last}]"
    if question.role != "user" or not question.content.strip():
        raise BadParameter(where, "The last message must be the user's question.")
    if len(question.content) > MAX_QUESTION_CHARS:
        raise BadParameter(
            f"{where}.content",
            f"The question has {len(question.content)} characters; "
            f"at most {MAX_QUESTION_CHARS} are allowed.",
        )


def _is_plain_text(body: ChatBody, name: str) -> bool:
    wanted = body.response_format
    return name == "response_format" and wanted is not None and wanted.type == "text"

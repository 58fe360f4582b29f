"""Requests of the OpenAI API that we answer ourselves, read strictly: what cannot be honoured is
refused by name, and nothing that would change the answer is overlooked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.api.openai.errors import BadParameter
from backend.core.types import Message, ReasoningMode, Role, Sampling

# Fields that change nothing of the answer's text.
_HARMLESS = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls".split()
)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_NO_REASONING = frozenset({"none"})
Shape = TypeVar("Shape", bound=BaseModel)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    def refuse_unknown(self, where: str = "") -> None:
        for name, value in (self.model_extra or {}).items():
            if name not in _HARMLESS and value not in (None, [], {}, False):
                raise BadParameter(where + name, f"`{where}{name}` is not supported here.")


class TextPart(_Loose):
    type: str
    text: str | None = None


class ChatMessage(_Loose):
    role: str
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None


class StreamOptions(_Loose):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ResponseFormat(_Loose):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: dict[str, Any] | None = None


class ChatBody(_Loose):
    """``tools``, images, ``n`` over 1 and the like are not here, and so refused."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0)
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    tool_choice: Any = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class EmbeddingBody(_Loose):
    input: str | list[str] | list[int] | list[list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "passage"] = "passage"


class RerankBody(_Loose):
    query: str
    documents: list[str] = Field(min_length=1)
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


def read_chat(fields: dict[str, object]) -> ChatBody:
    """
    Raises:
        BadParameter: a field is wrong, or cannot be honoured.
    """
    body = read(ChatBody, fields)
    if body.n not in (None, 1):
        raise BadParameter("n", "`n` over 1 is not supported here.")
    if body.tool_choice not in (None, "none", "auto"):
        raise BadParameter("tool_choice", "`tool_choice` is not supported here.")
    for index, message in enumerate(body.messages):
        message.refuse_unknown(f"messages[{index}].")
    return body


def read(shape: type[Shape], fields: dict[str, object]) -> Shape:
    try:
        body = shape.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        param = _path(problem["loc"])
        raise BadParameter(param, f"`{param}`: {problem['msg']}.") from error
    if isinstance(body, _Loose):
        body.refuse_unknown()
    return body


def messages_of(body: ChatBody) -> list[Message]:
    return [_message(message, f"messages[{n}]") for n, message in enumerate(body.messages)]


def sampling_of(body: ChatBody, defaults: Sampling) -> Sampling:
    """What the request says; the rest as the operator has set it."""
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    temperature = defaults.temperature if body.temperature is None else body.temperature
    return Sampling(
        max_tokens=body.max_completion_tokens or body.max_tokens or defaults.max_tokens,
        temperature=temperature,
        top_p=body.top_p if body.top_p is not None else defaults.top_p,
        top_k=body.top_k if body.top_k is not None else defaults.top_k,
        min_p=body.min_p if body.min_p is not None else defaults.min_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=body.repetition_penalty,
        stop=stop,
        seed=body.seed,
        json_schema=_json_schema(body.response_format),
        reasoning=_reasoning(body) or defaults.reasoning,
    )


def _message(message: ChatMessage, where: str) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise BadParameter(f"{where}.role", f"`{where}.role` {message.role!r} is not supported.")
    if message.content is None:
        raise BadParameter(f"{where}.content", f"`{where}.content` is missing.")
    if isinstance(message.content, str):
        return Message(role, message.content)
    return Message(role, "\n".join(_texts(message.content, f"{where}.content")))


def _texts(parts: Sequence[TextPart], where: str) -> list[str]:
    for index, part in enumerate(parts):
        if part.type != "text" or part.text is None:
            param = f"{where}[{index}].type"
            raise BadParameter(param, f"`{param}` {part.type!r} is not supported: only text is.")
    return [part.text or "" for part in parts]


def _json_schema(wanted: ResponseFormat | None) -> str | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return json.dumps({"type": "object"})
    schema = (wanted.json_schema or {}).get("schema")
    if not isinstance(schema, dict):
        param = "response_format.json_schema.schema"
        raise BadParameter(param, f"`{param}` must be a JSON schema.")
    return json.dumps(schema, ensure_ascii=False)


def _reasoning(body: ChatBody) -> ReasoningMode | None:
    for name, value in (body.chat_template_kwargs or {}).items():
        if name != "enable_thinking" or not isinstance(value, bool):
            param = f"chat_template_kwargs.{name}"
            raise BadParameter(param, f"`{param}` is not supported here.")
        return "on" if value else "off"
    if body.reasoning_effort is None:
        return None
    return "off" if body.reasoning_effort in _NO_REASONING else "on"


def _path(location: Sequence[int | str]) -> str:
    """``("messages", 0, "content", "str")`` as ``messages[0].content``."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.isidentifier() or part in ("str", "int", "float"):
            break  # which branch of a union was tried
        else:
            path += f".{part}" if path else part
    return path or "body"

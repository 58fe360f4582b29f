"""What decisions, tasks and questions of a thread look like as JSON, and reading it.

Only keywords that llama.cpp's grammar converter, xgrammar (vLLM) and Ollama all enforce: type,
properties, required, additionalProperties, items, minLength, maxLength, maxItems. "Not said" is an
empty string, because unions with null are what converters differ in; lengths stay far below the
2,000 repetitions that llama.cpp refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from backend.core.errors import UnusableCompletion
from backend.core.language import AnswerLanguage
from backend.core.summaries import ActionItem, Decision, Structure

_TEXT_CHARS = 400
_NAME_CHARS = 80
_TOPIC_CHARS = 100
_MOST = {
    "decisions": 10,
    "action_items": 12,
    "topics": 8,
    "participants": 24,
    "open_questions": 8,
}
_DECISION = {"what": _TEXT_CHARS, "who": _NAME_CHARS, "when": _NAME_CHARS}
_ACTION = {"task": _TEXT_CHARS, "owner": _NAME_CHARS, "deadline": _NAME_CHARS}
_ITEMS: dict[str, dict[str, int]] = {"decisions": _DECISION, "action_items": _ACTION}
_LINES = {"topics": _TOPIC_CHARS, "participants": _NAME_CHARS, "open_questions": _TEXT_CHARS}
_DESCRIPTIONS: dict[AnswerLanguage, dict[str, str]] = {
    "ru": {
        "decisions": "принятые решения",
        "what": "что решено",
        "who": "кто решил, пустая строка, если не сказано",
        "when": "когда решено, пустая строка, если не сказано",
        "action_items": "поручения и взятые на себя задачи",
        "task": "что сделать",
        "owner": "кто отвечает, пустая строка, если не сказано",
        "deadline": "срок, как он назван, пустая строка, если не сказано",
        "topics": "темы, по нескольку слов",
        "participants": "кто пишет или назван участником, имя и фамилия",
        "open_questions": "вопросы, оставшиеся без ответа",
    },
    "en": {
        "decisions": "decisions that were made",
        "what": "what was decided",
        "who": "who decided, an empty string if not said",
        "when": "when it was decided, an empty string if not said",
        "action_items": "tasks that were given or taken on",
        "task": "what is to be done",
        "owner": "who is responsible, an empty string if not said",
        "deadline": "the deadline as it is named, an empty string if not said",
        "topics": "topics, a few words each",
        "participants": "who writes or is named as taking part, first and last name",
        "open_questions": "questions that were left without an answer",
    },
}
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*\Z", re.DOTALL | re.IGNORECASE)
_NOT_SAID = re.compile(
    r"(?:не (?:указан|назван|определен|сказан|известн|задан|установлен|назначен)\w*|"
    r"нет(?: данных)?|"
    r"неизвестн\w*|отсутствует|unknown|none|null|n/?a|not (?:specified|stated|said|mentioned|given|"
    r"known|set|defined|provided|applicable)|unspecified|tbd|empty string|пустая строка|[\W_]+)?",
    re.IGNORECASE,
)


def structure_schema(language: AnswerLanguage) -> str:
    """The JSON schema of ``Sampling.json_schema``; descriptions are in ``language``."""
    said = _DESCRIPTIONS[language]
    properties: dict[str, object] = {}
    for name, most in _MOST.items():
        item = _object(_ITEMS[name], said) if name in _ITEMS else _string(_LINES[name], least=1)
        properties[name] = {
            "type": "array",
            "description": said[name],
            "items": item,
            "maxItems": most,
        }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(_MOST),
        "additionalProperties": False,
    }
    return json.dumps(schema, ensure_ascii=False)


def parse_structure(text: str, *, dependency: str) -> Structure:
    """Code fences around the JSON are taken off; nothing else is mended. Lists may all be empty:
    a greeting decides nothing.

    Raises:
        UnusableCompletion: "format", saying where it differs from the schema.
    """
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
        _require(isinstance(value, dict), "it is not an object")
        _require_keys(value, list(_MOST), "the object")
        structure = Structure(
            decisions=tuple(Decision(*found) for found in _objects(value, "decisions")),
            action_items=tuple(ActionItem(*found) for found in _objects(value, "action_items")),
            topics=tuple(_lines(value, "topics")),
            participants=tuple(_lines(value, "participants")),
            open_questions=tuple(_lines(value, "open_questions")),
        )
    except json.JSONDecodeError as error:
        why = f"it is not JSON ({error.msg} at character {error.pos})"
        raise _unusable(why, dependency) from error
    except RecursionError as error:
        raise _unusable("it is nested too deeply", dependency) from error
    except _Mismatch as error:
        raise _unusable(str(error), dependency) from error
    return structure


class _Mismatch(ValueError):
    """The JSON is not what the schema says."""


def _object(lengths: dict[str, int], said: dict[str, str]) -> dict[str, object]:
    first = next(iter(lengths))
    return {
        "type": "object",
        "properties": {
            name: _string(most, least=int(name == first)) | {"description": said[name]}
            for name, most in lengths.items()
        },
        "required": list(lengths),
        "additionalProperties": False,
    }


def _string(most: int, *, least: int) -> dict[str, object]:
    return {"type": "string", "minLength": least, "maxLength": most}


def _objects(value: dict[str, object], key: str) -> Iterator[tuple[str, str | None, str | None]]:
    for item in _list(value, key):
        _require(isinstance(item, dict), f"an entry of {key} is not an object")
        if isinstance(item, dict):
            _require_keys(item, list(_ITEMS[key]), f"an entry of {key}")
            what, who, when = (
                _string_of(item[name], most, f"{key}.{name}") for name, most in _ITEMS[key].items()
            )
            if what is not None:
                yield what, who, when


def _lines(value: dict[str, object], key: str) -> Iterator[str]:
    for item in _list(value, key):
        line = _string_of(item, _LINES[key], key)
        if line is not None:
            yield line


def _list(value: dict[str, object], key: str) -> list[object]:
    found = value[key]
    if not isinstance(found, list):
        raise _Mismatch(f"{key} is not a list")
    _require(len(found) <= _MOST[key], f"{key} has more than {_MOST[key]} entries")
    return found


def _string_of(value: object, most: int, place: str) -> str | None:
    """None for what says that nothing was said."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Mismatch(f"{place} is not a string")
    _require(len(value) <= most, f"{place} is longer than {most} characters")
    line = " ".join(value.split())
    if len(value) == most and line[-1:].isalnum():
        line = line.rpartition(" ")[0] + "…"  # the grammar ended it, not the model
    return None if _NOT_SAID.fullmatch(line) else line


def _require_keys(value: dict[str, object], keys: list[str], place: str) -> None:
    missing = [key for key in keys if key not in value]
    _require(not missing, f"{place} lacks {', '.join(missing)}")
    _require(len(value) == len(keys), f"{place} has fields that were not asked for")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise _Mismatch(why)


def _unusable(why: str, dependency: str) -> UnusableCompletion:
    message = f"The structure that {dependency} wrote is not usable: {why}."
    return UnusableCompletion(message, dependency=dependency, reason="format")

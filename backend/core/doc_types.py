"""Which kind of document this is: given by the caller, by its folder's name, else guessed."""

from __future__ import annotations

import re

from backend.core.errors import InvalidRequest
from backend.core.types import DocType, DocTypeOrigin

_FOLDERS = {
    DocType.EMAIL: ("email", "emails", "mail", "mails", "почта", "письма"),
    DocType.PROTOCOLS: ("protocol", "minutes", "meetings", "протоколы", "совещания"),
    DocType.PRESENTATIONS: ("presentation", "slides", "презентации"),
    DocType.TECHNICAL: ("technical", "tech", "specs", "техдокументация", "технические"),
    DocType.WORK_PLANS: ("work_plan", "plans", "планы", "план_работ"),
    DocType.MESSENGER: ("messenger", "chat", "chats", "чаты", "переписка"),
}
_BY_FOLDER = {name: kind for kind, names in _FOLDERS.items() for name in names} | {
    kind.value: kind for kind in DocType
}

_MAIL_HEADER = re.compile(
    r"^\W{0,3}(from|to|subject|date|cc|от|кому|тема|дата|копия)\W{0,3}:", re.I | re.M
)
_CHAT_LINE = re.compile(
    r"^\W{0,2}(\d{1,4}[./-]\d{1,2}[./-]\d{1,4},?\s+)?\d{1,2}:\d{2}(:\d{2})?\W{1,4}\S.{0,60}?(:|$)",
    re.M,
)
_MINUTES = re.compile(
    r"\b(протокол|minutes of|meeting minutes|присутствовали|attendees|повестка|agenda)\b", re.I
)
_PLAN = re.compile(
    r"\b(срок|дедлайн|deadline|due)\b.*\b(ответственный|исполнитель|owner|assignee)\b|"
    r"\b(ответственный|исполнитель|owner|assignee)\b.*\b(срок|дедлайн|deadline|due)\b",
    re.I,
)
_SLIDES = re.compile(r"^\W{0,4}(slide|слайд)\s*\d+", re.I | re.M)
_TECHNICAL = re.compile(
    r"```|\b(api|endpoint|docker|postgresql|http|json|конфигураци\w+|архитектур\w+|эндпоинт\w*|"
    r"техническ\w+ (задание|требования)|deployment|schema|latency)\b",
    re.I,
)
_SAMPLE_CHARS = 20_000


def parse_doc_type(value: str) -> DocType:
    """
    Raises:
        InvalidRequest: not one of the known types; the message lists them.
    """
    try:
        return DocType(value)
    except ValueError as error:
        allowed = ", ".join(kind.value for kind in DocType)
        raise InvalidRequest(f"doc_type {value!r} is unknown. Allowed: {allowed}.") from error


def decide_doc_type(given: DocType | None, source: str, text: str) -> tuple[DocType, DocTypeOrigin]:
    if given is not None:
        return given, "given"
    for folder in reversed(source.lower().split("/")[:-1]):
        kind = _BY_FOLDER.get(folder.strip().replace(" ", "_").replace("-", "_"))
        if kind is not None:
            return kind, "folder"
    return _guess(text[:_SAMPLE_CHARS]), "guessed"


def _guess(text: str) -> DocType:
    """Signs of form first, of subject last: a mail about an API is a mail."""
    lines = [line for line in text.splitlines() if line.strip()]
    signs = (
        (DocType.EMAIL, len(_distinct(_MAIL_HEADER, text)), 3),
        (DocType.MESSENGER, len(_CHAT_LINE.findall(text)), max(3, 0.3 * len(lines))),
        (DocType.PROTOCOLS, len(_distinct(_MINUTES, text)), 2),
        (DocType.PRESENTATIONS, len(_SLIDES.findall(text)), 3),
        (DocType.WORK_PLANS, sum(1 for line in lines if _PLAN.search(line)), 2),
        (DocType.TECHNICAL, len(_TECHNICAL.findall(text)), max(4, 0.05 * len(lines))),
    )
    return next((kind for kind, found, enough in signs if found >= enough), DocType.UNSTRUCTURED)


def _distinct(pattern: re.Pattern[str], text: str) -> set[str]:
    return {match.group(1).lower() for match in pattern.finditer(text)}

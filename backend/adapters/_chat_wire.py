"""What the chat requests and the token counts of one server must say alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from backend.core.models import ReasoningSwitch
from backend.core.types import Message, ReasoningMode

EFFORT = {"on": "medium", "off": "low"}


def as_wire(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [asdict(message) for message in messages]


def template_variables(mode: ReasoningMode, switch: ReasoningSwitch) -> dict[str, object]:
    """What goes into ``chat_template_kwargs``; nothing where the template is to decide."""
    if mode == "auto" or switch == "none":
        return {}
    if switch == "enable_thinking":
        return {"enable_thinking": mode == "on"}
    return {"reasoning_effort": EFFORT[mode]}

"""What the chat requests and the token counts of one server must say alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from backend.core.types import Message, ReasoningMode

# How a model is told to reason or not: Qwen3, GLM and DeepSeek by a variable of their template,
# gpt-oss by how much effort it makes (it cannot do without), others not at all.
ReasoningSwitch = Literal["enable_thinking", "reasoning_effort", "none"]

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

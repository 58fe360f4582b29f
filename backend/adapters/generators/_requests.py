"""Our sampling in the words of each server that speaks the OpenAI chat protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from backend.adapters._chat_wire import EFFORT, as_wire, template_variables
from backend.core.models import ReasoningSwitch
from backend.core.types import Message, Sampling

Dialect = Literal["vllm", "llamacpp"]

# llama.cpp notices that a client has left only while it writes to it. This makes it write while
# it reads a prompt, which takes most of the time on a CPU. Other servers may refuse the field.
LLAMACPP_BODY: Mapping[str, object] = MappingProxyType({"return_progress": True})

_AS_NAMED = ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed")


def chat_request(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    *,
    dialect: Dialect,
    switch: ReasoningSwitch,
    extra: Mapping[str, object],
) -> dict[str, object]:
    """The body of ``/v1/chat/completions``. What is None is left out, so the server decides."""
    body: dict[str, object] = {
        "model": model,
        "messages": as_wire(messages),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in _AS_NAMED:
        if (value := getattr(sampling, name)) is not None:
            body[name] = value
    if sampling.repetition_penalty is not None:
        name = "repeat_penalty" if dialect == "llamacpp" else "repetition_penalty"
        body[name] = sampling.repetition_penalty
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.json_schema is not None:
        body["response_format"] = _json_only(sampling.json_schema)
    if dialect == "llamacpp":
        body |= LLAMACPP_BODY
    return _merged(body | _reasoning(sampling, dialect, switch), extra)


def _json_only(schema: str) -> dict[str, object]:
    named = {"name": "answer", "strict": True, "schema": json.loads(schema)}
    return {"type": "json_schema", "json_schema": named}


def _reasoning(sampling: Sampling, dialect: Dialect, switch: ReasoningSwitch) -> dict[str, object]:
    variables = template_variables(sampling.reasoning, switch)
    if variables and switch == "reasoning_effort" and dialect == "vllm":
        # vLLM renders gpt-oss without a template, so a variable of the template would be lost.
        return {"reasoning_effort": EFFORT[sampling.reasoning]}
    return {"chat_template_kwargs": variables} if variables else {}


def _merged(body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """``extra`` wins, except that variables of the template are joined."""
    ours, theirs = body.get("chat_template_kwargs"), extra.get("chat_template_kwargs")
    merged = body | dict(extra)
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        merged["chat_template_kwargs"] = dict(theirs) | ours
    return merged

"""What to do about a model that the server does not know by our name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.errors import ModelNotServed

_MOST_NAMES = 20  # in a sentence; the error carries them all
_ENOUGH = 4  # letters and digits that two names share by more than chance
_OLLAMA_TAG = re.compile(r"[\w.-]+(/[\w.-]+)*:[\w.-]+")


@dataclass(frozen=True, slots=True)
class ServedName:
    """``root`` is the repository or folder behind the name, where the server says it."""

    name: str
    root: str | None = None


def not_served(server: str, model: str, served: Sequence[ServedName]) -> ModelNotServed:
    """The error that names the line to change."""
    names = tuple(entry.name for entry in served)
    shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    sentences = [
        f"{server} does not serve the model {model!r}. It serves: {shown or 'no model'}.",
        *_explanation(server, model, served),
    ]
    if best := _best(model, served):
        sentences.append(f"Set LLM_MODEL={best}.")
    elif names:
        sentences.append("Set LLM_MODEL to one of these names.")
    return ModelNotServed(" ".join(sentences), dependency=server, model=model, served=names)


def _explanation(server: str, model: str, served: Sequence[ServedName]) -> list[str]:
    if alias := _behind(model, served):
        return [f"{model!r} is the model behind the name {alias!r}."]
    if _OLLAMA_TAG.fullmatch(model):
        return [
            f"{model!r} is a name in Ollama's style; {server} knows a model by its Hugging Face "
            "name (organisation/model) or by its --served-model-name."
        ]
    return []


def _behind(model: str, served: Sequence[ServedName]) -> str | None:
    """The name whose root is our model, as a repository or as a folder called like it."""
    for entry in served:
        if entry.root and _last_part(entry.root) == _last_part(model):
            return entry.name
    return None


def _best(model: str, served: Sequence[ServedName]) -> str | None:
    if alias := _behind(model, served):
        return alias
    for entry in served:
        ours, theirs = _letters(model), _letters(entry.name)
        if min(len(ours), len(theirs)) >= _ENOUGH and (ours in theirs or theirs in ours):
            return entry.name
    return served[0].name if len(served) == 1 else None


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()


def _letters(name: str) -> str:
    """``llama3.1:8b`` and ``meta-llama/Llama-3.1-8B`` differ in case and punctuation only."""
    return re.sub(r"[\W_]", "", name.casefold())

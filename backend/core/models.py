"""What is known of a chat model: the catalogue (``config/llm_models.json``), what its server says,
and what follows for retrieval and summaries. The smaller context window wins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backend.core.errors import ConfigurationError
from backend.core.token_budget import TokenBudget
from backend.core.types import ServedModel

# How a model is told to reason or not: Qwen3, GLM and DeepSeek by a variable of their template,
# gpt-oss by how much effort it makes (it cannot do without), others not at all.
ReasoningSwitch = Literal["none", "enable_thinking", "reasoning_effort"]

# The share of the window above which a document is summarized rather than read whole, and of that
# the longest summary: 3,000 and 1,500 of 8,192 tokens.
_THRESHOLD_SHARE = 3000 / 8192
_SUMMARY_SHARE = 0.5

# An embedding token is a longer piece of Russian text than a chat token of most models.
_CHAT_TOKENS_PER_EMBEDDING_TOKEN = 1.5
_SOURCE_TAG_TOKENS = 40

# Read by ``backend.core.memory_catalogue``.
_FOR_MEMORY_PLANNING = frozenset(
    """
    active_parameters_b kept_parameters_b weights_gb latent_size hidden_size intermediate_size
    vocabulary query_heads weight_block layers_sharing_a_cache experts linear_attention multimodal
    encoder sliding_window
    """.split()
)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One entry of the catalogue. Sizes in tokens; ``tokenizer`` is a bundled one."""

    name: str
    aliases: tuple[str, ...]
    context_window: int
    parameters_b: float
    layers: int
    kv_heads: int
    head_size: int
    quantization: str | None
    tokenizer: str | None
    reasoning: ReasoningSwitch
    max_output_tokens: int | None = None
    summarization_threshold: int | None = None
    summarization_max_output: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCatalogue:
    models: tuple[KnownModel, ...]

    def find(self, name: str) -> KnownModel | None:
        """By its id, an alias, or either without regard to case and ``:latest``."""
        wanted = _plain(name)
        for model in self.models:
            if wanted in map(_plain, (model.name, *model.aliases)):
                return model
        return None


def load_model_catalogue(path: Path) -> ModelCatalogue:
    """
    Raises:
        ConfigurationError: the file is not what its schema says.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["models"]
        return ModelCatalogue(tuple(_known(entry) for entry in entries))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path.name} cannot be used: {error!r}.") from error


def _known(entry: dict[str, Any]) -> KnownModel:
    values = {key: value for key, value in entry.items() if key not in _FOR_MEMORY_PLANNING}
    return KnownModel(**(values | {"aliases": tuple(entry["aliases"])}))


def _plain(name: str) -> str:
    return name.casefold().removesuffix(":latest")


@dataclass(frozen=True, slots=True)
class Value:
    """``origin`` says which file, setting, answer or formula the value comes from."""

    value: int | float | str | None
    origin: str


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What the operator set, in tokens; ``source_tokens`` of 0 is no limit of its own."""

    max_answer_tokens: int
    safety_margin: int
    source_tokens: int
    chunk_size_tokens: int


@dataclass(frozen=True, slots=True)
class ModelProfile:
    context_window: Value
    max_output_tokens: Value
    effective_context_for_rag: Value
    summarization_threshold: Value
    summarization_max_output: Value
    recommended_chunk_limit: Value
    warnings: tuple[str, ...]


def profile(
    served: ServedModel | None, known: KnownModel | None, limits: AnswerLimits, fallback: Value
) -> ModelProfile:
    """``served`` is None while the server cannot be asked; then the window is the smaller one of
    the catalogue's and ``fallback``."""
    window = _window(served, known, fallback)
    size = int(window.value or 0)
    budget = TokenBudget(size, limits.safety_margin, limits.max_answer_tokens)
    room = max(0, budget.prompt_limit)
    effective = Value(room, "context_window - safety margin - room for the answer")
    if limits.source_tokens and limits.source_tokens < room:
        effective = Value(limits.source_tokens, "ASK_CONTEXT_TOKENS")
    threshold = _at_most(
        round(size * _THRESHOLD_SHARE),
        "37 % of context_window",
        known.summarization_threshold if known else None,
    )
    summary = _at_most(
        round(int(threshold.value or 0) * _SUMMARY_SHARE),
        "half of summarization_threshold",
        known.summarization_max_output if known else None,
    )
    per_chunk = limits.chunk_size_tokens * _CHAT_TOKENS_PER_EMBEDDING_TOKEN + _SOURCE_TAG_TOKENS
    return ModelProfile(
        context_window=window,
        max_output_tokens=_max_output(size, known, limits),
        effective_context_for_rag=effective,
        summarization_threshold=threshold,
        summarization_max_output=summary,
        recommended_chunk_limit=Value(
            max(1, int(int(effective.value or 0) // per_chunk)),
            "effective_context_for_rag / CHUNK_SIZE_TOKENS, estimated in tokens of the chat model",
        ),
        warnings=tuple(window_warnings(served, known)),
    )


def window_warnings(served: ServedModel | None, known: KnownModel | None) -> Iterable[str]:
    """Where server, catalogue and what we asked for disagree."""
    if served is None:
        return
    trained = served.trained_window or (known.context_window if known else None)
    if trained is not None and served.context_window < trained:
        yield (
            f"The server gives {served.name} a context window of {served.context_window} tokens "
            f"({served.origin}); the model was trained for {trained}. The smaller one is used."
        )
    if trained is not None and served.context_window > trained:
        yield (
            f"The server offers {served.context_window} tokens, but {served.name} was trained for "
            f"{trained}: beyond that its answers cannot be relied on. {trained} are used."
        )
    if served.asked_window is not None and served.context_window < served.asked_window:
        yield (
            f"LLM_CONTEXT_WINDOW={served.asked_window} was asked for, but only "
            f"{served.context_window} tokens are to be had ({served.origin})."
        )


def usable_window(served: ServedModel, known: KnownModel | None) -> int:
    """Tokens of prompt and answer: what the server gives, at most what the model can."""
    trained = served.trained_window or (known.context_window if known else None)
    return min(served.context_window, trained or served.context_window)


def _window(served: ServedModel | None, known: KnownModel | None, fallback: Value) -> Value:
    if served is not None:
        usable = usable_window(served, known)
        if usable < served.context_window:
            return Value(usable, "trained for (the server offers more)")
        return Value(usable, served.origin)
    if known is not None and known.context_window < int(fallback.value or 0):
        return Value(known.context_window, "config/llm_models.json (the server did not answer)")
    return fallback


def _max_output(size: int, known: KnownModel | None, limits: AnswerLimits) -> Value:
    most = known.max_output_tokens if known else None
    room = max(1, size // 2)
    value, origin = limits.max_answer_tokens, "LLM_MAX_TOKENS"
    if room < value:
        value, origin = room, "half of context_window"
    if most is not None and most < value:
        value, origin = most, "config/llm_models.json"
    return Value(value, origin)


def _at_most(computed: int, formula: str, listed: int | None) -> Value:
    if listed is not None and listed <= computed:
        return Value(listed, "config/llm_models.json")
    return Value(computed, formula)

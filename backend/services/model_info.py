"""What the chat model is, what it can, and where each of these values comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.core.errors import RagError
from backend.core.models import (
    AnswerLimits,
    KnownModel,
    ModelProfile,
    Value,
    profile,
    window_warnings,
)
from backend.core.ports import Generator
from backend.core.types import ServedModel


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the product can do with the model through its provider."""

    streaming: bool = True
    json_schema: bool = True
    reasoning: bool = False
    exact_token_counts: bool = True


@dataclass(frozen=True, slots=True)
class ModelReport:
    """``unreachable`` says why the server could not be asked, where it could not."""

    model_name: str
    provider: str
    profile: ModelProfile
    tokens_per_second: Value
    quantization: Value
    parallel_requests: Value
    abilities: Abilities
    unreachable: str | None
    note: str | None


class ModelInspector:
    """``generator`` is None where answers are extractive; ``speed`` is tokens per second as
    measured, None before there was traffic."""

    def __init__(
        self,
        *,
        generator: Generator | None,
        provider: str,
        known: KnownModel | None,
        limits: AnswerLimits,
        fallback_window: int,
        exact_counts: bool,
        speed: Callable[[], float | None],
    ) -> None:
        self._generator = generator
        self._provider = provider
        self._known = known
        self._limits = limits
        self._fallback = Value(fallback_window, "LLM_CONTEXT_WINDOW (the server did not answer)")
        self._exact_counts = exact_counts
        self._speed = speed

    async def report(self) -> ModelReport:
        served, why = await self._ask()
        known = self._known
        speed = self._speed()
        return ModelReport(
            model_name=self._generator.model if self._generator else "extractive",
            provider=self._provider,
            profile=profile(served, known, self._limits, self._fallback),
            tokens_per_second=Value(
                round(speed, 1) if speed else None,
                "measured by this backend" if speed else "not measured yet",
            ),
            quantization=_quantization(served, known),
            parallel_requests=Value(
                served.parallel if served else None,
                self._provider if served and served.parallel else "the server does not say",
            ),
            abilities=Abilities(
                reasoning=known is not None and known.reasoning != "none",
                exact_token_counts=self._exact_counts,
            ),
            unreachable=why,
            note=known.note if known else None,
        )

    async def warnings(self) -> tuple[str, ...]:
        """Where the server, the catalogue and the settings disagree; nothing while the server
        cannot be asked, which the health check tells by itself."""
        served, _ = await self._ask()
        return tuple(window_warnings(served, self._known))

    async def _ask(self) -> tuple[ServedModel | None, str | None]:
        if self._generator is None:
            return None, "There is no chat model."
        try:
            return await self._generator.served(), None
        except RagError as error:
            return None, str(error)


def _quantization(served: ServedModel | None, known: KnownModel | None) -> Value:
    if served is not None and served.quantization:
        return Value(served.quantization, "the server")
    if known is not None and known.quantization:
        return Value(known.quantization, "config/llm_models.json")
    return Value(None, "not known")

"""What runs here, as JSON."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from backend.api.schemas import HealthResponse, Model
from backend.core.models import Value
from backend.services.model_info import ModelReport


class Supports(Model):
    streaming: bool
    json_schema: bool
    reasoning: bool
    exact_token_counts: bool


class ModelConfigOut(Model):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_name: str
    provider: str
    context_window: int
    max_output_tokens: int
    effective_context_for_rag: int
    summarization_threshold: int
    summarization_max_output: int
    recommended_chunk_limit: int
    tokens_per_second: float | None = Field(description="measured here; null before any traffic")
    quantization: str | None
    parallel_requests: int | None
    supports: Supports
    origin: dict[str, str] = Field(description="where each value comes from")
    warnings: tuple[str, ...]
    note: str | None

    @classmethod
    def values_of(cls, report: ModelReport) -> dict[str, object]:
        found = report.profile
        values: dict[str, Value] = {
            "context_window": found.context_window,
            "max_output_tokens": found.max_output_tokens,
            "effective_context_for_rag": found.effective_context_for_rag,
            "summarization_threshold": found.summarization_threshold,
            "summarization_max_output": found.summarization_max_output,
            "recommended_chunk_limit": found.recommended_chunk_limit,
            "tokens_per_second": report.tokens_per_second,
            "quantization": report.quantization,
            "parallel_requests": report.parallel_requests,
        }
        abilities = report.abilities
        return {
            "model_name": report.model_name,
            "provider": report.provider,
            **{name: value.value for name, value in values.items()},
            "supports": Supports(
                streaming=abilities.streaming,
                json_schema=abilities.json_schema,
                reasoning=abilities.reasoning,
                exact_token_counts=abilities.exact_token_counts,
            ),
            "origin": {name: value.origin for name, value in values.items()},
            "warnings": (*found.warnings, *filter(None, (report.unreachable,))),
            "note": report.note,
        }


class ModelConfigResponse(ModelConfigOut):
    small: ModelConfigOut | None = Field(description="the second, small model, where there is one")

    @classmethod
    def of(cls, report: ModelReport, small: ModelReport | None) -> ModelConfigResponse:
        second = ModelConfigOut.model_validate(cls.values_of(small)) if small else None
        return cls.model_validate(cls.values_of(report) | {"small": second})


class DeepHealthResponse(HealthResponse):
    age_seconds: float


class SettingOut(Model):
    value: str | int | float | bool | None
    origin: str


class ConfigResponse(Model):
    settings: dict[str, SettingOut]

"""Health checks, the model's description, the effective configuration."""

from __future__ import annotations

from backend.core.ports import Reranker
from backend.services.deep_health import DeepHealthChecker, one_embedding, one_score, one_token
from backend.services.health import Check, HealthChecker, LiveWarnings
from backend.services.model_info import ModelInspector
from backend.services.operation import Operation
from backend.settings import Settings, described
from backend.wiring.chat import Chat, answer_limits
from backend.wiring.embedding import Embedding


def build_operation(
    settings: Settings,
    chat: Chat,
    warnings: tuple[str, ...],
    *,
    embedding: Embedding | None = None,
    reranker: Reranker | None = None,
    store: Check | None = None,
    store_probe: Check | None = None,
) -> Operation:
    """``store_probe`` writes and reads, ``store`` only asks whether it is there."""
    checks: dict[str, Check] = {"generator": chat.check}
    probes: dict[str, Check] = {}
    if store is not None and store_probe is not None:
        checks = {"store": store} | checks
        probes["store"] = store_probe
    if embedding is not None:
        checks["embedder"] = embedding.check
        probes["embedder"] = one_embedding(embedding.embedder)
    if chat.model is not None:
        probes["generator"] = one_token(chat.model.background)
    if chat.small is not None:
        checks["small generator"] = chat.small.check
        probes["small generator"] = one_token(chat.small.model.background)
    if reranker is not None:
        checks["reranker"] = reranker.check
        probes["reranker"] = one_score(reranker)
    model = chat.main.inspector if chat.main else _no_model(settings)
    return Operation(
        health=HealthChecker(checks, warnings=_open_port(settings, warnings), live=_live(chat)),
        deep_health=DeepHealthChecker(probes, timeout_s=settings.llm_timeout),
        model=model,
        small_model=chat.small.inspector if chat.small else None,
        settings=described(settings),
    )


def _open_port(settings: Settings, warnings: tuple[str, ...]) -> tuple[str, ...]:
    if settings.api_keys:
        return warnings
    return (*warnings, "No API_KEY is set: everyone who reaches this port may use it.")


def _live(chat: Chat) -> LiveWarnings:
    async def warnings() -> tuple[str, ...]:
        served = [part for part in (chat.main, chat.small) if part is not None]
        found = [line for part in served for line in await part.inspector.warnings()]
        return (*found, *(chat.canary.warnings() if chat.canary else ()))

    return warnings


def _no_model(settings: Settings) -> ModelInspector:
    return ModelInspector(
        generator=None,
        provider="none",
        known=None,
        limits=answer_limits(settings),
        fallback_window=settings.llm_context_window,
        exact_counts=False,
        speed=lambda: None,
    )

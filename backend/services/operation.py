"""What the operator may ask of a running backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.services.deep_health import DeepHealthChecker
from backend.services.health import HealthChecker
from backend.services.model_info import ModelInspector

Setting = tuple[str | int | float | bool | None, str]  # the value, and where it was set


@dataclass(frozen=True, slots=True)
class Operation:
    """``small_model`` is the second, small model, where there is one."""

    health: HealthChecker
    deep_health: DeepHealthChecker
    model: ModelInspector
    small_model: ModelInspector | None
    settings: Mapping[str, Setting]

"""What the tests of the memory planner share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.core.gpus import find_gpu
from backend.core.memory_catalogue import load_planning_catalogue
from backend.core.memory_kv import Parallel, kv_layout
from backend.core.memory_model import Architecture
from backend.core.memory_plan import Plan, PlanOptions, plan

CATALOGUE = load_planning_catalogue(Path(__file__).parents[2] / "config" / "llm_models.json")
NAMES = sorted(entry["name"] for entry in CATALOGUE.entries if not entry.get("encoder"))


def known(name: str) -> Architecture:
    return CATALOGUE.find(name).model


def planned(name: str, gpu: str, **options: Any) -> Plan:
    return plan(known(name), find_gpu(gpu).gpu, PlanOptions(**options))


def token_bytes(
    name: str, tensor: int = 1, pipeline: int = 1, draft: int = 0, element: int = 2
) -> int:
    model = known(name).with_draft(draft)
    return kv_layout(model, Parallel(tensor, pipeline), element).token_bytes

"""How many numbers a model has, where its weights are not there to be measured."""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.memory_model import Experts


@dataclass(frozen=True, slots=True)
class Sizes:
    """``attention_parameters``: of all layers, None for the usual four matrices.
    ``other_parameters``: never quantized (image encoder, embeddings of each layer)."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    tied: bool
    gated: bool = True
    experts: Experts | None = None
    expert_layers: int = 0
    shared_expert_width: int = 0
    attention_parameters: int | None = None
    other_parameters: int = 0
    dense_beside_experts: bool = False

    @property
    def expert_parameters(self) -> int:
        """Of one expert in one layer."""
        return 3 * self.hidden * self.experts.width if self.experts else 0


def count(sizes: Sizes) -> tuple[int, int]:
    """All, and those that quantization leaves at 16 bits."""
    table = sizes.vocabulary * sizes.hidden * (1 if sizes.tied else 2)
    routers = sizes.expert_layers * sizes.hidden * (sizes.experts.count if sizes.experts else 0)
    norms = sizes.hidden * (2 * sizes.layers + 1)
    kept = table + routers + norms + sizes.other_parameters
    return kept + _attention(sizes) + _feed_forward(sizes), kept


def _attention(sizes: Sizes) -> int:
    if sizes.attention_parameters is not None:
        return sizes.attention_parameters
    width = sizes.head_size * (2 * sizes.heads + 2 * sizes.kv_heads)
    return sizes.layers * sizes.hidden * width


def _feed_forward(sizes: Sizes) -> int:
    dense = (3 if sizes.gated else 2) * sizes.hidden * sizes.intermediate
    if not sizes.experts:
        return sizes.layers * dense
    shared = 3 * sizes.hidden * sizes.shared_expert_width
    each = sizes.experts.count * sizes.expert_parameters + shared
    if sizes.dense_beside_experts:
        each += dense
    return sizes.expert_layers * each + (sizes.layers - sizes.expert_layers) * dense

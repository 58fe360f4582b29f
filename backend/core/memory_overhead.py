"""What a server takes besides weights and cache: activations, CUDA graphs, libraries.

Ranges from public logs, see ``docs/memory-plan.md``; nothing here is exact.
"""

from __future__ import annotations

from backend.core.memory_kv import Parallel
from backend.core.memory_model import GIB, Architecture, Range

Version = tuple[int, int]

# Bytes for each logit while the sampler is profiled. Up to 0.15 logs give 38.5 whatever the model
# and card (copies, sorted values and places, probabilities); since 0.21 FlashInfer's sampler
# needs 8 to 10, and the fallback where it cannot be had 29.
_SAMPLER_BYTES = Range(8, 24, 38.5)
_SAMPLER_BYTES_2025 = Range(34, 38.5, 40)
_SAMPLER_BYTES_2026 = Range(8, 12, 30)

# The first build that takes CUDA graphs out of the budget; before they came on top of it.
GRAPHS_COUNTED: Version = (0, 21)
_SORTING_SAMPLER: Version = (0, 16)

# Beside cuBLAS and the context: NCCL's buffers grow with the GPUs.
_NON_TORCH = {1: Range(0.03, 0.10, 0.35), 2: Range(0.15, 0.5, 1.5), 4: Range(0.2, 0.8, 2.2)}
_NON_TORCH_MANY = Range(0.8, 1.8, 3.0)

_GRAPHS = Range(0.0, 0.2, 1.0)
_GRAPHS_PARALLEL = Range(0.0, 0.5, 1.6)

# The profiling run of an image encoder.
_IMAGES = Range(0.0, 0.3, 1.5)


def activations(
    model: Architecture,
    parallel: Parallel,
    tokens: int,
    sequences: int,
    version: Version | None = None,
) -> Range:
    """GiB at the peak of the profiling run with ``tokens`` in the batch.

    The pass through the layers or the sampling of ``sequences`` logits, whichever is larger.
    """
    layer = tokens * _layer_bytes(model, parallel) / GIB
    logits = min(tokens, sequences) * model.vocabulary / GIB if model.attention else 0.0
    sampler = _sampler_bytes(version)
    images = _IMAGES if model.multimodal else Range(0, 0, 0)
    peak = Range(
        max(0.5 * layer, logits * sampler.low),
        max(layer, logits * sampler.likely),
        max(1.7 * layer, logits * sampler.high),
    )
    return peak + images + Range(0.0, 0.05, 0.15)


def non_torch(parallel: Parallel) -> Range:
    """GiB of libraries on each GPU."""
    for gpus, seen in _NON_TORCH.items():
        if parallel.gpus <= gpus:
            return seen
    return _NON_TORCH_MANY


def graphs(parallel: Parallel, version: Version | None = None, *, eager: bool) -> Range:
    """GiB of CUDA graphs, which recent builds take out of the budget."""
    if eager or (version and version < GRAPHS_COUNTED):
        return Range(0, 0, 0)
    return _GRAPHS if parallel.gpus == 1 else _GRAPHS_PARALLEL


def _sampler_bytes(version: Version | None) -> Range:
    if version is None:
        return _SAMPLER_BYTES
    if version < _SORTING_SAMPLER:
        return _SAMPLER_BYTES_2025
    return _SAMPLER_BYTES_2026 if version >= GRAPHS_COUNTED else _SAMPLER_BYTES


def _layer_bytes(model: Architecture, parallel: Parallel) -> float:
    """Of one token in the widest layer: the hidden states that live on, and the wide middle."""
    hidden = 2 * model.hidden_size
    middle = 2 * 3 * model.intermediate_size / parallel.tensor
    if model.experts:
        routed = model.experts.active * (
            3 * model.experts.width / parallel.tensor + model.hidden_size
        )
        middle = max(middle, 2 * routed)
    return 4 * hidden + middle

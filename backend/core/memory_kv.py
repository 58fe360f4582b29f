"""The KV cache of vLLM's V1 engine: blocks, groups of layers, what one sequence takes.

Formulas follow ``vllm/v1/core/kv_cache_utils.py`` and ``kv_cache_interface.py``; the worked
examples and the logs they were checked with are in ``docs/memory-plan.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from backend.core.memory_model import GIB, Architecture, Attention

BLOCK_TOKENS = 16

# With prefix caching a linear layer keeps the state of two block ends.
_STATE_BLOCKS = 2

# The server refuses lengths beyond what any model is trained for long before this.
_LONGEST = 1 << 27


@dataclass(frozen=True, slots=True)
class Parallel:
    """How many GPUs share each layer, and how many share the layers."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline


@dataclass(frozen=True, slots=True)
class Group:
    """``count`` groups of layers alike; each takes its own blocks for a sequence.

    ``window`` is None where every token is kept. ``states`` > 0: that many blocks whatever
    the length.
    """

    count: int
    block_tokens: int
    window: int | None = None
    chunked: bool = False
    states: int = 0

    def blocks(self, tokens: int, in_flight: int) -> int:
        """Of one sequence of that length, while ``in_flight`` tokens are being computed."""
        if self.states:
            return self.count * self.states
        if self.window is None:
            return self.count * ceil(tokens / self.block_tokens)
        if self.chunked:
            return self.count * ceil(min(self.window + in_flight, tokens) / self.block_tokens)
        kept = min(self.window - 1 + in_flight, tokens)
        return self.count * (ceil(kept / self.block_tokens) + 1)


@dataclass(frozen=True, slots=True)
class KvLayout:
    """Blocks of one size for all groups, on the GPU that has most layers.

    ``token_bytes``: of a token in every layer, windows included, on one GPU.
    ``lasting_token_bytes``: what a token costs that the windows have left behind.
    """

    token_bytes: int
    lasting_token_bytes: int
    block_bytes: int
    groups: tuple[Group, ...]

    def sequence_blocks(self, tokens: int, in_flight: int) -> int:
        return sum(group.blocks(tokens, in_flight) for group in self.groups)

    def sequence_gib(self, tokens: int, in_flight: int) -> float:
        return self.sequence_blocks(tokens, in_flight) * self.block_bytes / GIB

    def concurrency(self, kv_gib: float, tokens: int, in_flight: int) -> float:
        """Sequences of that length at once: vLLM's "Maximum concurrency"."""
        if not self.groups:
            return float("inf")
        return self.blocks(kv_gib) / self.sequence_blocks(tokens, in_flight)

    def blocks(self, kv_gib: float) -> int:
        return max(0, int(kv_gib * GIB)) // self.block_bytes if self.block_bytes else 0

    def longest(self, kv_gib: float, in_flight: int, sequences: int = 1) -> int:
        """Tokens of the longest sequence that fits that many times, in whole blocks."""
        blocks = self.blocks(kv_gib)
        if not self.groups:
            return _LONGEST
        step = min(group.block_tokens for group in self.groups if not group.states)
        most = _largest(
            lambda n: self.sequence_blocks(n * step, in_flight) * sequences <= blocks,
            _LONGEST // step,
        )
        return most * step


def kv_layout(model: Architecture, parallel: Parallel, element_bytes: int) -> KvLayout:
    """``element_bytes``: 2, or 1 for an fp8 cache."""
    kinds = model.attention
    if not kinds:
        return KvLayout(0, 0, 0, ())
    costs = [kind.token_bytes(parallel.tensor, element_bytes) for kind in kinds]
    each = list(zip(kinds, costs, strict=True))
    token = sum(cost * _share(kind.layers, parallel) for kind, cost in each)
    lasting = sum(cost * _share(kind.layers, parallel) for kind, cost in each if not kind.window)
    size = _group_size(model)
    tokens_in_block, page = _page(model, parallel, max(costs))
    groups = [_group(kind, size, _block_tokens(tokens_in_block, page, cost)) for kind, cost in each]
    if model.linear:
        count = ceil(model.linear.layers / size)
        groups.append(Group(count, tokens_in_block, states=_STATE_BLOCKS))
    return KvLayout(token, lasting, page * _share(size, parallel), tuple(groups))


def _share(layers: int, parallel: Parallel) -> int:
    """Layers of the GPU that has most: with pipeline parallelism the fullest worker decides."""
    return ceil(layers / parallel.pipeline)


def _group_size(model: Architecture) -> int:
    """Layers in a group: the smallest kind's number, or the largest's where they differ by less
    than half (a draft head's layer would otherwise double the groups)."""
    counts = [kind.layers for kind in model.attention]
    if model.linear:
        counts.append(model.linear.layers)
    return max(counts) if max(counts) < min(counts) * 1.5 else min(counts)


def _page(model: Architecture, parallel: Parallel, token_bytes: int) -> tuple[int, int]:
    """Tokens and bytes of a block in one layer; a linear layer's state must fit into it."""
    tokens = BLOCK_TOKENS
    if model.linear:
        state = model.linear.state_bytes(parallel.tensor)
        tokens = max(tokens, ceil(state / token_bytes / BLOCK_TOKENS) * BLOCK_TOKENS)
    return tokens, tokens * token_bytes


def _block_tokens(tokens: int, page: int, cost: int) -> int:
    """Layers with smaller tokens put more of them into a block, where they divide it evenly."""
    own = tokens * cost
    return tokens * (page // own) if page % own == 0 else tokens


def _group(kind: Attention, size: int, block_tokens: int) -> Group:
    return Group(ceil(kind.layers / size), block_tokens, kind.window, kind.chunked)


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that fits, 0 if none does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low

"""What of a model decides how much memory it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Attention:
    """Layers that keep the same of every token.

    ``window``: tokens kept of a sliding window, None for all. ``chunked``: of a local chunk
    instead (Llama 4). ``latent``: keys and values are one vector of ``head_size`` numbers, which
    tensor parallelism does not divide (MLA: ``kv_lora_rank + qk_rope_head_dim``).
    """

    layers: int
    kv_heads: int
    head_size: int
    window: int | None = None
    chunked: bool = False
    latent: bool = False

    def token_bytes(self, tensor_parallel: int, element_bytes: int) -> int:
        """Of one layer, one token, on one GPU."""
        if self.latent:
            return self.head_size * element_bytes
        heads = max(1, -(-self.kv_heads // tensor_parallel))
        return 2 * heads * self.head_size * element_bytes


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Layers with a state of fixed size (gated delta net): a convolution's and a matrix."""

    layers: int
    key_heads: int
    value_heads: int
    key_size: int
    value_size: int
    kernel: int
    state_element_bytes: int = 4

    def state_bytes(self, tensor_parallel: int) -> int:
        """Of one layer, one sequence, on one GPU."""
        channels = 2 * self.key_heads * self.key_size + self.value_heads * self.value_size
        convolution = channels // tensor_parallel * (self.kernel - 1) * 2
        heads = max(1, self.value_heads // tensor_parallel)
        return convolution + heads * self.key_size * self.value_size * self.state_element_bytes


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: how many, how many answer for a token, how wide each is."""

    count: int
    active: int
    width: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """``parameters`` counts all numbers, ``kept_parameters`` those that quantization leaves at
    16 bits (embeddings, output head, routers, vision). ``weight_bytes``: on disk, where known.
    ``attention`` is empty for an encoder: it keeps nothing of a sequence. ``query_heads`` and
    ``weight_block`` (of fp8 weights scaled block by block) limit how it can be divided; 0: unknown.
    """

    name: str
    attention: tuple[Attention, ...]
    parameters: int
    kept_parameters: int
    context_window: int
    hidden_size: int
    intermediate_size: int
    vocabulary: int
    quantization: str | None = None
    weight_bytes: int | None = None
    linear: LinearAttention | None = None
    experts: Experts | None = None
    multimodal: bool = False
    kv_cache_dtype: str = "auto"
    query_heads: int = 0
    weight_block: int = 0

    @property
    def layers(self) -> int:
        return sum(kind.layers for kind in self.attention) + (
            self.linear.layers if self.linear else 0
        )

    @property
    def is_hybrid(self) -> bool:
        return len(self.attention) > 1 or self.linear is not None

    def without_windows(self) -> Architecture:
        """As a server keeps it that gives windows and chunks no blocks of their own: in full."""
        whole: dict[tuple[int, int, bool], Attention] = {}
        for kind in self.attention:
            key = (kind.kv_heads, kind.head_size, kind.latent)
            layers = kind.layers + (whole[key].layers if key in whole else 0)
            whole[key] = Attention(layers, kind.kv_heads, kind.head_size, latent=kind.latent)
        return replace(self, attention=tuple(whole.values()))

    def with_draft(self, layers: int) -> Architecture:
        """With that many layers of a draft head (EAGLE, MTP) behind its own."""
        if not layers or not self.attention:
            return self
        full = max(self.attention, key=lambda kind: (kind.window is None, kind.layers))
        grown = tuple(
            replace(kind, layers=kind.layers + layers) if kind is full else kind
            for kind in self.attention
        )
        per_layer = (self.parameters - self.kept_parameters) // max(1, self.layers)
        added = per_layer * layers
        disk = self.weight_bytes and self.weight_bytes + 2 * added
        kept = self.kept_parameters + added
        return replace(
            self,
            attention=grown,
            parameters=self.parameters + added,
            kept_parameters=kept,
            weight_bytes=disk,
        )


@dataclass(frozen=True, slots=True)
class Range:
    """What may come out, and what most likely does."""

    low: float
    likely: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

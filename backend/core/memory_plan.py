"""Will a model fit on a GPU, on several, on a slice: ``plan(model, gpu, options) -> Plan``.

``model`` comes from ``backend.core.memory_catalogue.known_architecture`` (an entry of
``config/llm_models.json``) or ``backend.core.memory_config.architecture`` (a ``config.json``);
``gpu`` from ``backend.core.gpus.find_gpu``, ``of_memory`` or ``Gpu.slice``. Pure arithmetic; no
file is read. All memory is in GiB and of one GPU: the fullest worker decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from backend.core.errors import ConfigurationError
from backend.core.gpus import Gpu
from backend.core.memory_kv import KvLayout, Parallel, kv_layout
from backend.core.memory_model import Architecture, Range
from backend.core.memory_overhead import (
    GRAPHS_COUNTED,
    Version,
    activations,
    graphs,
    non_torch,
)
from backend.core.memory_weights import weights

DEFAULT_UTILIZATION = 0.92  # vLLM's own in 2026; 0.90 before

# A CUDA context and the driver have this much before a server asks what is free.
CONTEXT_GIB = 0.45

# So far the arithmetic and real servers may lie apart, on GPUs up to 24 GB and above.
_GREY_SMALL_GIB, _GREY_LARGE_GIB, _SMALL_GPU_GIB = 1.0, 3.0, 24.5


class Verdict(StrEnum):
    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does not fit"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """``context`` None: the model's whole window, as vLLM takes it. ``quantization`` None: the
    model's own. ``kv_gib``: what a log said is available, instead of the estimate. ``version``
    of vLLM narrows the ranges; None: any build of 2025 or 2026. Without ``hybrid`` (vLLM's
    ``--disable-hybrid-kv-cache-manager``) sliding windows are kept in full."""

    context: int | None = None
    concurrency: int = 1
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    parallel: Parallel = field(default_factory=Parallel)
    utilization: float = DEFAULT_UTILIZATION
    batched_tokens: int | None = None
    sequences: int | None = None
    draft_layers: int = 0
    eager: bool = False
    kv_gib: float | None = None
    version: Version | None = None
    hybrid: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """``missing_gib`` > 0: that much more cache is needed; below 0: that much is left over.

    ``max_context`` in tokens of one sequence, ``max_context_shared`` of each of
    ``options.concurrency``; both as a range, at most the model's window. ``asked`` is the model
    without the draft layers that ``model`` has; ``cautious`` the layout that takes most.
    """

    asked: Architecture
    model: Architecture
    gpu: Gpu
    options: PlanOptions
    layout: KvLayout
    cautious: KvLayout
    context: int
    weights: Range
    overhead: Range
    budget: Range
    needed_gib: float
    problems: tuple[str, ...]
    verdict: Verdict

    @property
    def max_context(self) -> Range:
        return self._longest(1)

    @property
    def max_context_shared(self) -> Range:
        return self._longest(self.options.concurrency)

    @property
    def concurrency(self) -> Range:
        """Sequences of ``context`` tokens at once."""
        batch, budget = self.batched_tokens, self.budget
        return Range(
            self.cautious.concurrency(budget.low, self.context, 2 * batch),
            self.layout.concurrency(budget.likely, self.context, batch),
            self.layout.concurrency(budget.high, self.context, batch),
        )

    def _longest(self, sequences: int) -> Range:
        # Two batches are in flight where scheduling is asynchronous.
        batch, budget, window = self.batched_tokens, self.budget, self.model.context_window
        return Range(
            min(window, self.cautious.longest(budget.low, 2 * batch, sequences)),
            min(window, self.layout.longest(budget.likely, batch, sequences)),
            min(window, self.layout.longest(budget.high, batch, sequences)),
        )

    @property
    def missing_gib(self) -> float:
        return self.needed_gib - self.budget.likely

    @property
    def kv_bytes_per_token(self) -> int:
        return self.layout.token_bytes

    @property
    def batched_tokens(self) -> int:
        return self.options.batched_tokens or self.gpu.batched_tokens

    @property
    def element_bytes(self) -> int:
        return element_bytes(self.model, self.options)


def plan(model: Architecture, gpu: Gpu, options: PlanOptions) -> Plan:
    """
    Raises:
        ConfigurationError: options that no server would start with.
    """
    _check(model, gpu, options)
    asked, model = model, model.with_draft(options.draft_layers)
    layout, cautious = _layouts(model, options)
    weights_gib = weights(model, options.quantization, options.parallel)
    batch = options.batched_tokens or gpu.batched_tokens
    overhead = (
        activations(
            model, options.parallel, batch, options.sequences or gpu.sequences, options.version
        )
        + non_torch(options.parallel)
        + graphs(options.parallel, options.version, eager=options.eager)
    )
    budget = _budget(gpu, options, weights_gib, overhead)
    context = options.context or model.context_window
    if not model.attention:  # an encoder cuts longer texts, a server need not refuse them
        context = min(context, model.context_window)
    needed = layout.sequence_gib(context, batch) * options.concurrency
    at_most = cautious.sequence_gib(context, 2 * batch) * options.concurrency
    problems = tuple(_problems(model, gpu, options, context))
    verdict = _verdict(grey_gib(gpu, options), budget, (needed, at_most), problems)
    return Plan(
        asked, model, gpu, options, layout, cautious, context, weights_gib, overhead, budget,
        needed, problems, verdict,
    )  # fmt: skip


def _layouts(model: Architecture, options: PlanOptions) -> tuple[KvLayout, KvLayout]:
    """The likely one, and the one that takes most: builds before 0.21 keep local chunks (Llama 4)
    in full unless told otherwise."""
    size = element_bytes(model, options)
    in_full = kv_layout(model.without_windows(), options.parallel, size)
    if not options.hybrid:
        return in_full, in_full
    layout = kv_layout(model, options.parallel, size)
    old = (options.version or (0, 0)) < GRAPHS_COUNTED
    chunked = any(kind.chunked for kind in model.attention)
    return layout, in_full if chunked and old else layout


def element_bytes(model: Architecture, options: PlanOptions) -> int:
    """Bytes of a number in the cache."""
    chosen = options.kv_cache_dtype
    if chosen == "auto":
        chosen = model.kv_cache_dtype
    return 1 if chosen.startswith("fp8") else 2


def _check(model: Architecture, gpu: Gpu, options: PlanOptions) -> None:
    if not 0 < options.utilization <= 1:
        raise ConfigurationError("--gpu-memory-utilization must be above 0 and at most 1.")
    if (options.context or 1) < 1 or options.concurrency < 1:
        raise ConfigurationError("--context and --concurrency must be at least 1.")
    if min(options.parallel.tensor, options.parallel.pipeline) < 1:
        raise ConfigurationError("--tensor-parallel and --pipeline-parallel must be at least 1.")
    if gpu.slice_of and options.parallel.gpus > 1:
        raise ConfigurationError(
            "A model cannot be spread over MIG slices: a process sees one slice, and slices "
            "cannot talk to each other. Use one slice for each server, or the whole card."
        )
    _check_division(model, options.parallel)


def _check_division(model: Architecture, parallel: Parallel) -> None:
    tensor = parallel.tensor
    instead = "Choose one that does, or spread the layers: --pipeline-parallel."
    if model.query_heads and model.query_heads % tensor:
        raise ConfigurationError(
            f"{model.name} has {model.query_heads} attention heads, which --tensor-parallel "
            f"{tensor} does not divide. {instead}"
        )
    for kind in model.attention:
        one, other = sorted((kind.kv_heads, tensor))
        if not kind.latent and other % one:
            raise ConfigurationError(
                f"{model.name} has {kind.kv_heads} key-value heads, which --tensor-parallel "
                f"{tensor} does not divide. {instead}"
            )


def _budget(gpu: Gpu, options: PlanOptions, weights_gib: Range, overhead: Range) -> Range:
    if options.kv_gib is not None:
        return Range(options.kv_gib, options.kv_gib, options.kv_gib)
    total = gpu.memory_gib * options.utilization
    return Range(
        total - weights_gib.high - overhead.high,
        total - weights_gib.likely - overhead.likely,
        total - weights_gib.low - overhead.low,
    )


def _problems(model: Architecture, gpu: Gpu, options: PlanOptions, context: int) -> list[str]:
    """What stops a server however much memory there is."""
    found = []
    if context > model.context_window:
        found.append(
            f"{model.name} was trained for {model.context_window} tokens; vLLM refuses "
            f"a length of {context}."
        )
    experts, tensor = model.experts, options.parallel.tensor
    if experts and model.weight_block and experts.width % (tensor * model.weight_block):
        found.append(
            f"Experts of width {experts.width} on {tensor} GPUs cannot be cut at the fp8 weights' "
            f"blocks of {model.weight_block}; fewer GPUs, or VLLM_EXTRA_ARGS="
            "--enable-expert-parallel."
        )
    if gpu.memory_gib * options.utilization > gpu.memory_gib - CONTEXT_GIB:
        most = (gpu.memory_gib - CONTEXT_GIB) / gpu.memory_gib
        found.append(
            f"A utilization of {options.utilization:g} asks for more than an idle card has free; "
            f"at most {int(most * 100) / 100:g} starts."
        )
    return found


def grey_gib(gpu: Gpu, options: PlanOptions) -> float:
    """GiB that the estimate may be wrong by; 0 where the cache's size was measured."""
    if options.kv_gib is not None:
        return 0.0
    return _GREY_SMALL_GIB if gpu.memory_gib <= _SMALL_GPU_GIB else _GREY_LARGE_GIB


def _verdict(
    grey: float, budget: Range, needed: tuple[float, float], problems: tuple[str, ...]
) -> Verdict:
    """``needed``: likely and at most."""
    likely, at_most = needed
    left = budget.likely - likely
    if problems or budget.high <= 0 or left < -grey or budget.high < likely:
        return Verdict.DOES_NOT_FIT
    return Verdict.FITS if left >= grey and budget.low >= at_most else Verdict.TIGHT

"""What would make a model fit, and the lines to write down where it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from backend.core.errors import ConfigurationError
from backend.core.gpus import Gpu, MigProfile
from backend.core.memory_kv import Parallel
from backend.core.memory_model import Architecture
from backend.core.memory_plan import Plan, PlanOptions, Verdict, grey_gib, plan

_ROUND_TOKENS = 256  # a length people write down
_SHORTEST_USEFUL = 1024

# Even where only one of full length fits: most are far shorter, and share the cache.
_FEWEST_SEQUENCES = 4


@dataclass(frozen=True, slots=True)
class Suggestion:
    """``change`` is what to add to the command; ``outcome`` what comes of it."""

    change: str
    text: str
    outcome: Plan


def fitting_context(outcome: Plan) -> int:
    """The longest context, in tokens, that gets the verdict "fits" at the same concurrency; 0 if
    none does."""
    spare = min(outcome.budget.low, outcome.budget.likely - grey_gib(outcome.gpu, outcome.options))
    tokens = outcome.cautious.longest(
        spare, 2 * outcome.batched_tokens, outcome.options.concurrency
    )
    tokens = min(tokens, outcome.model.context_window)
    whole = tokens // _ROUND_TOKENS * _ROUND_TOKENS
    return whole if whole >= _SHORTEST_USEFUL else 0


def suggestions(
    outcome: Plan, siblings: Sequence[Architecture], slices: Sequence[Gpu]
) -> list[Suggestion]:
    """Single changes after which it fits, the mildest first. ``slices``: others of the card."""
    return [
        one for one in _changes(outcome, siblings, slices) if one.outcome.verdict is Verdict.FITS
    ]


def env_lines(outcome: Plan, prefix: str = "VLLM_") -> tuple[str, ...]:
    """For the env file: the asked for context where it fits, else the longest that does.

    Empty where no context fits. ``prefix`` is ``VLLM_MEDIUM_`` or ``VLLM_SMALL_`` for a slice.
    """
    fits = outcome.verdict is Verdict.FITS
    if not outcome.model.attention:
        return _encoder_lines(outcome) if fits else ()
    context = outcome.context if fits else fitting_context(outcome)
    if not context:
        return ()
    options = outcome.options
    at_once = outcome.cautious.concurrency(outcome.budget.low, context, 2 * outcome.batched_tokens)
    sequences = options.concurrency
    if sequences == 1:
        sequences = max(_FEWEST_SEQUENCES, int(min(at_once, outcome.gpu.sequences)))
    lines = [
        f"{prefix}MODEL={outcome.model.name}",
        f"{prefix}GPU_MEMORY_UTILIZATION={options.utilization:g}",
        f"{prefix}MAX_MODEL_LEN={context}",
        f"{prefix}MAX_NUM_SEQS={options.sequences or sequences}",
        f"{prefix}KV_CACHE_DTYPE={options.kv_cache_dtype}",
    ]
    if options.quantization and options.quantization != "none":
        lines.append(f"{prefix}QUANTIZATION={options.quantization}")
    if options.batched_tokens:
        lines.append(f"{prefix}MAX_NUM_BATCHED_TOKENS={options.batched_tokens}")
    if prefix == "VLLM_":
        lines += [
            f"VLLM_TENSOR_PARALLEL_SIZE={options.parallel.tensor}",
            f"VLLM_PIPELINE_PARALLEL_SIZE={options.parallel.pipeline}",
            f"VLLM_GPU_COUNT={options.parallel.gpus}",
        ]
    return tuple(lines)


def _encoder_lines(outcome: Plan) -> tuple[str, ...]:
    """For the embedding or the reranking server, whichever the name tells."""
    role = "RERANKER" if "rerank" in outcome.model.name.casefold() else "EMBEDDING"
    return (
        f"{role}_GPU_MEMORY_UTILIZATION={outcome.options.utilization:g}",
        f"{role}_MAX_MODEL_LEN={outcome.context}",
    )


def fitting_slices(outcome: Plan, card: Gpu) -> list[tuple[MigProfile, Plan]]:
    """The same question asked of each slice of the card."""
    options = replace(outcome.options, parallel=Parallel())
    return [(profile, plan(outcome.asked, card.slice(profile), options)) for profile in card.mig]


def _changes(
    outcome: Plan, siblings: Sequence[Architecture], slices: Sequence[Gpu]
) -> Iterator[Suggestion]:
    options = outcome.options
    context = fitting_context(outcome)
    if 0 < context < outcome.context:
        shorter = replace(options, context=context)
        yield _suggestion(
            outcome, shorter, f"--context {context}", f"a context of {context} tokens"
        )
    if options.kv_cache_dtype == "auto" and outcome.element_bytes == 2 and outcome.layout.groups:
        yield _suggestion(
            outcome,
            replace(options, kv_cache_dtype="fp8"),
            "--kv-cache-dtype fp8",
            "an fp8 cache (Ada, Hopper and newer cards)",
        )
    if options.utilization < 0.95:
        yield _suggestion(
            outcome,
            replace(options, utilization=0.95),
            "--gpu-memory-utilization 0.95",
            "95 % of the card, with nothing else on it",
        )
    yield from _fewer_bits(outcome, siblings)
    for one in slices:
        yield Suggestion(
            f"--slice {one.name.split()[1]}",
            f"the slice {one.name.split()[1]}",
            plan(outcome.asked, one, options),
        )
    yield from _more_gpus(outcome)


def _fewer_bits(outcome: Plan, siblings: Sequence[Architecture]) -> Iterator[Suggestion]:
    options = replace(outcome.options, quantization=None)
    for model in siblings:
        yield Suggestion(
            f"--model {model.name}",
            f"{model.name} ({model.quantization})",
            plan(model, outcome.gpu, options),
        )
    if outcome.model.quantization is None and outcome.options.quantization is None:
        yield _suggestion(
            outcome,
            replace(options, quantization="fp8"),
            "--quantization fp8",
            "weights made fp8 while loading",
        )


def _more_gpus(outcome: Plan) -> Iterator[Suggestion]:
    """The smallest number that is enough."""
    if outcome.gpu.slice_of:
        return
    parallel = outcome.options.parallel
    for factor in (2, 4, 8):
        tensor = parallel.tensor * factor
        if tensor > 8:
            return
        wider = replace(outcome.options, parallel=Parallel(tensor, parallel.pipeline))
        try:
            wider_outcome = plan(outcome.asked, outcome.gpu, wider)
        except ConfigurationError:
            continue
        if wider_outcome.verdict is Verdict.FITS:
            yield Suggestion(
                f"--gpus {wider.parallel.gpus}", f"{wider.parallel.gpus} GPUs", wider_outcome
            )
            return


def _suggestion(outcome: Plan, options: PlanOptions, change: str, text: str) -> Suggestion:
    return Suggestion(change, text, plan(outcome.asked, outcome.gpu, options))

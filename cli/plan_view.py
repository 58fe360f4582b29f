"""The planner's answer, as text for a person and as JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from backend.core.gpus import Gpu, MigProfile, mig_commands
from backend.core.memory_advice import Suggestion, env_lines, fitting_context
from backend.core.memory_model import Range
from backend.core.memory_plan import Plan, Verdict

# The two servers of docker-compose.vllm-mig.yml, by the size of their slice.
_SLICE_NAMES = ("MEDIUM", "SMALL")


def plan_text(outcome: Plan, advice: Sequence[Suggestion]) -> Iterator[str]:
    model, options = outcome.model, outcome.options
    where = outcome.gpu.name
    if options.parallel.gpus > 1:
        where = f"{options.parallel.gpus} x {where}"
    yield f"{model.name} on {where}: {outcome.verdict.upper()}"
    stored = options.quantization or model.quantization or "16 bit"
    yield (
        f"  model         {model.parameters / 1e9:.2f} billion parameters, {stored}, "
        f"{model.layers} layers, window {model.context_window}"
    )
    yield f"  GPU memory    {outcome.gpu.memory_gib:.2f} GiB x {options.utilization:g} of it"
    yield f"  weights       {_range(outcome.weights)} GiB on each GPU"
    yield f"  other         {_range(outcome.overhead)} GiB (activations, graphs, libraries)"
    yield f"  for the cache {_range(outcome.budget)} GiB"
    yield from _cache_text(outcome)
    yield from (f"  problem: {problem}" for problem in outcome.problems)
    if outcome.verdict is not Verdict.FITS:
        yield from _advice_text(outcome, advice)


def _cache_text(outcome: Plan) -> Iterator[str]:
    layout, options = outcome.layout, outcome.options
    if not layout.groups:
        yield "  cache         none: an encoder keeps nothing of a text"
        return
    each = f"{layout.token_bytes} bytes a token on each GPU"
    if layout.lasting_token_bytes != layout.token_bytes:
        each += f", {layout.lasting_token_bytes} once the sliding windows have passed"
    yield f"  cache         {each}"
    yield (
        f"  asked for     {outcome.context} tokens x {options.concurrency} = "
        f"{outcome.needed_gib:.2f} GiB"
    )
    yield f"  longest       {_whole(outcome.max_context)} tokens for one sequence"
    if options.concurrency > 1:
        shared = _whole(outcome.max_context_shared)
        yield f"                {shared} tokens for {options.concurrency} at once"
    yield f"  at once       {_times(outcome.concurrency)} sequences of {outcome.context} tokens"
    left = -outcome.missing_gib
    yield f"  {'left over' if left >= 0 else 'missing  '}     {abs(left):.2f} GiB, most likely"


def _advice_text(outcome: Plan, advice: Sequence[Suggestion]) -> Iterator[str]:
    if outcome.verdict is Verdict.TIGHT:
        yield "  It may start or not: the estimate is not that exact. Surely fits:"
    elif outcome.budget.likely <= 0:
        yield "  The weights alone are too large. What would fit:"
    else:
        yield "  What would fit:"
    for one in advice:
        longest = int(one.outcome.max_context.likely)
        yield f"    {one.text}: {one.change}  (longest then {longest})"
    if not advice:
        yield "    nothing of: shorter context, fp8 cache, fewer bits, more GPUs of this kind"


def env_text(lines: Sequence[str], outcome: Plan) -> Iterator[str]:
    if not lines:
        return
    yield ""
    if outcome.verdict is Verdict.FITS:
        yield "Lines for the env file:"
    else:
        yield f"Lines for the env file, with the context that fits ({fitting_context(outcome)}):"
    yield from (f"  {line}" for line in lines)


def slices_text(card: Gpu, fitting: Sequence[tuple[MigProfile, Plan]]) -> Iterator[str]:
    if not fitting:
        return
    yield ""
    yield f"On a MIG slice of {card.name} instead:"
    for profile, outcome in fitting:
        yield (
            f"  {profile.name:9} {profile.usable_gib:6.2f} GiB, at most {profile.most}: "
            f"{outcome.verdict} (longest {int(outcome.max_context.likely)})"
        )


def mig_text(slices: Sequence[MigProfile]) -> Iterator[str]:
    yield ""
    yield "Slices, on the machine with the card (lost at reboot unless made again):"
    yield from (f"  {line}" for line in mig_commands(slices))
    yield "The last prints each slice's UUID for VLLM_MEDIUM_MIG_UUID and VLLM_SMALL_MIG_UUID."


def slice_prefixes(slices: Sequence[MigProfile]) -> list[str]:
    """The variables' prefix of each slice: the larger one is the medium server."""
    largest_first = sorted(range(len(slices)), key=lambda place: -slices[place].usable_gib)
    prefixes = ["VLLM_"] * len(slices)
    for name, place in zip(_SLICE_NAMES, largest_first, strict=False):
        prefixes[place] = f"VLLM_{name}_"
    return prefixes


def plan_json(outcome: Plan, advice: Sequence[Suggestion], prefix: str = "VLLM_") -> dict[str, Any]:
    options = outcome.options
    return {
        "model": outcome.model.name,
        "gpu": outcome.gpu.name,
        "gpu_memory_gib": outcome.gpu.memory_gib,
        "gpu_memory_utilization": options.utilization,
        "tensor_parallel": options.parallel.tensor,
        "pipeline_parallel": options.parallel.pipeline,
        "parameters_b": round(outcome.model.parameters / 1e9, 3),
        "quantization": options.quantization or outcome.model.quantization,
        "kv_cache_dtype": options.kv_cache_dtype,
        "max_num_batched_tokens": outcome.batched_tokens,
        "kv_bytes_per_token": outcome.layout.token_bytes,
        "kv_bytes_per_token_lasting": outcome.layout.lasting_token_bytes,
        "kv_block_bytes": outcome.layout.block_bytes,
        "kv_groups": sum(group.count for group in outcome.layout.groups),
        "weights_gib": _gib(outcome.weights),
        "overhead_gib": _gib(outcome.overhead),
        "kv_budget_gib": _gib(outcome.budget),
        "context": outcome.context,
        "concurrency": options.concurrency,
        "needed_gib": round(outcome.needed_gib, 3),
        "missing_gib": round(outcome.missing_gib, 3),
        "max_context": _tokens(outcome.max_context),
        "max_context_at_concurrency": _tokens(outcome.max_context_shared),
        "kv_cache_tokens": _cache_tokens(outcome),
        "fitting_context": fitting_context(outcome),
        "max_concurrency_at_context": _finite(outcome.concurrency),
        "verdict": str(outcome.verdict),
        "problems": list(outcome.problems),
        "what_would_fit": [{"change": one.change, "what": one.text} for one in advice],
        "env": list(env_lines(outcome, prefix)),
    }


def _gib(value: Range) -> dict[str, float]:
    return {
        "low": round(value.low, 3),
        "likely": round(value.likely, 3),
        "high": round(value.high, 3),
    }


def _tokens(value: Range) -> dict[str, int]:
    return {"low": int(value.low), "likely": int(value.likely), "high": int(value.high)}


def _cache_tokens(outcome: Plan) -> dict[str, int] | None:
    """What the server logs as "GPU KV cache size": sequences at once x their length."""
    if not outcome.layout.groups:
        return None
    at_once, tokens = outcome.concurrency, outcome.context
    return _tokens(Range(at_once.low * tokens, at_once.likely * tokens, at_once.high * tokens))


def _finite(value: Range) -> dict[str, float | None]:
    def number(one: float) -> float | None:
        return None if one == float("inf") else round(one, 2)

    return {"low": number(value.low), "likely": number(value.likely), "high": number(value.high)}


def _range(value: Range) -> str:
    return f"{value.likely:.2f} ({value.low:.2f} to {value.high:.2f})"


def _whole(value: Range) -> str:
    return f"{int(value.likely)} ({int(value.low)} to {int(value.high)})"


def _times(value: Range) -> str:
    return f"{value.likely:.2f} ({value.low:.2f} to {value.high:.2f})"

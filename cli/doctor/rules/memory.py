"""Whether the models fit: without a card only what no card can hold, with one the whole plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from backend.core.deployment import MIG_FILE
from backend.core.errors import ConfigurationError
from backend.core.gpus import Gpu, of_memory
from backend.core.memory_advice import fitting_context
from backend.core.memory_kv import Parallel
from backend.core.memory_model import Architecture
from backend.core.memory_plan import CONTEXT_GIB, Plan, PlanOptions, Verdict, plan
from backend.core.memory_weights import weights
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.quantization import of_weights
from cli.doctor.servers import VllmServer, chat_servers, human_int, share, whole

_VLLM_SHARE = 0.92
_POOLING_SHARE = 0.10
_ON = {"1", "true", "yes", "on"}
_PLANNED_CACHES = {"", "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"}
# They move memory in ways the plan does not know.
_NOT_PLANNED = ("--cpu-offload", "--kv-cache-memory", "--gpu-memory", "--max-model", "--kv-offload")
_MOST_GPUS = 8

# A B300: 288 GB on the box. https://www.nvidia.com/en-us/data-center/dgx-b300/
_LARGEST_CARD_GIB = 268.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model server as the planner takes it; ``length_name`` is the variable of its context."""

    server: VllmServer
    model_name: str
    model: Architecture
    length_name: str
    options: PlanOptions


def check(configuration: Configuration) -> Iterator[Finding]:
    """Weights that are more than the largest card there is, times the number of GPUs."""
    for server in chat_servers(configuration):
        name, text = server.option(configuration, "GPU_MEMORY_UTILIZATION")
        given = share(text)
        asked = _asked(configuration, server)
        try:
            least = 0.0 if asked is None else _least_weights(asked)
        except ConfigurationError:
            continue
        if asked is not None and least > _LARGEST_CARD_GIB:
            yield _over_every_card(configuration, asked, least)
        elif given and given * _LARGEST_CARD_GIB < least:
            yield _share_wrong(configuration, name, f"on no card enough for {least:.0f} GiB of "
                               "weights")  # fmt: skip
        elif given and (1 - given) * _LARGEST_CARD_GIB < CONTEXT_GIB:
            yield _share_wrong(configuration, name, "more than an idle card has free, since the "
                               "driver holds some back")  # fmt: skip


def _least_weights(asked: _Asked) -> float:
    return weights(asked.model, asked.options.quantization, asked.options.parallel).low


def _share_wrong(configuration: Configuration, name: str, what: str) -> Finding:
    return configuration.finding(
        "error",
        "impossible_share",
        name,
        f"{name}={configuration.value(name)} is {what}.",
        "vLLM ends while starting.",
        f"{name}=0.90",
    )


def check_cards(configuration: Configuration, cards: Mapping[str, Gpu]) -> Iterator[Finding]:
    """``cards``: what each service runs on, by its name."""
    for server in chat_servers(configuration):
        asked = _asked(configuration, server)
        if asked is None or server.service not in cards:
            continue
        try:
            outcome = plan(asked.model, cards[server.service], asked.options)
        except ConfigurationError:
            continue  # said by the rules on the values
        if outcome.verdict is not Verdict.FITS:
            yield from _misfit(configuration, asked, outcome)
    for role, service in (("EMBED", "embedding"), ("RERANK", "reranker")):
        if configuration.starts(service) and service in cards:
            yield from _pooling(configuration, role, service, cards[service])


def _asked(configuration: Configuration, server: VllmServer) -> _Asked | None:
    """None where the plan would be a guess."""
    model_name, name = server.model(configuration)
    model = configuration.architecture(name)
    extra = server.option(configuration, "EXTRA_ARGS")[1]
    cache = server.option(configuration, "KV_CACHE_DTYPE")[1]
    if model is None or cache not in _PLANNED_CACHES or any(one in extra for one in _NOT_PLANNED):
        return None
    length_name, text = server.option(configuration, "MAX_MODEL_LEN")
    on_slice = configuration.compose_file == MIG_FILE
    share_text = server.option(configuration, "GPU_MEMORY_UTILIZATION")[1]
    options = PlanOptions(
        # "auto" takes what fits: then only the weights count.
        context=human_int(text) or (1 if text in {"auto", "-1"} else None),
        quantization=_quantization(configuration, server, name),
        kv_cache_dtype=cache or "auto",
        parallel=Parallel() if on_slice else _parallel(configuration),
        utilization=share(share_text) or _VLLM_SHARE,
        batched_tokens=human_int(server.option(configuration, "MAX_NUM_BATCHED_TOKENS")[1]),
        sequences=whole(server.option(configuration, "MAX_NUM_SEQS")[1]),
        eager=server.option(configuration, "ENFORCE_EAGER")[1].lower() in _ON,
    )
    return _Asked(server, model_name, model, length_name, options)


def _parallel(configuration: Configuration) -> Parallel:
    tensor = whole(configuration.value("VLLM_TENSOR_PARALLEL_SIZE")) or 1
    return Parallel(tensor, whole(configuration.value("VLLM_PIPELINE_PARALLEL_SIZE")) or 1)


def _quantization(configuration: Configuration, server: VllmServer, model: str) -> str | None:
    """What is made of 16-bit weights while they are loaded; None: as they are stored."""
    if of_weights(configuration, model)[0] is not None:
        return None
    flag = server.option(configuration, "QUANTIZATION")[1]
    if flag.startswith("fp8") or configuration.value("VLLM_ENABLE_FP8").lower() in _ON:
        return "fp8"
    return {"bitsandbytes": "awq", "experts_int8": "int8", "mxfp8": "fp8"}.get(flag)


def _misfit(configuration: Configuration, asked: _Asked, outcome: Plan) -> Iterator[Finding]:
    if outcome.context > outcome.model.context_window:
        return  # said by the rules on the window
    model, gpu = configuration.value(asked.model_name), outcome.gpu
    tight = outcome.verdict is Verdict.TIGHT
    share_name = asked.server.option(configuration, "GPU_MEMORY_UTILIZATION")[0]
    for problem in outcome.problems:
        name = share_name if "utilization" in problem else "VLLM_TENSOR_PARALLEL_SIZE"
        fix = f"{name}={'0.95' if name == share_name else '1'}"
        yield configuration.beside(
            asked.model_name, "error", "does_not_fit", name, problem, "vLLM refuses to start.", fix
        )
        return
    budget = outcome.budget
    name, fix = _smaller(configuration, asked, outcome)
    yield configuration.beside(
        asked.model_name,
        "warning" if tight else "error",
        "tight_memory" if tight else "does_not_fit",
        name,
        f"{model} with a context of {outcome.context} tokens needs "
        f"{outcome.weights.likely:.1f} GiB for weights and {outcome.needed_gib:.1f} GiB of cache "
        f"on each GPU; of {gpu.name} ({gpu.memory_gib:.1f} GiB, a share of "
        f"{asked.options.utilization:g}) about {max(0.0, budget.likely):.1f} GiB are left for the "
        "cache.",
        "It may start or not: the sum lies within what the estimate is wrong by."
        if tight
        else "vLLM ends while starting: out of memory, or no memory for the cache blocks.",
        fix,
    )


def _smaller(configuration: Configuration, asked: _Asked, outcome: Plan) -> tuple[str, str]:
    """The variable to change, and the line: a shorter context, a larger share, fewer bits, more
    GPUs, or another model."""
    context = fitting_context(outcome)
    if 0 < context < outcome.context:
        return asked.length_name, f"{asked.length_name}={context}"
    share_name = asked.server.option(configuration, "GPU_MEMORY_UTILIZATION")[0]
    larger = replace(asked.options, utilization=_VLLM_SHARE)
    alone = not (configuration.starts("embedding") or configuration.starts("reranker"))
    if (
        alone
        and asked.options.utilization < _VLLM_SHARE
        and _fits(outcome.asked, outcome.gpu, larger)
    ):
        return share_name, f"{share_name}={_VLLM_SHARE:g}"
    for sibling in configuration.planning.siblings(asked.model):
        if _fits(sibling, outcome.gpu, replace(asked.options, quantization=None)):
            return asked.model_name, f"{asked.model_name}={sibling.name}"
    count = asked.options.parallel.gpus * 2
    while not outcome.gpu.slice_of and count <= _MOST_GPUS:
        if _fits(asked.model, outcome.gpu, replace(asked.options, parallel=Parallel(count))):
            more = "" if configuration.line("VLLM_GPU_COUNT") else f"\nVLLM_GPU_COUNT={count}"
            return "VLLM_TENSOR_PARALLEL_SIZE", f"VLLM_TENSOR_PARALLEL_SIZE={count}{more}"
        count *= 2
    return asked.model_name, f"{asked.model_name}=…"


def _fits(model: Architecture, gpu: Gpu, asked: PlanOptions) -> bool:
    context = min(asked.context or model.context_window, model.context_window)
    try:
        return plan(model, gpu, replace(asked, context=context)).verdict is Verdict.FITS
    except ConfigurationError:
        return False


def _over_every_card(configuration: Configuration, asked: _Asked, least: float) -> Finding:
    name = asked.model_name
    total = least * asked.options.parallel.gpus
    needed = next((n for n in (2, 4, 8) if total < 0.85 * n * _LARGEST_CARD_GIB), 16)
    roomy = replace(asked.options, quantization=None, utilization=_VLLM_SHARE)
    for sibling in configuration.planning.siblings(asked.model):
        if _fits(sibling, of_memory(_LARGEST_CARD_GIB), roomy):
            fix = f"{name}={sibling.name}"
            break
    else:
        new = ("VLLM_TENSOR_PARALLEL_SIZE", "VLLM_GPU_COUNT")
        there = [one for one in new if configuration.line(one) is not None]
        name = there[0] if there else name
        lines = [] if there else [configuration.written(name)]
        lines += [f"{one}={needed}" for one in new if one == name or one not in there]
        fix = "\n".join(lines)
    return configuration.finding(
        "error",
        "larger_than_any_card",
        name,
        f"{configuration.value(asked.model_name)} ({asked.model_name}) puts {least:.0f} GiB of "
        f"weights on each GPU; no card has more than {_LARGEST_CARD_GIB:.0f} GiB.",
        "vLLM runs out of memory while it loads the weights, on every card there is. It takes "
        f"{needed} of the largest.",
        fix,
    )


def _pooling(configuration: Configuration, role: str, service: str, gpu: Gpu) -> Iterator[Finding]:
    server = {"embedding": "EMBEDDING", "reranker": "RERANKER"}[service]
    name = f"{server}_GPU_MEMORY_UTILIZATION"
    model = configuration.value(f"{role}_MODEL")
    known = configuration.architecture(model)
    if known is None:
        return
    given = share(configuration.effective(name)) or _POOLING_SHARE
    length = human_int(configuration.value(f"{server}_MAX_MODEL_LEN"))
    options = PlanOptions(context=length, utilization=given, batched_tokens=2048)
    if plan(known, gpu, options).verdict is not Verdict.DOES_NOT_FIT:
        return
    needed = plan(known, gpu, PlanOptions(utilization=0.9, context=length, batched_tokens=2048))
    enough = (needed.weights.likely + needed.overhead.likely + needed.needed_gib) / gpu.memory_gib
    anchor = name if name in configuration.entries else f"{role}_MODEL"
    yield configuration.beside(
        f"{role}_MODEL",
        "error",
        "does_not_fit",
        name,
        f"{name}={given:g} of {gpu.name} is {given * gpu.memory_gib:.1f} GiB; {model} takes "
        f"{needed.weights.likely:.1f} GiB for its weights alone.",
        f"{service} ends while starting: out of memory. See {anchor}.",
        f"{name}={min(0.9, enough * 1.15 + 0.01):.2f}",
    )

"""Will a model fit: ``python -m cli.plan --gpu "RTX PRO 6000 96GB" --model Qwen/Qwen3-32B``.

Exit code 0: it fits. 1: tight, it may start or not. 2: it does not fit, or the question cannot
be answered.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from backend.core.errors import ConfigurationError, RagError
from backend.core.gpus import Gpu, Match, find_gpu, of_memory
from backend.core.memory_advice import (
    Suggestion,
    env_lines,
    fitting_slices,
    suggestions,
)
from backend.core.memory_catalogue import Found, PlanningCatalogue, load_planning_catalogue
from backend.core.memory_kv import Parallel
from backend.core.memory_plan import DEFAULT_UTILIZATION, Plan, PlanOptions, Verdict, plan
from backend.core.memory_weights import QUANTIZATIONS
from cli.plan_models import CATALOGUE, find_model
from cli.plan_sharing import Sharing, on_named_slices, on_shares, on_slices
from cli.plan_view import (
    env_text,
    mig_text,
    plan_json,
    plan_text,
    slice_prefixes,
    slices_text,
)
from cli.terminal import console, never_fail_on_encoding, plain, tell

EXIT_CODES = {Verdict.FITS: 0, Verdict.TIGHT: 1, Verdict.DOES_NOT_FIT: 2}


def main(arguments: Sequence[str]) -> int:
    asked = parse(arguments)
    try:
        catalogue = load_planning_catalogue(CATALOGUE)
        card = _card(asked)
        found = [find_model(name, catalogue) for name in asked.model]
        options = _options(asked, found)
        notes = [note for note in (card.note, *(one.note for one in found)) if note]
        if len(found) == 1 and not asked.slice:
            return _one(found[0], card.gpu, options, catalogue, notes, as_json=asked.json)
        sharing = _share(asked, found, card.gpu, options)
        return _several(sharing, card.gpu, catalogue, notes, as_json=asked.json)
    except RagError as error:
        if asked.json:
            _print_json({"verdict": "unknown", "error": str(error)})
        else:
            tell(str(error))
        return 2


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cli.plan", description=__doc__)
    add = parser.add_argument
    add("--gpu", help='card or slice: "RTX PRO 6000 96GB", h100, A100-80GB, "H100 3g.40gb"')
    add("--gpu-memory", type=float, metavar="GiB", help="as CUDA shows it, for another card")
    add("--gpus", type=int, help="how many; default: what the parallel sizes say")
    add(
        "--model", action="append", required=True,
        help="name, config.json or folder; several: side by side on one card",
    )  # fmt: skip
    add("--context", type=int, help="tokens of one sequence; default: the model's window")
    add("--concurrency", type=int, default=1, help="sequences of that length at once")
    add("--quantization", choices=(*QUANTIZATIONS, "none"), help="default: the model's own")
    add("--kv-cache-dtype", default="auto", choices=("auto", "fp8", "fp8_e4m3", "fp8_e5m2"))
    add("--tensor-parallel", type=int, metavar="N")
    add("--pipeline-parallel", type=int, metavar="N", default=1)
    add(
        "--gpu-memory-utilization", type=float, default=DEFAULT_UTILIZATION,
        help="share of the whole card (default: %(default)s)",
    )  # fmt: skip
    add("--max-num-batched-tokens", type=int, metavar="N")
    add("--max-num-seqs", type=int, metavar="N")
    add("--draft-layers", type=int, default=0, help="of an EAGLE or MTP head")
    add("--enforce-eager", action="store_true", help="no CUDA graphs")
    add(
        "--disable-hybrid-kv-cache-manager", dest="hybrid", action="store_false",
        help="sliding windows are kept in full",
    )  # fmt: skip
    add(
        "--kv-cache-memory", type=float, metavar="GiB",
        help='what a log said ("Available KV cache memory"), instead of the estimate',
    )  # fmt: skip
    add(
        "--vllm-version", type=version, metavar="0.X",
        help="narrows the ranges; default: any build of 2025 or 2026",
    )  # fmt: skip
    add("--slice", action="append", metavar="PROFILE", help="MIG profile, one for each model")
    add("--json", action="store_true")
    asked = parser.parse_args(arguments)
    if not asked.gpu and asked.gpu_memory is None:
        parser.error("give --gpu NAME, or --gpu-memory GiB for a card that is not known")
    return asked


def version(text: str) -> tuple[int, int]:
    """Of ``0.11``, ``v0.27.1``."""
    numbers = text.removeprefix("v").split(".")
    if len(numbers) < 2:
        raise ValueError(text)
    return int(numbers[0]), int(numbers[1])


def _card(asked: argparse.Namespace) -> Match:
    if asked.gpu_memory is None:
        return find_gpu(asked.gpu)
    if asked.gpu_memory <= 0:
        raise ConfigurationError("--gpu-memory must be above 0.")
    if not asked.gpu:
        return Match(of_memory(asked.gpu_memory))
    match = find_gpu(asked.gpu)
    return replace(match, gpu=replace(match.gpu, memory_gib=asked.gpu_memory))


def _options(asked: argparse.Namespace, found: Sequence[Found]) -> PlanOptions:
    return PlanOptions(
        context=asked.context,
        concurrency=asked.concurrency,
        quantization=asked.quantization,
        kv_cache_dtype=asked.kv_cache_dtype,
        parallel=_parallel(asked, found),
        utilization=asked.gpu_memory_utilization,
        batched_tokens=asked.max_num_batched_tokens,
        sequences=asked.max_num_seqs,
        draft_layers=asked.draft_layers,
        eager=asked.enforce_eager,
        kv_gib=asked.kv_cache_memory,
        version=asked.vllm_version,
        hybrid=asked.hybrid,
    )


def _parallel(asked: argparse.Namespace, found: Sequence[Found]) -> Parallel:
    """``--gpus`` alone means tensor parallelism over all of them."""
    pipeline = asked.pipeline_parallel
    tensor = asked.tensor_parallel
    if tensor is None:
        tensor = max(1, (asked.gpus or 1) // pipeline) if len(found) == 1 else 1
    chosen = Parallel(tensor, pipeline)
    if asked.gpus is not None and chosen.gpus > asked.gpus:
        raise ConfigurationError(
            f"--tensor-parallel {tensor} x --pipeline-parallel {pipeline} needs {chosen.gpus} "
            f"GPUs; --gpus says {asked.gpus}."
        )
    return chosen


def _one(
    found: Found,
    card: Gpu,
    options: PlanOptions,
    catalogue: PlanningCatalogue,
    notes: list[str],
    *,
    as_json: bool,
) -> int:
    outcome = plan(found.model, card, options)
    advice = _advice(outcome, catalogue, card)
    alone = options.parallel.gpus == 1
    slices = fitting_slices(outcome, card) if card.mig and alone else []
    if as_json:
        answer = plan_json(outcome, advice) | {"notes": notes}
        answer["slices"] = [
            {"profile": one.name, "verdict": str(on.verdict), "max_context": plan_json(on, ())[
                "max_context"]} for one, on in slices
        ]  # fmt: skip
        _print_json(answer)
        return EXIT_CODES[outcome.verdict]
    _print([*notes, *plan_text(outcome, advice)])
    _print([*env_text(env_lines(outcome), outcome), *slices_text(card, slices)])
    return EXIT_CODES[outcome.verdict]


def _share(
    asked: argparse.Namespace, found: Sequence[Found], card: Gpu, options: PlanOptions
) -> Sharing:
    models = [one.model for one in found]
    if options.parallel.gpus > 1 or (asked.gpus or 1) > 1:
        raise ConfigurationError(
            "Several models, and slices, are planned for one card: leave --gpus and the parallel "
            "sizes away, or ask for each model alone."
        )
    if asked.slice:
        if len(asked.slice) not in (1, len(models)):
            raise ConfigurationError("Give one --slice for each --model, or one for all.")
        names = asked.slice * (len(models) if len(asked.slice) == 1 else 1)
        return on_named_slices(models, card, [card.profile(name) for name in names], options)
    if card.mig:
        sharing = on_slices(models, card, options)
        if sharing is not None:
            return sharing
    return on_shares(models, card, options)


def _several(
    sharing: Sharing,
    card: Gpu,
    catalogue: PlanningCatalogue,
    notes: list[str],
    *,
    as_json: bool,
) -> int:
    prefixes = slice_prefixes(sharing.slices) or ["VLLM_"] * len(sharing.outcomes)
    advice = [_advice(one, catalogue, card) for one in sharing.outcomes]
    if as_json:
        plans = [plan_json(*one) for one in zip(sharing.outcomes, advice, prefixes, strict=True)]
        answer = dict(plans[0]) if len(plans) == 1 else {"verdict": str(sharing.verdict)}
        _print_json(answer | {"plans": plans, "notes": notes, **_slices_json(sharing)})
        return EXIT_CODES[sharing.verdict]
    _print(notes)
    for outcome, suggested, prefix in zip(sharing.outcomes, advice, prefixes, strict=True):
        _print([*plan_text(outcome, suggested), *env_text(env_lines(outcome, prefix), outcome), ""])
    if sharing.slices:
        _print(mig_text(sharing.slices))
    else:
        _print(["The shares count the whole card, the neighbour's too: start one after the other."])
    return EXIT_CODES[sharing.verdict]


def _slices_json(sharing: Sharing) -> dict[str, object]:
    if not sharing.slices:
        return {}
    lines = [line.strip() for line in mig_text(sharing.slices)]
    commands = [line for line in lines if "nvidia-smi" in line and not line.startswith("The")]
    return {"slice_profiles": [one.name for one in sharing.slices], "commands": commands}


def _advice(outcome: Plan, catalogue: PlanningCatalogue, card: Gpu) -> list[Suggestion]:
    if outcome.verdict is Verdict.FITS:
        return []
    others: list[Gpu] = []
    if outcome.gpu.slice_of and card.mig:
        others = [card.slice(one) for one in card.mig if one.usable_gib > outcome.gpu.memory_gib]
    return suggestions(outcome, catalogue.siblings(outcome.asked), others)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(plain(line), markup=False, soft_wrap=True)


def _print_json(answer: dict[str, object]) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    never_fail_on_encoding()
    sys.exit(main(sys.argv[1:]))

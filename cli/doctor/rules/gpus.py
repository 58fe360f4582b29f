"""Whole GPUs: how many, which, and who shares one."""

from __future__ import annotations

from collections.abc import Iterator

from backend.core.deployment import MIG_FILE
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules import slices
from cli.doctor.servers import chat_servers, share, whole

_VLLM_DEFAULT_SHARE = 0.92
# Each process takes some hundred MiB beside its share, so the whole card cannot be given away.
_ALMOST_ALL = 0.98


def check(configuration: Configuration) -> Iterator[Finding]:
    if configuration.compose_file == MIG_FILE:
        yield from slices.check(configuration)
    elif chat_servers(configuration):
        yield from _parallel(configuration)
        yield from _slices_unused(configuration)
    yield from _shared_card(configuration)
    yield from _visible_devices(configuration)
    yield from _speculative(configuration)


def _slices_unused(configuration: Configuration) -> Iterator[Finding]:
    for name in ("VLLM_MEDIUM_MIG_UUID", "VLLM_SMALL_MIG_UUID"):
        if configuration.value(name):
            yield configuration.finding(
                "warning",
                "mig_unused",
                name,
                f"{name} is set, but {configuration.compose_file} gives vLLM whole GPUs.",
                "Only docker-compose.vllm-mig.yml reads it (docker compose -f "
                "docker-compose.vllm-mig.yml up -d).",
                "COMPOSE_FILE=docker-compose.vllm-mig.yml",
            )
            return


def _parallel(configuration: Configuration) -> Iterator[Finding]:
    tensor = whole(configuration.value("VLLM_TENSOR_PARALLEL_SIZE", "1")) or 1
    pipeline = whole(configuration.value("VLLM_PIPELINE_PARALLEL_SIZE", "1")) or 1
    count_text = configuration.value("VLLM_GPU_COUNT", "1")
    count = whole(count_text)
    needed = tensor * pipeline
    parts = f"VLLM_TENSOR_PARALLEL_SIZE={tensor} x VLLM_PIPELINE_PARALLEL_SIZE={pipeline}"
    if count is not None and needed > count:
        name = "VLLM_GPU_COUNT"
        if name not in configuration.entries:
            name = "VLLM_TENSOR_PARALLEL_SIZE" if tensor > 1 else "VLLM_PIPELINE_PARALLEL_SIZE"
        fix = f"VLLM_GPU_COUNT={needed}"
        yield configuration.finding(
            "error",
            "too_few_gpus",
            name,
            f"{parts} needs {needed} GPUs, and VLLM_GPU_COUNT={count} gives the container {count}.",
            "vLLM waits for GPUs that are not there and stops.",
            fix if name == "VLLM_GPU_COUNT" else f"{configuration.written(name)}\n{fix}",
        )
    elif count is not None and count > needed:
        yield configuration.finding(
            "warning",
            "idle_gpus",
            "VLLM_GPU_COUNT",
            f"VLLM_GPU_COUNT={count}, but {parts} uses {needed}.",
            "The other GPUs are reserved and stay idle.",
            f"VLLM_GPU_COUNT={needed}",
        )
    if tensor > 1:
        yield from _divides(configuration, tensor)


def _divides(configuration: Configuration, tensor: int) -> Iterator[Finding]:
    name = "VLLM_TENSOR_PARALLEL_SIZE"
    for server in chat_servers(configuration):
        model = server.model(configuration)[1]
        known = configuration.catalogue.find(model)
        power = 1 << (tensor.bit_length() - 1)
        if known is None:
            if tensor & (tensor - 1):
                yield configuration.finding(
                    "warning",
                    "heads_not_divisible",
                    name,
                    f"{name}={tensor}: the attention heads of few models can be split by {tensor}.",
                    "vLLM refuses to start where they cannot.",
                    f"{name}={power}",
                )
            continue
        heads = known.kv_heads
        if (heads % tensor if tensor <= heads else tensor % heads) != 0:
            yield configuration.finding(
                "error",
                "heads_not_divisible",
                name,
                f"{name}={tensor} does not divide the {heads} key-value heads of {model}.",
                "vLLM refuses to start: each GPU takes a whole number of heads.",
                f"{name}={power}",
            )


def _shared_card(configuration: Configuration) -> Iterator[Finding]:
    """Servers that Compose puts on the first GPU: each takes its share of the whole card."""
    shares: list[tuple[str, str, float]] = []
    for server in chat_servers(configuration):
        if configuration.compose_file == MIG_FILE:
            break
        name, text = server.option(configuration, "GPU_MEMORY_UTILIZATION")
        shares.append((server.service, name, (share(text) if text else _VLLM_DEFAULT_SHARE) or 0))
    for role, service in (("EMBEDDING", "embedding"), ("RERANKER", "reranker")):
        if configuration.starts(service) and configuration.effective(f"{role}_GPU") in {"", "0"}:
            name = f"{role}_GPU_MEMORY_UTILIZATION"
            text = configuration.effective(name) or "0.10"
            shares.append((service, name, share(text) or 0))
    total = sum(amount for _, _, amount in shares)
    if len(shares) < 2 or total <= _ALMOST_ALL:
        return
    largest = max(shares, key=lambda one: one[2])
    rest = total - largest[2]
    listed = ", ".join(f"{service} {amount:.2f} ({name})" for service, name, amount in shares)
    named = f"{largest[1]}={max(0.05, 0.97 - rest):.2f}"
    anchor = largest[1]
    if anchor not in configuration.entries:
        anchor = next((name for _, name, _ in shares if name in configuration.entries), anchor)
    keep = "" if anchor == largest[1] else f"{configuration.written(anchor)}\n"
    yield configuration.beside(
        "COMPOSE_PROFILES",
        "error" if total > 1 + 1e-9 else "warning",
        "card_oversubscribed",
        anchor,
        f"On one GPU {listed} add up to {total:.2f} of its memory.",
        "Each share is one of the whole card; the server that starts last finds too little and "
        "stops.",
        f"{keep}{named}",
    )


def _visible_devices(configuration: Configuration) -> Iterator[Finding]:
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        if not configuration.value(name):
            continue
        on_mig = configuration.compose_file == MIG_FILE or "MIG-" in configuration.value(name)
        yield configuration.finding(
            "error" if on_mig else "warning",
            "visible_devices",
            name,
            f"{name} is set; the compose files choose the GPU and hand this variable to nobody.",
            "Inside the container the slice or GPU is device 0, and vLLM cannot read a UUID there.",
            configuration.written(name),
            "remove",
        )


def _speculative(configuration: Configuration) -> Iterator[Finding]:
    if not chat_servers(configuration):
        return
    model = configuration.value("VLLM_SPECULATIVE_MODEL")
    tokens = configuration.value("VLLM_NUM_SPECULATIVE_TOKENS")
    config = configuration.value("VLLM_SPECULATIVE_CONFIG")
    if config and (model or tokens):
        name = "VLLM_SPECULATIVE_MODEL" if model else "VLLM_NUM_SPECULATIVE_TOKENS"
        yield configuration.finding(
            "error",
            "speculative_twice",
            name,
            f"{name} and VLLM_SPECULATIVE_CONFIG (line "
            f"{configuration.line('VLLM_SPECULATIVE_CONFIG')}) both say how to speculate.",
            "There is one --speculative-config; the start is refused.",
            configuration.written(name),
            "remove",
        )
    elif tokens and not model:
        yield configuration.finding(
            "error",
            "speculative_incomplete",
            "VLLM_NUM_SPECULATIVE_TOKENS",
            "VLLM_NUM_SPECULATIVE_TOKENS is set without VLLM_SPECULATIVE_MODEL.",
            "Nothing says which small model predicts.",
            configuration.written("VLLM_NUM_SPECULATIVE_TOKENS"),
            "remove",
        )

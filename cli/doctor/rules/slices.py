"""MIG slices: each server has one of its own, named by its UUID."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.servers import chat_servers, whole

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# The second form is that of drivers before 470.
_MIG_UUID = re.compile(rf"MIG-{_UUID}|MIG-GPU-{_UUID}/\d+/\d+")
_LIST = "nvidia-smi -L lists the slices; scripts/ has a helper that writes them into the file."


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _slices(configuration)
    yield from _no_parallel_slices(configuration)
    yield from _pooling_on_mig(configuration)


def _slices(configuration: Configuration) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for server in chat_servers(configuration):
        name = f"{server.prefix}MIG_UUID"
        value = configuration.value(name).strip()
        problem = _not_a_slice(value)
        if problem is not None:
            code, what = problem
            yield configuration.finding(
                "error",
                code,
                name,
                f"{name}{f'={value}' if value else ''} {what}.",
                f"Docker finds no such device and {server.service} does not start. {_LIST}",
                f"{name}={_mended(value)}",
            )
        elif value.lower() in seen:
            first = seen[value.lower()]
            yield configuration.finding(
                "error",
                "mig_twice",
                name,
                f"{name} names the slice that {first} (line {configuration.line(first)}) names "
                "already.",
                "Both servers would start on one slice, and the second finds its memory taken.",
                f"{name}=MIG-…",
            )
        else:
            seen[value.lower()] = name


_NOT_SLICES = (
    (re.compile(rf"GPU-{_UUID}", re.IGNORECASE), "mig_not_uuid", "is the UUID of a whole GPU"),
    (
        re.compile(r"\d+([:.,]\d+)*"),
        "mig_not_uuid",
        "is an index; a slice is named by its UUID (MIG-…)",
    ),
    (re.compile(_UUID, re.IGNORECASE), "mig_malformed", "lacks MIG- before the UUID"),
    (
        re.compile(rf"MIG-{_UUID}", re.IGNORECASE),
        "mig_malformed",
        "is not written in small letters after MIG-",
    ),
    (re.compile(r".*([xX]{4,}|\.{3}|…|<|your).*"), "mig_missing", "is still the example"),
    (
        re.compile(r".*"),
        "mig_malformed",
        "is no UUID of a slice (MIG- and 8-4-4-4-12 digits from 0 to 9 and a to f)",
    ),
)


def _not_a_slice(value: str) -> tuple[str, str] | None:
    if not value:
        return "mig_missing", "is not set"
    if _MIG_UUID.fullmatch(value):
        return None
    return next((code, what) for form, code, what in _NOT_SLICES if form.fullmatch(value))


def _mended(value: str) -> str:
    if re.fullmatch(_UUID, value, re.IGNORECASE):
        return f"MIG-{value.lower()}"
    if re.fullmatch(rf"MIG-{_UUID}", value, re.IGNORECASE):
        return f"MIG-{value[4:].lower()}"
    return "MIG-…"


def _pooling_on_mig(configuration: Configuration) -> Iterator[Finding]:
    taken = {
        configuration.value(f"{server.prefix}MIG_UUID"): f"{server.prefix}MIG_UUID"
        for server in chat_servers(configuration)
    }
    for role, service in (("EMBEDDING", "embedding"), ("RERANKER", "reranker")):
        name = f"{role}_GPU"
        value = configuration.effective(name) or "0"
        if not configuration.starts(service):
            continue
        if value in taken:
            yield configuration.finding(
                "error",
                "mig_twice",
                name,
                f"{name} names the slice that {taken[value]} (line "
                f"{configuration.line(taken[value])}) names already.",
                "The chat model's server takes nearly all of the slice's memory.",
                f"{name}=MIG-…",
            )
        elif not value.startswith("MIG-"):
            yield configuration.beside(
                "COMPOSE_PROFILES",
                "warning",
                "mig_not_uuid",
                name,
                f"{service} is put on GPU {value} as a whole ({name}), beside servers on slices.",
                "A GPU that is cut into slices cannot be given away whole; only another GPU can.",
                f"{name}=MIG-…",
            )


def _no_parallel_slices(configuration: Configuration) -> Iterator[Finding]:
    for name in ("VLLM_TENSOR_PARALLEL_SIZE", "VLLM_PIPELINE_PARALLEL_SIZE", "VLLM_GPU_COUNT"):
        count = whole(configuration.value(name))
        if count is not None and count > 1:
            yield configuration.finding(
                "error",
                "parallel_on_mig",
                name,
                f"{name}={count}, but a MIG slice cannot be joined with another.",
                "There is no memory access between slices: each server has one slice, and the "
                "model must fit it.",
                f"{name}=1",
            )

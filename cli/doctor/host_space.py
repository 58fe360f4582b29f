"""Disk for images and weights, and memory for models on the CPU. Sizes are estimates, so what
follows from them is a warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.core.models import KnownModel
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_probe import Host
from cli.doctor.servers import chat_servers

GB = 10**9

# Unpacked. vLLM: 22 to 29 GB, https://github.com/vllm-project/vllm/pull/22377 (December 2025); the
# others as `docker image ls` shows them, rounded up.
_IMAGE_GB = {
    "VLLM_IMAGE": 25.0,
    "OLLAMA_IMAGE": 5.0,
    "LLAMACPP_IMAGE": 3.0,
    "QDRANT_IMAGE": 0.3,
    "BACKEND_IMAGE": 2.0,
    "PROMETHEUS_IMAGE": 0.5,
    "GRAFANA_IMAGE": 1.0,
}
# Bytes a parameter takes on disk: 4-bit formats keep scales, embeddings and norms in 16 bits
# (Qwen3-8B-AWQ 6.1 GB of 8.2 billion, gpt-oss-20b 13.8 of 20.9, qwen3:8b 5.2).
_BYTES = {None: 2.0, "fp8": 1.05, "awq": 0.75, "gptq": 0.75, "mxfp4": 0.67}
_OLLAMA_BYTES = 0.65  # Q4_K_M, what a tag without a format means
_OLLAMA_FORMATS = {"fp16": 2.0, "bf16": 2.0, "q8_0": 1.07}

_OLLAMA_REST_BYTES = 2 * GB  # context, buffers, and the backend beside it


def check_space(host: Host, configuration: Configuration) -> Iterator[Finding]:
    if host.runs_docker:
        yield from _check_docker_disk(host, configuration)
        yield from _check_ollama_memory(host, configuration)
    yield from _check_llamacpp_memory(host, configuration)


def weights_bytes(configuration: Configuration) -> dict[str, int]:
    """By variable: what its model takes on disk, where the catalogue knows it."""
    found: dict[str, int] = {}
    for server in chat_servers(configuration):
        name, model = server.model(configuration)
        if known := configuration.catalogue.find(model):
            found[name] = round(known.parameters_b * 1e9 * _BYTES.get(known.quantization, 2.0))
    if configuration.starts("llm-ollama"):
        name, model = configuration.first("OLLAMA_MODEL", "LLM_MODEL")
        if known := configuration.catalogue.find(model):
            found[name] = _ollama_bytes(known, model)
    return found


def _ollama_bytes(known: KnownModel, tag: str) -> int:
    plain = 0.67 if known.quantization == "mxfp4" else _OLLAMA_BYTES
    each = next((size for name, size in _OLLAMA_FORMATS.items() if name in tag), plain)
    return round(known.parameters_b * 1e9 * each)


def _check_docker_disk(host: Host, configuration: Configuration) -> Iterator[Finding]:
    """An image that is not there yet is a first start, which fetches the weights too."""
    if host.docker_root is None or host.images is None:
        return
    free = host.free_bytes(host.docker_root)
    missing = {
        service.image_variable
        for service in configuration.started
        if service.image_variable and not _is_there(host, configuration, service.image_variable)
    }
    if free is None or not missing:
        return
    images = sum(_IMAGE_GB.get(name, 0.0) for name in missing) * GB
    first = missing & {"VLLM_IMAGE", "OLLAMA_IMAGE"}
    in_docker = not configuration.value("OLLAMA_MODELS_DIR") or "VLLM_IMAGE" in missing
    weights = sum(weights_bytes(configuration).values()) if first and in_docker else 0
    if images + weights <= free:
        return
    yield Finding(
        "warning",
        "disk_too_small",
        f"{host.docker_root} has {free / GB:.0f} GB free; images not there yet take about "
        f"{images / GB:.0f} GB and the weights about {weights / GB:.0f} GB.",
        "The download stops with: no space left on device, after minutes or hours.",
        "docker system df   # docker image prune frees what no container uses",
        action="run",
    )


def _is_there(host: Host, configuration: Configuration, variable: str) -> bool:
    image = configuration.effective(variable)
    return not image or image in (host.images or ())


def _check_ollama_memory(host: Host, configuration: Configuration) -> Iterator[Finding]:
    """On a graphics card it is the card's memory that counts, and Ollama shares it out itself."""
    if not configuration.starts("llm-ollama") or host.gpus or not host.memory_bytes:
        return
    for name, weights in weights_bytes(configuration).items():
        if weights + _OLLAMA_REST_BYTES > host.memory_bytes:
            yield configuration.finding(
                "warning",
                "memory_too_small",
                name,
                f"{configuration.value(name)} takes about {weights / GB:.0f} GB of memory on the "
                f"CPU, and this machine has {host.memory_bytes / GB:.0f} GB.",
                "Ollama answers: model requires more system memory than is available.",
                f"{name}={_largest_that_fits(host.memory_bytes, configuration)}",
            )


def _largest_that_fits(memory_bytes: int, configuration: Configuration) -> str:
    """A tag of Ollama from the catalogue."""
    fitting = [
        (known.parameters_b, alias)
        for known in configuration.catalogue.models
        for alias in known.aliases
        if ":" in alias and _ollama_bytes(known, alias) + _OLLAMA_REST_BYTES <= memory_bytes
    ]
    return max(fitting, default=(0.0, "qwen3:0.6b"))[1]


def _check_llamacpp_memory(host: Host, configuration: Configuration) -> Iterator[Finding]:
    if not configuration.starts("llm-llamacpp") or not host.memory_bytes:
        return
    if configuration.value("LLAMACPP_GPU_LAYERS", "0") != "0":
        return
    name = configuration.value("LLAMACPP_MODEL_FILE")
    folder = Path(configuration.value("LLAMACPP_MODELS_DIR", "./data/llamacpp"))
    file = configuration.root / folder / name
    if not name or not file.is_file():
        return
    size = file.stat().st_size
    if size > host.memory_bytes:
        yield configuration.finding(
            "warning",
            "memory_too_small",
            "LLAMACPP_MODEL_FILE",
            f"{name} has {size / GB:.1f} GB, and this machine has "
            f"{host.memory_bytes / GB:.1f} GB of memory.",
            "llama.cpp reads the weights from disk again for every token.",
            "./scripts/download_model_llamacpp.sh --help   # a smaller model, or one of fewer bits",
            action="run",
        )

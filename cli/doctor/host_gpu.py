"""GPUs, driver, container toolkit and MIG slices, against what the model servers ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from backend.core.deployment import MIG_FILE, Service
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_mig import check_slices
from cli.doctor.host_probe import Host
from cli.doctor.servers import chat_servers, share, whole
from cli.nvidia import GpuState, version

# The image of vLLM is built for CUDA 13 since 0.20, and CUDA 13 needs a driver of R580 or later;
# CUDA 12 needs R525. https://docs.nvidia.com/deploy/cuda-compatibility/ (minor version
# compatibility), https://github.com/vllm-project/vllm/issues/42738 (images).
_CUDA_13_SINCE = (0, 20)
_DRIVER_OF_CUDA = {13: (580,), 12: (525,)}

# The first driver with MIG on these cards; from the deployment considerations of
# https://docs.nvidia.com/datacenter/tesla/mig-user-guide/ . Others have had it for years.
_MIG_DRIVERS = (
    ("RTX PRO 6000", (575, 51, 3), "575.51.03"),
    ("RTX PRO 5000", (575, 57, 8), "575.57.08"),
    ("RTX PRO 4500", (575, 64), "575.64"),
)
_VLLM_UTILIZATION = 0.92  # of vLLM 0.32, when nothing is asked for
_LEAST_USEFUL_SHARE = 0.2

GPU_FILE = "deploy/compose/gpu.yml"
_CARD_VARIABLES = {"embedding": "EMBEDDING_GPU", "reranker": "RERANKER_GPU"}


def check_gpus(host: Host, configuration: Configuration) -> Iterator[Finding]:
    services = on_gpu(configuration)
    if not services:
        return
    yield from _check_toolkit(host, services)
    if host.driver_trouble:
        yield _no_gpu(host, services)
    if not host.gpus:
        return
    if any(service.image_variable == "VLLM_IMAGE" for service in services):
        yield from _check_driver(host, configuration)
    yield from _check_chosen_cards(host, configuration)
    if configuration.compose_file == MIG_FILE:
        yield from check_slices(host, configuration)
    else:
        yield from _check_whole_gpus(host, configuration, services)


def on_gpu(configuration: Configuration) -> list[Service]:
    """The services that ask Docker for a GPU; Ollama and llama.cpp do where GPU_FILE is chosen."""
    with_file = GPU_FILE in configuration.value("COMPOSE_FILE")
    return [
        service
        for service in configuration.started
        if service.on_gpu or (with_file and service.provider is not None)
    ]


def unchecked_gpus(host: Host, configuration: Configuration) -> Iterator[str]:
    if not host.nvidia_smi and on_gpu(configuration):
        yield (
            "GPU, driver and MIG slices were not checked: nvidia-smi is not on this machine. Run "
            "the doctor on the GPU server too."
        )


def _check_toolkit(host: Host, services: Sequence[Service]) -> Iterator[Finding]:
    if host.nvidia_in_docker is False:
        yield Finding(
            "warning",
            "no_container_toolkit",
            f"{services[0].name} asks for a GPU, but Docker has neither NVIDIA's runtime nor its "
            "devices (CDI) here.",
            'docker compose up stops: could not select device driver "nvidia" with capabilities: '
            "[[gpu]].",
            "sudo apt-get install -y nvidia-container-toolkit && "
            "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
            action="run",
        )


def _no_gpu(host: Host, services: Sequence[Service]) -> Finding:
    return Finding(
        "error",
        "no_gpu",
        f"{services[0].name} needs a GPU, but nvidia-smi lists none: {host.driver_trouble}",
        "The container does not start, or vLLM ends with: no CUDA device.",
        "nvidia-smi",
        action="run",
    )


def _check_driver(host: Host, configuration: Configuration) -> Iterator[Finding]:
    if not host.states:
        return
    driver = host.states[0].driver
    cuda = _cuda_of(configuration.effective("VLLM_IMAGE"))
    needed = _DRIVER_OF_CUDA[cuda]
    if host.driver < needed:
        yield Finding(
            "error",
            "driver_too_old",
            f"The NVIDIA driver is {driver}; the image of vLLM is built for CUDA {cuda}, which "
            f"needs {needed[0]} or later.",
            "The container is refused (unsatisfied condition: cuda), or vLLM ends with: the NVIDIA "
            "driver on your system is too old.",
            f"sudo apt-get install -y nvidia-driver-{needed[0]}-open",
            action="run",
        )
    if configuration.compose_file == MIG_FILE:
        yield from _check_mig_driver(host.states)


def _cuda_of(image: str) -> int:
    """By its tag: v0.32.0 is CUDA 13, v0.19.1 and v0.32.0-cu129 are CUDA 12."""
    tag = image.rpartition(":")[2] if ":" in image else ""
    if named := re.search(r"cu(\d\d)\d", tag):
        return 12 if named[1] == "12" else 13
    found = version(tag) if re.match(r"v?\d+\.\d+", tag) else _CUDA_13_SINCE
    return 13 if found >= _CUDA_13_SINCE else 12


def _check_mig_driver(states: Sequence[GpuState]) -> Iterator[Finding]:
    for state in states:
        for card, needed, written in _MIG_DRIVERS:
            if card in state.name and version(state.driver) < needed:
                yield Finding(
                    "error",
                    "driver_without_mig",
                    f"GPU {state.index} ({state.name}) has MIG from driver {written} on; this is "
                    f"{state.driver}.",
                    "nvidia-smi -mig 1 fails, so there is no slice to run on.",
                    "sudo apt-get install -y nvidia-driver-580-open",
                    action="run",
                )
                return


def _check_chosen_cards(host: Host, configuration: Configuration) -> Iterator[Finding]:
    """A card is chosen by its index or by a UUID."""
    cards = {str(gpu.index): gpu for gpu in host.gpus or ()}
    known = {*cards, *(gpu.uuid for gpu in cards.values()), *(one.uuid for one in host.slices)}
    sliced = {str(state.index) for state in host.states if state.mig}
    for service, name in _CARD_VARIABLES.items():
        if not configuration.starts(service):
            continue
        chosen = configuration.effective(name) or "0"
        if chosen not in known:
            what = f"{name}={chosen} is no GPU of this machine; there are {', '.join(cards)}."
            fix = f"{name}={min(cards)}"
        elif chosen in sliced:
            what = f"{name}={chosen}: that GPU is in MIG mode, so a slice has to be named."
            fix = f"{name}={host.slices[-1].uuid if host.slices else 'MIG-…'}"
        else:
            continue
        why = f"{service} does not start, or takes the slice of another server."
        yield configuration.finding("error", "no_such_gpu", name, what, why, fix)


# --- whole GPUs --------------------------------------------------------------------------------


def _check_whole_gpus(
    host: Host, configuration: Configuration, services: Sequence[Service]
) -> Iterator[Finding]:
    name, wanted = _wanted(configuration, services)
    sliced = {state.index for state in host.states if state.mig}
    whole = [gpu for gpu in host.gpus or () if gpu.index not in sliced]
    if not whole:
        yield Finding(
            "error",
            "mig_mode_on",
            "MIG mode is on, and the server asks for a whole GPU.",
            "It gets the first slice only, and with several GPUs asked for it does not start.",
            "sudo nvidia-smi -mig 0   # or use the slices: docker compose -f "
            "docker-compose.vllm-mig.yml up -d",
            action="run",
        )
        return
    if wanted > len(whole):
        yield configuration.finding(
            "error",
            "too_few_gpus",
            name,
            f"{name} makes it {wanted} GPUs, and this machine has {len(whole)}.",
            "Docker refuses to start the container, or vLLM ends with: world size is larger than "
            "the number of GPUs.",
            f"{name}={len(whole)}" if name == "VLLM_GPU_COUNT" else f"{name}=1",
        )
        return
    used = {gpu.index for gpu in whole[:wanted]}
    states = [state for state in host.states if state.index in used]
    yield from _check_free_memory(host, configuration, states)


def _wanted(configuration: Configuration, services: Sequence[Service]) -> tuple[str, int]:
    """How many GPUs the chat server takes, and the variable that says so."""
    if not any(service.provider == "vllm" for service in services):
        return "VLLM_GPU_COUNT", 1
    count = whole(configuration.value("VLLM_GPU_COUNT")) or 1
    tensor = whole(configuration.value("VLLM_TENSOR_PARALLEL_SIZE")) or 1
    pipeline = whole(configuration.value("VLLM_PIPELINE_PARALLEL_SIZE")) or 1
    if tensor * pipeline <= count:
        return "VLLM_GPU_COUNT", count
    name = "VLLM_TENSOR_PARALLEL_SIZE" if tensor > 1 else "VLLM_PIPELINE_PARALLEL_SIZE"
    return name, tensor * pipeline


def _check_free_memory(
    host: Host,
    configuration: Configuration,
    states: Sequence[GpuState],
) -> Iterator[Finding]:
    """vLLM takes its share of the whole card, and refuses to start where less is free."""
    servers = chat_servers(configuration)
    if not servers or _ours_is_running(host):
        return
    name, text = servers[0].option(configuration, "GPU_MEMORY_UTILIZATION")
    wanted = share(text) if text else _VLLM_UTILIZATION
    if wanted is None:
        return
    for state in states:
        if not state.total_mib or state.used_mib is None:
            continue
        free = 1 - state.used_mib / state.total_mib
        if free >= wanted:
            continue
        yield _memory_in_use(host, configuration, state, name, wanted, free)
        return


def _memory_in_use(
    host: Host,
    configuration: Configuration,
    state: GpuState,
    name: str,
    wanted: float,
    free: float,
) -> Finding:
    names = ", ".join(host.processes.get(state.uuid, ())) or "other programs"
    what = (
        f"{name} asks for {wanted:.0%} of GPU {state.index}, but {state.used_mib:.0f} of "
        f"{state.total_mib:.0f} MiB are in use by {names}."
    )
    why = "vLLM ends at once: free memory on device is less than desired GPU memory utilization."
    room = int((free - 0.02) * 100) / 100
    if room < _LEAST_USEFUL_SHARE:
        return Finding("error", "gpu_memory_in_use", what, why, "nvidia-smi", action="run")
    return configuration.finding("error", "gpu_memory_in_use", name, what, why, f"{name}={room}")


def _ours_is_running(host: Host) -> bool:
    servers = {"llm-vllm", "vllm", "vllm-medium", "vllm-small", "embedding", "reranker"}
    return any(container.service in servers for container in host.containers or ())

"""Which card or slice each model server gets: as named on the command line, or of this machine."""

from __future__ import annotations

from backend.core.deployment import MIG_FILE
from backend.core.errors import NotFound
from backend.core.gpus import Gpu, find_gpu, of_memory
from cli.doctor.configuration import Configuration
from cli.doctor.host_probe import Host
from cli.doctor.servers import chat_servers, whole
from cli.nvidia import GpuState, MigDevice

_POOLING = {"embedding": "EMBEDDING_GPU", "reranker": "RERANKER_GPU"}
_HELD_BACK_GIB = 0.4  # by the driver: nvidia-smi counts it, CUDA does not


def named_cards(configuration: Configuration, gpu: Gpu) -> dict[str, Gpu]:
    """Every model server on a card of that kind; on slices nobody knows which, unless ``gpu`` is
    one."""
    chat = [server.service for server in chat_servers(configuration)]
    if configuration.compose_file == MIG_FILE and gpu.slice_of is None:
        return {}
    pooling = [name for name in _POOLING if configuration.starts(name)] if not gpu.slice_of else []
    return dict.fromkeys([*chat, *pooling], gpu)


def cards_of(host: Host, configuration: Configuration) -> dict[str, Gpu]:
    found: dict[str, Gpu] = {}
    whole_ones = [state for state in host.states if not state.mig]
    slices = {device.uuid: device for device in host.slices}
    for server in chat_servers(configuration):
        if configuration.compose_file == MIG_FILE:
            device = slices.get(configuration.value(f"{server.prefix}MIG_UUID"))
            gpu = _of_slice(device) if device is not None else None
        else:
            count = whole(configuration.value("VLLM_GPU_COUNT")) or 1
            cards = [card for state in whole_ones[:count] if (card := _of_state(state))]
            # The smallest decides.
            gpu = min(cards, key=lambda card: card.memory_gib, default=None)
        if gpu is not None:
            found[server.service] = gpu
    for service, name in _POOLING.items():
        gpu = _chosen(configuration.effective(name) or "0", whole_ones, slices)
        if configuration.starts(service) and gpu is not None:
            found[service] = gpu
    return found


def _chosen(chosen: str, states: list[GpuState], slices: dict[str, MigDevice]) -> Gpu | None:
    if chosen in slices:
        return _of_slice(slices[chosen])
    state = next((one for one in states if chosen in {str(one.index), one.uuid}), None)
    return _of_state(state) if state is not None else None


def _of_state(state: GpuState) -> Gpu | None:
    if not state.total_mib:
        return None
    size = state.total_mib / 1024
    try:
        gpu = find_gpu(f"{state.name} {round(size)}GB").gpu if "GB" not in state.name else None
        gpu = gpu or find_gpu(state.name).gpu
    except NotFound:
        return of_memory(round(size - _HELD_BACK_GIB, 2))
    return gpu


def _of_slice(device: MigDevice) -> Gpu | None:
    try:
        return find_gpu(f"{device.gpu_name} MIG {device.plain_profile}").gpu
    except NotFound:
        return None

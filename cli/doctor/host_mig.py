"""The MIG slices the env file names, against those of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_probe import Host
from cli.mig import memory, size
from cli.nvidia import MigDevice

_MIG_VARIABLES = {
    "vllm-medium": "VLLM_MEDIUM_MIG_UUID",
    "vllm-small": "VLLM_SMALL_MIG_UUID",
}


def check_slices(host: Host, configuration: Configuration) -> Iterator[Finding]:
    if not host.slices:
        yield _no_slices(host)
        return
    known = {device.uuid for device in host.slices}
    wanted = {
        name: configuration.value(name)
        for service, name in _MIG_VARIABLES.items()
        if configuration.starts(service)
    }
    free = sorted(
        (device for device in host.slices if device.uuid not in wanted.values()),
        key=size,
        reverse=True,
    )
    for name, uuid in wanted.items():
        # Empty ones, indices and GPU-… are told without looking at the machine.
        if not uuid.startswith("MIG-") or uuid in known:
            continue
        yield configuration.finding(
            "error",
            "mig_uuid_unknown",
            name,
            f"{name}={uuid} is no slice of this machine. There are:\n{_listed(host.slices)}",
            "Docker does not start the container: unknown device. UUIDs change when slices are "
            "made again, as after a reboot.",
            f"{name}={free.pop(0).uuid if free else host.slices[0].uuid}",
        )


def _listed(slices: Sequence[MigDevice]) -> str:
    return "\n".join(
        f"  GPU {device.gpu_index}  {device.profile}  {memory(device)}  {device.uuid}"
        for device in slices
    )


def _no_slices(host: Host) -> Finding:
    on = [state for state in host.states if state.mig]
    if on:
        index = on[0].index
        what = f"MIG mode is on (GPU {index}), but it has no slice."
        fix = f"nvidia-smi mig -lgip   # then: sudo nvidia-smi mig -i {index} -cgi NAME,NAME -C"
    else:
        index = host.states[0].index if host.states else 0
        what = "MIG mode is off: there is no slice."
        fix = f"sudo nvidia-smi -i {index} -mig 1"
    return Finding(
        "error",
        "no_mig_slices",
        what,
        "vllm-medium and vllm-small each need a slice of their own; docs/mig.md tells how.",
        fix,
        action="run",
    )

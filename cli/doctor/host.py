"""The configuration against this machine."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_docker import check_docker, check_ports, unchecked_docker
from cli.doctor.host_gpu import check_gpus, unchecked_gpus
from cli.doctor.host_probe import Host, inspect_host
from cli.doctor.host_space import check_space
from cli.doctor.store import check_store

__all__ = ["Host", "check_host", "inspect_host", "unchecked"]


def check_host(host: Host, configuration: Configuration) -> Iterator[Finding]:
    """In the preflight nothing: a container sees neither the machine's ports nor its GPUs."""
    if configuration.in_compose:
        return
    yield from check_docker(host, configuration)
    yield from check_gpus(host, configuration)
    yield from check_ports(host, configuration)
    yield from check_space(host, configuration)
    yield from check_store(configuration)


def unchecked(host: Host, configuration: Configuration) -> Iterator[str]:
    """A sentence for each thing that could not be asked here. No fault of the configuration: what
    is written on one machine may be meant for another."""
    if configuration.in_compose:
        return
    yield from unchecked_docker(host)
    yield from unchecked_gpus(host, configuration)

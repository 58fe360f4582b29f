"""Ports of the host that two services claim."""

from __future__ import annotations

from collections.abc import Iterator

from backend.core.deployment import Service
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding


def check(configuration: Configuration) -> Iterator[Finding]:
    taken: dict[int, Service] = {}
    published = [service for service in configuration.started if service.port_variable]
    # The port that was left at its default counts first: the line to change is in the file.
    published.sort(key=lambda service: str(service.port_variable) in configuration.entries)
    ports = {configuration.port(service) for service in published}
    for service in published:
        port = configuration.port(service)
        if port is None:
            continue
        if port not in taken:
            taken[port] = service
            continue
        name = str(service.port_variable)
        other = taken[port]
        free = next(number for number in range(port + 10, 65536) if number not in ports)
        ports.add(free)
        place = configuration.line(str(other.port_variable))
        yield configuration.beside(
            "COMPOSE_PROFILES",
            "error",
            "port_clash",
            name,
            f"{service.name} and {other.name} both claim port {port} of the host ({name} and "
            f"{other.port_variable}{f', line {place}' if place else ''}).",
            "Docker starts the first of them and refuses the second: port is already allocated.",
            f"{name}={free}",
        )

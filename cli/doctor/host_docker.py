"""Docker, Compose and the ports, against what the compose files need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from backend.core.deployment import Service
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_probe import Container, Host

PROJECT = "quadrate-rag"  # ``name:`` of docker-compose.yml

# What our files use, and the first Compose that knows it. Sources: docs.docker.com/reference/
# compose-file (merge, include, services), and the release notes of docker/compose.
_FEATURES: tuple[tuple[re.Pattern[str], tuple[int, ...], str], ...] = (
    (re.compile(r"!override\b"), (2, 24, 4), "the tag !override"),
    (re.compile(r"!reset\b"), (2, 24, 0), "the tag !reset"),
    (re.compile(r"required:\s*false"), (2, 20, 2), "depends_on with required: false"),
    (re.compile(r"^include:", re.MULTILINE), (2, 20, 3), "include with an override file"),
)
COMPOSE_FLOOR = (2, 24)
ENGINE_WITH_START_INTERVAL = (25,)

# Services whose port obeys BIND_ADDRESS; all others are bound to the machine itself.
_OPEN_SERVICES = frozenset({"backend", "api", "grafana"})

INSTALL = (
    "Docker Engine with the Compose plugin: https://docs.docker.com/engine/install/ ; "
    "without Docker the backend runs by itself: python -m backend"
)


def check_docker(host: Host, configuration: Configuration) -> Iterator[Finding]:
    yield from _check_compose(host, configuration.root)
    yield from _check_engine(host, configuration.root)
    yield from _check_names(host, configuration)


def unchecked_docker(host: Host) -> Iterator[str]:
    if not host.docker_cli:
        yield f"Docker is not on this machine. To deploy here: {INSTALL}"
    elif not host.runs_docker:
        yield f"Docker's engine was not asked: {host.engine_trouble}"


def compose_sources(root: Path) -> str:
    """All our compose files, without comments."""
    files = [*sorted(root.glob("docker-compose*.yml")), *sorted(root.glob("deploy/compose/*.yml"))]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r"(^|\s)#[^\n]*", r"\1", text)


def needed_compose(source: str) -> tuple[tuple[int, ...], list[str]]:
    """The oldest version that will do, and what our files use that older ones lack."""
    used = [(since, what) for pattern, since, what in _FEATURES if pattern.search(source)]
    return max([COMPOSE_FLOOR, *(since for since, _ in used)]), [what for _, what in used]


def _check_compose(host: Host, root: Path) -> Iterator[Finding]:
    needed, features = needed_compose(compose_sources(root))
    wanted = ".".join(map(str, needed))
    update = "sudo apt-get install docker-compose-plugin"
    if host.compose and host.compose < needed:
        found = ".".join(map(str, host.compose))
        yield Finding(
            "error",
            "compose_too_old",
            f"docker compose is version {found}; our files need {wanted} or later.",
            f"They use {', '.join(features)}: an older Compose stops at them, or merges the files "
            "in another way.",
            update,
            action="run",
        )
    if host.compose == () and host.runs_docker:
        old = " The docker-compose on this machine is version 1." if host.compose_v1 else ""
        yield Finding(
            "error",
            "compose_missing",
            f"docker has no command compose.{old}",
            f"The files are for Compose v2, {wanted} or later; version 1 knows neither include "
            "nor an optional depends_on.",
            update,
            action="run",
        )


def _check_engine(host: Host, root: Path) -> Iterator[Finding]:
    if not host.engine or host.engine >= ENGINE_WITH_START_INTERVAL:
        return
    if re.search(r"\bstart_interval:", compose_sources(root)):
        yield Finding(
            "error",
            "engine_too_old",
            f"Docker Engine is version {'.'.join(map(str, host.engine))}; our health checks use "
            "start_interval, which needs 25.0 or later.",
            "Compose refuses to create the containers: can't set healthcheck.start_interval.",
            "sudo apt-get install docker-ce",
            action="run",
        )


def _check_names(host: Host, configuration: Configuration) -> Iterator[Finding]:
    """The model servers have container names of their own, and those are the machine's."""
    project = configuration.value("COMPOSE_PROJECT_NAME", PROJECT)
    wanted = {service.name for service in configuration.started if service.provider}
    for container in host.containers or ():
        if container.name in wanted and container.project != project:
            of = f"the project {container.project}" if container.project else "no Compose project"
            yield Finding(
                "error",
                "container_name_taken",
                f"A container named {container.name} runs already; it belongs to {of}.",
                "docker compose up stops: the container name is already in use.",
                f"docker stop {container.name} && docker rm {container.name}",
                action="run",
            )


# --- ports -------------------------------------------------------------------------------------


def check_ports(host: Host, configuration: Configuration) -> Iterator[Finding]:
    taken = {port for service in configuration.started if (port := configuration.port(service))}
    for service in configuration.started:
        port = configuration.port(service)
        if port is None or not 0 < port < 65536:
            continue
        address = _address(service, configuration)
        state = host.port_state(address, port)
        if state == "no such address" and host.runs_docker:
            yield _no_such_address(service, address, configuration)
        if state != "busy":
            continue
        owner = _owner(host, port)
        if owner is not None and _is_ours(owner, configuration, service):
            continue
        spare = _spare(host, address, port, taken)
        taken.add(spare)
        yield _busy(service, port, spare, owner, host, configuration)


def _address(service: Service, configuration: Configuration) -> str:
    if service.name in _OPEN_SERVICES:
        return configuration.value("BIND_ADDRESS", "127.0.0.1").strip("[]")
    return "127.0.0.1"


def _owner(host: Host, port: int) -> Container | None:
    for container in host.containers or ():
        if port in container.ports:
            return container
    return None


def _is_ours(owner: Container, configuration: Configuration, service: Service) -> bool:
    project = configuration.value("COMPOSE_PROJECT_NAME", PROJECT)
    return owner.service == service.name and owner.project == project


def _spare(host: Host, address: str, port: int, taken: set[int]) -> int:
    """The next port upwards that is free, and that no other service of ours wants."""
    for candidate in range(port + 1, min(port + 1000, 65536)):
        if candidate not in taken and host.port_state(address, candidate) != "busy":
            return candidate
    return port


def _busy(
    service: Service,
    port: int,
    spare: int,
    owner: Container | None,
    host: Host,
    configuration: Configuration,
) -> Finding:
    name = service.port_variable or ""
    why = f"docker compose up stops at {service.name}: the port is already allocated."
    project = configuration.value("COMPOSE_PROJECT_NAME", PROJECT)
    if owner is not None and owner.project == project:
        return Finding(
            "error",
            "port_taken",
            f"Port {port} of {service.name} ({name}) is held by {owner.name}, which runs from an "
            "earlier choice of model server.",
            f"{why} Compose does not stop a service that is no longer chosen.",
            f"docker stop {owner.name} && docker rm {owner.name}",
            action="run",
        )
    holder = f"the container {owner.name}" if owner is not None else "another program"
    # Where the engine cannot be asked, the program may be our own stack.
    unsure = owner is None and host.docker_cli and host.containers is None
    note = " If that is this deployment, already running, all is well." if unsure else ""
    return configuration.finding(
        "warning" if unsure and "permission" in host.engine_trouble.casefold() else "error",
        "port_taken",
        name,
        f"Port {port} of {service.name} ({name}) is in use on this machine by {holder}.",
        why + note,
        f"{name}={spare}",
    )


def _no_such_address(service: Service, address: str, configuration: Configuration) -> Finding:
    return configuration.finding(
        "error",
        "bind_address",
        "BIND_ADDRESS",
        f"BIND_ADDRESS={address} is no address of this machine.",
        f"docker compose up stops at {service.name}: it cannot assign the requested address.",
        "BIND_ADDRESS=127.0.0.1",
    )

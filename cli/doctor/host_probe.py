"""What this machine is: asked of docker, nvidia-smi and the kernel, all at once, each within a
limit. What cannot be asked stays None; only what was answered becomes a finding."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from cli.nvidia import (
    LIST_COMMAND,
    PROCESSES_COMMAND,
    QUERY_COMMAND,
    GpuState,
    ListedGpu,
    MigDevice,
    parse_list,
    parse_processes,
    parse_query,
    version,
)

TIMEOUT_S = 2.0
DRIVER_TIMEOUT_S = 2.5  # without persistence mode the first question starts the driver

_LABELS = ("project", "service", "project.working_dir")
_CONTAINERS = (
    "docker",
    "ps",
    "--format",
    "\t".join(
        [
            "{{.Names}}",
            "{{.Ports}}",
            *(f'{{{{.Label "com.docker.compose.{label}"}}}}' for label in _LABELS),
        ]
    ),
)
_COMMANDS: Mapping[str, Sequence[str]] = {
    "info": ("docker", "info", "--format", "{{json .}}"),
    "compose": ("docker", "compose", "version", "--short"),
    "standalone": ("docker-compose", "version", "--short"),
    "containers": _CONTAINERS,
    "images": ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"),
    "list": LIST_COMMAND,
    "query": QUERY_COMMAND,
    "processes": PROCESSES_COMMAND,
    "toolkit": ("nvidia-ctk", "--version"),
}

PortState = Literal["free", "busy", "no such address", "unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """``code`` None: it did not end in time."""

    code: int | None
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Container:
    """A running one. ``service``, ``project`` and ``folder`` are empty outside Compose."""

    name: str
    ports: frozenset[int]
    project: str = ""
    service: str = ""
    folder: str = ""


def port_state(address: str, port: int) -> PortState:
    """``address`` is a number; a name would have to be looked up, and Docker takes none."""
    try:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        return "unknown"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As docker does: a port whose last connection has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return "free"
    except OSError as error:
        return {
            errno.EADDRINUSE: "busy",
            errno.EADDRNOTAVAIL: "no such address",
        }.get(error.errno or 0, "unknown")  # type: ignore[return-value]


def free_bytes(folder: Path) -> int | None:
    """Of the disk that holds ``folder``, or will hold it; None where that cannot be seen."""
    for place in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None


@dataclass(frozen=True, slots=True)
class Host:
    """None: could not be asked. Versions are empty tuples where there is nothing of that name."""

    docker_cli: bool = False
    engine: tuple[int, ...] | None = None
    engine_trouble: str = ""  # why the engine could not be asked
    docker_root: Path | None = None
    nvidia_in_docker: bool | None = None
    compose: tuple[int, ...] | None = None
    compose_v1: bool = False
    containers: tuple[Container, ...] | None = None
    images: frozenset[str] | None = None
    nvidia_smi: bool = False
    driver_trouble: str = ""  # what nvidia-smi says instead of listing GPUs
    gpus: tuple[ListedGpu, ...] | None = None
    states: tuple[GpuState, ...] = ()
    processes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    memory_bytes: int | None = None
    port_state: Callable[[str, int], PortState] = port_state
    free_bytes: Callable[[Path], int | None] = free_bytes

    @property
    def runs_docker(self) -> bool:
        """Whether this is a machine to deploy on, as far as can be seen."""
        return self.engine is not None

    @property
    def slices(self) -> tuple[MigDevice, ...]:
        return tuple(device for gpu in self.gpus or () for device in gpu.slices)

    @property
    def driver(self) -> tuple[int, ...]:
        return version(self.states[0].driver) if self.states else ()


def inspect_host() -> Host:
    answers = _asked_all()
    info = _json(answers["info"])
    reachable = bool(info.get("ServerVersion"))
    listed = answers["list"]
    plugin = _compose(answers["compose"])
    standalone = version(_ended_well(answers["standalone"]) or "")
    gpus = parse_list(listed.output) if listed and listed.code == 0 else None
    return Host(
        docker_cli=shutil.which("docker") is not None,
        engine=version(str(info["ServerVersion"])) if reachable else None,
        engine_trouble="" if reachable else _trouble(answers["info"], info),
        docker_root=Path(info["DockerRootDir"]) if info.get("DockerRootDir") else None,
        nvidia_in_docker=_nvidia_in_docker(info, answers["toolkit"]) if reachable else None,
        # The plugin, or the same Compose v2 as a program of its own.
        compose=standalone if standalone >= (2,) and not plugin else plugin,
        compose_v1=bool(standalone) and standalone < (2,),
        containers=_containers(answers["containers"]),
        images=_images(answers["images"]),
        nvidia_smi=listed is not None,
        driver_trouble=_driver_trouble(listed, gpus),
        gpus=gpus,
        states=parse_query(_ended_well(answers["query"]) or ""),
        processes=parse_processes(_ended_well(answers["processes"]) or ""),
        memory_bytes=_memory_bytes(),
    )


def _asked_all() -> dict[str, Answer | None]:
    with ThreadPoolExecutor(len(_COMMANDS)) as pool:
        pending = {name: pool.submit(ask, command) for name, command in _COMMANDS.items()}
        return {name: future.result() for name, future in pending.items()}


def ask(command: Sequence[str], timeout_s: float | None = None) -> Answer | None:
    """None where there is no such program."""
    program = shutil.which(command[0])
    if program is None:
        return None
    if timeout_s is None:
        timeout_s = DRIVER_TIMEOUT_S if command[0] == "nvidia-smi" else TIMEOUT_S
    try:
        process = subprocess.Popen(  # noqa: S603
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return None
    with process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            # The whole group: a plugin of docker would hold the pipe open.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            return Answer(None, "", f"no answer within {timeout_s:g} s")
    return Answer(process.returncode, output, errors)


def _ended_well(answer: Answer | None) -> str | None:
    return answer.output if answer is not None and answer.code == 0 else None


def _json(answer: Answer | None) -> dict[str, Any]:
    """``docker info`` prints its JSON even where the engine does not answer."""
    with contextlib.suppress(ValueError):
        found = json.loads(answer.output) if answer is not None else {}
        return found if isinstance(found, dict) else {}
    return {}


def _trouble(answer: Answer | None, info: Mapping[str, Any]) -> str:
    if answer is None:
        return "docker is not installed"
    said = info.get("ServerErrors") or [answer.errors.strip() or "the engine does not answer"]
    return str(said[0]).splitlines()[0] if said else ""


def _nvidia_in_docker(info: Mapping[str, Any], toolkit: Answer | None) -> bool:
    """As a runtime, as a hook the engine finds by its name, or as devices (CDI)."""
    devices = info.get("DiscoveredDevices") or ()
    return (
        "nvidia" in (info.get("Runtimes") or {})
        or any(str(device.get("ID", "")).startswith("nvidia.com/gpu") for device in devices)
        or _ended_well(toolkit) is not None
        or shutil.which("nvidia-container-runtime-hook") is not None
    )


def _compose(answer: Answer | None) -> tuple[int, ...] | None:
    """Empty where docker has no such command."""
    if answer is None or answer.code is None:
        return None
    return version(answer.output) if answer.code == 0 else ()


def _containers(answer: Answer | None) -> tuple[Container, ...] | None:
    text = _ended_well(answer)
    return None if text is None else parse_containers(text)


def parse_containers(text: str) -> tuple[Container, ...]:
    found = []
    for line in text.splitlines():
        name, ports, project, service, folder = (*line.split("\t"), "", "", "", "", "")[:5]
        if name:
            found.append(Container(name, _published(ports), project, service, folder))
    return tuple(found)


def _published(ports: str) -> frozenset[int]:
    """``127.0.0.1:8001->8001/tcp``, or a range of them: ``0.0.0.0:8000-8001->8000-8001/tcp``."""
    found: set[int] = set()
    for first, last in re.findall(r":(\d+)(?:-(\d+))?->", ports):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _images(answer: Answer | None) -> frozenset[str] | None:
    text = _ended_well(answer)
    return None if text is None else frozenset(text.split())


def _driver_trouble(listed: Answer | None, gpus: Sequence[ListedGpu] | None) -> str:
    if listed is None or listed.code is None or gpus:
        return ""
    said = (listed.output.strip() or listed.errors.strip()).splitlines()
    return said[0] if said else "it lists none"


def _memory_bytes() -> int | None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None

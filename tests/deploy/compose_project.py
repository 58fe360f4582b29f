"""A copy of the project that ``docker compose`` runs in, so that its ``.env`` is never ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from backend.core.deployment import SERVICES

ROOT = Path(__file__).parents[2]
OVERRIDES = "tests/deploy/overrides"
EMBEDDED_STORE = f"{OVERRIDES}/embedded-store.yml"
BASE_FILE = "docker-compose.yml"

# In the operator's shell, and none of the backend's business.
HOST_SECRETS = {
    "HF_TOKEN": "hf_" + "kZbQyRwVtXnMlPsGdJfHcBvNaEoUiYtRqW",
    "AWS_SECRET_ACCESS_KEY": "a secret of the operator",
}

# Of the shell that runs the tests; everything else would reach compose's variables.
_PASSED_ON = re.compile(r"PATH|HOME|LANG|TMPDIR|DOCKER_.*|BUILDX_.*|COMPOSE_(ANSI|PROGRESS|MENU)")
_COMPOSE = re.compile(r"\bdocker[ -]compose\b((?: -f \S+)*)")
_PATIENCE_S = 300


class ComposeFailed(AssertionError):
    """A command of docker compose ended with another code than 0; the message has its output, and
    of ``up`` the logs of the containers."""


@dataclass(slots=True)
class ComposeProject:
    """``files`` are given with ``-f`` in every command, ``environment`` is the operator's shell."""

    folder: Path
    name: str
    files: tuple[str, ...] = (BASE_FILE,)
    overrides: tuple[str, ...] = (EMBEDDED_STORE,)
    environment: dict[str, str] = field(default_factory=dict)

    # --- commands ------------------------------------------------------------------------------

    def shell(
        self, command: str, *, check: bool = True, timeout_s: float = _PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """``command`` as an operator types it; only the overrides of the tests are added."""
        done = subprocess.run(
            ["/bin/sh", "-c", self._with_overrides(command)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            said = f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            if " up " in command:
                logs = self.compose("logs --no-color --tail 60", check=False)
                said += f"\n--- logs ---\n{logs.stdout}{logs.stderr}"
            raise ComposeFailed(said)
        return done

    def compose(
        self, arguments: str, *, check: bool = True, timeout_s: float = _PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        files = " ".join(f"-f {file}" for file in self.files)
        return self.shell(f"docker compose {files} {arguments}", check=check, timeout_s=timeout_s)

    def up(self, arguments: str = "") -> None:
        """Start and wait until everything is healthy."""
        waiting = f"up -d --wait --wait-timeout {_PATIENCE_S} --no-build --pull never"
        self.compose(f"{waiting} {arguments}", timeout_s=_PATIENCE_S + 60)

    def down(self, arguments: str = "") -> None:
        self.compose(f"--profile '*' down -t 10 --remove-orphans {arguments}")

    def exec(
        self, service: str, command: str, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.compose(f"exec -T {service} {command}", check=check)

    def _with_overrides(self, command: str) -> str:
        def add(found: re.Match[str]) -> str:
            files = found[1] or f" -f {BASE_FILE}"
            return "docker compose" + files + "".join(f" -f {file}" for file in self.overrides)

        return _COMPOSE.sub(add, command)

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        return ours | {"COMPOSE_PROJECT_NAME": self.name} | self.environment

    # --- what the operator does with files -----------------------------------------------------

    def choose(self, env_file: str, changes: Mapping[str, str] | None = None) -> None:
        """``cp env_file .env``, then edit lines of it."""
        lines = (self.folder / env_file).read_text(encoding="utf-8").splitlines()
        for name, value in (changes or {}).items():
            lines = [line for line in lines if not re.match(rf"\s*{name}\s*=", line)]
            lines.append(f"{name}={value}")
        (self.folder / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")

    # --- what runs -----------------------------------------------------------------------------

    def containers(self) -> dict[str, dict[str, Any]]:
        """What ``docker inspect`` tells of the running containers, by service."""
        ids = self.compose("ps -q").stdout.split()
        if not ids:
            return {}
        found = json.loads(self.shell(f"docker inspect {' '.join(ids)}").stdout)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def port(self, variable: str) -> int:
        return int(self.environment[variable])

    def client(self, variable: str = "BACKEND_PORT") -> httpx.Client:
        url = f"http://127.0.0.1:{self.port(variable)}"
        return httpx.Client(base_url=url, timeout=120, trust_env=False)


def free_ports() -> dict[str, str]:
    """A free port for each variable of a published port."""
    variables = sorted({service.port_variable for service in SERVICES if service.port_variable})
    taken = []
    try:
        for _ in variables:
            taken.append(socket.socket())
            taken[-1].bind(("127.0.0.1", 0))
        ports = [str(one.getsockname()[1]) for one in taken]
    finally:
        for one in taken:
            one.close()
    return dict(zip(variables, ports, strict=True))


def copy_project(folder: Path) -> Path:
    """What git would commit, so no ``.env``, environment or data of the developer."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    folder.chmod(0o755)  # as a checkout is, for the containers' users; pytest's folders are 0700
    return folder


def wait_until(condition: Any, patience_s: float = 60, every_s: float = 0.5) -> None:
    """Until ``condition()`` is true.

    Raises:
        AssertionError: it is not in time.
    """
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s"
        time.sleep(every_s)

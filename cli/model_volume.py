"""Where the vLLM container looks for models, and fetching into it.

The compose files keep the Hugging Face cache in a named volume, which the host cannot write to. The
fetch then runs in the backend's image, which holds this program, with that volume mounted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from backend.core.deployment import SERVICES
from cli.model_fetch import FetchError

_SERVERS = tuple(service.name for service in SERVICES if service.provider == "vllm")
_INSIDE = PurePosixPath("/hf")
_PASSED_ON = (
    "HF_TOKEN HF_ENDPOINT HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy TERM"
).split()


@dataclass(frozen=True, slots=True)
class HostFolder:
    """The cache is a folder of this machine."""

    cache: Path


@dataclass(frozen=True, slots=True)
class Volume:
    """The cache is ``path`` within the volume ``name``; ``key`` is its name in the compose file."""

    name: str
    key: str
    project: str
    path: PurePosixPath
    image: str

    @property
    def cache_inside(self) -> PurePosixPath:
        return _INSIDE / self.path


@dataclass(frozen=True, slots=True)
class Docker:
    """``environment`` is the caller's; compose reads the env file itself."""

    project_folder: Path
    environment: Mapping[str, str]
    env_file: Path | None = None

    @property
    def _compose(self) -> tuple[str, ...]:
        chosen = ("--env-file", str(self.env_file.absolute())) if self.env_file else ()
        return ("compose", *chosen)

    def cache_of_vllm(self) -> HostFolder | Volume | None:
        """None: this machine has no Docker Compose.

        Raises:
            FetchError: the compose file cannot be read, or mounts no cache.
        """
        docker = shutil.which("docker", path=self.environment.get("PATH"))
        if docker is None or self._run(docker, "compose", "version").returncode != 0:
            return None
        words = ("--profile", "vllm", "config", "--format", "json")
        answer = self._run(docker, *self._compose, *words)
        if answer.returncode != 0:
            raise FetchError(f"docker compose config: {_last_words(answer.stderr)}")
        return _cache(json.loads(answer.stdout))

    def fetch(self, volume: Volume, words: Sequence[str], token: str | None) -> int:
        """Run ``python -m cli.models *words`` with the volume; its exit code.

        Raises:
            FetchError: Docker does not do it.
        """
        docker = shutil.which("docker", path=self.environment.get("PATH")) or "docker"
        self._make_volume(docker, volume)
        if self._run(docker, "image", "inspect", volume.image).returncode != 0:
            code = self._wait([docker, *self._compose, "build", "backend"], self.environment)
            if code != 0:
                raise FetchError("The backend's image, which fetches models, could not be built.")
        environment = {**self.environment, **({"HF_TOKEN": token} if token else {})}
        return self._wait([docker, *self._run_words(volume, environment), *words], environment)

    def _make_volume(self, docker: str, volume: Volume) -> None:
        """As compose makes it: without its labels it would warn of a stranger's volume."""
        labels = {
            "com.docker.compose.project": volume.project,
            "com.docker.compose.volume": volume.key,
        }
        flags = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
        answer = self._run(docker, "volume", "create", *flags, volume.name)
        if answer.returncode != 0:
            raise FetchError(
                f"docker volume create: {_last_words(answer.stderr)}\nStart Docker, or fetch into a"
                " folder: --to DIR"
            )

    def _run_words(self, volume: Volume, environment: Mapping[str, str]) -> list[str]:
        passed = [name for name in _PASSED_ON if environment.get(name)]
        terminal = ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        return [
            *("run", "--rm", "--init", *terminal),
            # The volume is root's, as vLLM's container is.
            *("--user", "0:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
            *("--read-only", "--tmpfs", "/tmp"),  # noqa: S108
            *("--volume", f"{volume.name}:{_INSIDE}"),
            # By name: a value would be seen in the list of processes.
            *(word for name in passed for word in ("--env", name)),
            *(("--network", "host") if _is_near(environment, passed) else ()),
            *("--entrypoint", "python", volume.image, "-m", "cli.models"),
        ]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # S603: no shell; the words are ours.
        return subprocess.run(  # noqa: S603
            command,
            cwd=self.project_folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _wait(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=self.project_folder, env=dict(environment)
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()  # Docker hands it on to the container
            process.wait()
            raise


def _cache(config: Mapping[str, Any]) -> HostFolder | Volume:
    services = config["services"]
    server = next((services[name] for name in _SERVERS if name in services), None)
    if server is None:
        raise FetchError("The compose files name no vLLM server. To fetch into a folder: --to DIR")
    environment = server.get("environment") or {}
    home = environment.get("HF_HOME") or "/root/.cache/huggingface"
    cache = PurePosixPath(environment.get("HF_HUB_CACHE") or f"{home}/hub")
    for mount in server.get("volumes") or ():
        if not cache.is_relative_to(mount["target"]):
            continue
        path = cache.relative_to(mount["target"])
        if mount["type"] == "bind":
            return HostFolder(Path(mount["source"]) / path)
        volume = config["volumes"][mount["source"]]
        return Volume(
            name=volume["name"],
            key=mount["source"],
            project=config["name"],
            path=path,
            image=services["backend"]["image"],
        )
    raise FetchError(f"The vLLM server of the compose files keeps no {cache} between its starts.")


def _is_near(environment: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether a mirror or a proxy is this machine, which a container calls otherwise."""
    near = ("://127.0.0.1", "://localhost", "://[::1]")
    values = (environment[name] for name in names if name.upper() != "NO_PROXY")
    return any(place in value for value in values for place in near)


def _last_words(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]

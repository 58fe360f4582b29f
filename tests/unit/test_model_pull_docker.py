"""Fetching into the volume of the vLLM container, with a stand-in for the docker command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.model_fetch import FetchError
from cli.model_volume import Docker, HostFolder, Volume
from cli.models import run
from tests.fakes.model_hub import FakeHub, serving

# Writes down what it was asked; the answers are files beside it.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

folder, words = Path(__file__).parent, sys.argv[1:]
with (folder / "asked").open("a") as asked:
    print(json.dumps([words, os.environ.get("HF_TOKEN", "")]), file=asked)
if words[:2] == ["compose", "version"]:
    sys.exit(0 if (folder / "config.json").exists() else 1)
if "config" in words:
    text = (folder / "config.json").read_text()
    sys.stdout.write(text)
    if not text.startswith("{{"):
        sys.exit("first line\\nservices.llm-vllm: invalid")
if words[:2] == ["image", "inspect"]:
    sys.exit(0 if (folder / "image").exists() else 1)
if words[-2:] == ["build", "backend"]:
    (folder / "image").touch()
if words[:2] == ["volume", "create"] and (folder / "down").exists():
    sys.exit("Cannot connect to the Docker daemon. Is the docker daemon running?")
if words[0] == "run":
    sys.exit(7)
"""


class StandIn:
    """``down``: the daemon does not answer, which reading compose files does not need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = folder / "docker"
        command.write_text(STAND_IN.format(python=sys.executable))
        command.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    def configure(self, mount: dict[str, str], **environment: str) -> None:
        server = {"volumes": [mount], "environment": environment}
        config = {
            "name": "project",
            "services": {"llm-vllm": server, "backend": {"image": "project/backend:local"}},
            "volumes": {"hf-cache": {"name": "project_hf-cache"}},
        }
        (self.folder / "config.json").write_text(json.dumps(config))

    def asked(self) -> list[tuple[list[str], str]]:
        lines = (self.folder / "asked").read_text().splitlines()
        return [(words, token) for words, token in map(json.loads, lines)]


NAMED = {"type": "volume", "source": "hf-cache", "target": "/root/.cache/huggingface"}


@pytest.fixture
def docker(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bin")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(FakeHub(files={"config.json": b"{}", "model.safetensors": b"x"})) as fake:
        yield fake


def pull(docker: StandIn, hub: FakeHub, *words: str, **variables: str) -> int:
    env_file = docker.folder / "deployment.env"
    env_file.touch()
    command = ["pull", "--provider", "vllm", "org/model", *words, "--env-file", str(env_file)]
    return run(command, docker.environment | {"HF_ENDPOINT": hub.url} | variables)


def cache_of(docker: StandIn) -> HostFolder | Volume | None:
    return Docker(docker.folder, docker.environment).cache_of_vllm()


def test_the_cache_is_found_in_the_volume_that_the_server_mounts(docker: StandIn) -> None:
    docker.configure(NAMED, HF_HOME="/root/.cache/huggingface")

    found = cache_of(docker)

    assert isinstance(found, Volume)
    assert (found.name, str(found.cache_inside)) == ("project_hf-cache", "/hf/hub")


def test_the_servers_own_variables_say_where_in_the_mount_it_is(docker: StandIn) -> None:
    docker.configure(NAMED | {"target": "/models"}, HF_HOME="/models/hf")
    within = cache_of(docker)
    docker.configure({"type": "bind", "source": "/srv/hf", "target": "/cache"}, HF_HOME="/cache")
    beside = cache_of(docker)

    assert isinstance(within, Volume)
    assert str(within.cache_inside) == "/hf/hf/hub"
    assert beside == HostFolder(Path("/srv/hf/hub"))


def test_without_compose_there_is_no_volume(docker: StandIn) -> None:
    assert cache_of(docker) is None


def test_a_compose_file_that_cannot_be_read_is_told_in_its_own_words(docker: StandIn) -> None:
    (docker.folder / "config.json").write_text("")

    with pytest.raises(FetchError, match=r"services\.llm-vllm: invalid"):
        cache_of(docker)


def test_a_server_that_keeps_no_cache_is_said(docker: StandIn) -> None:
    docker.configure(NAMED | {"target": "/elsewhere"})

    with pytest.raises(FetchError, match=r"keeps no /root/\.cache/huggingface/hub"):
        cache_of(docker)


@pytest.mark.loopback
def test_the_fetch_runs_in_the_backends_image_with_the_volume(
    docker: StandIn, hub: FakeHub
) -> None:
    docker.configure(NAMED)

    code = pull(docker, hub, **{"HUGGING_FACE_HUB_TOKEN": "hf_reader"})

    *_, (inspected, _), (built, _), (words, in_environment) = docker.asked()
    assert code == 7
    assert inspected == ["image", "inspect", "project/backend:local"]
    assert built[-2:] == ["build", "backend"]
    assert words[words.index("--volume") + 1] == "project_hf-cache:/hf"
    assert words[-8:] == [
        *("-m", "cli.models", "pull", "--provider", "vllm", "org/model"),
        *("main", "--to=/hf/hub"),
    ]
    assert "HF_ENDPOINT" in words
    assert "--network" in words  # the hub is on this machine
    assert in_environment == "hf_reader"
    assert not any("hf_reader" in word for word in words)


@pytest.mark.loopback
def test_the_volume_is_made_as_compose_makes_it(docker: StandIn, hub: FakeHub) -> None:
    docker.configure(NAMED)

    pull(docker, hub)

    made = next(words for words, _ in docker.asked() if words[:2] == ["volume", "create"])
    assert "com.docker.compose.project=project" in made
    assert "com.docker.compose.volume=hf-cache" in made
    assert made[-1] == "project_hf-cache"


@pytest.mark.loopback
def test_docker_that_is_not_running_is_said_with_the_way_around_it(
    docker: StandIn, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    docker.configure(NAMED)
    (docker.folder / "down").touch()

    assert pull(docker, hub) == 1

    said = capsys.readouterr().err
    assert "Cannot connect to the Docker daemon" in said
    assert "--to DIR" in said


@pytest.mark.loopback
def test_a_dry_run_starts_no_container(docker: StandIn, hub: FakeHub) -> None:
    docker.configure(NAMED)

    assert pull(docker, hub, "--dry-run") == 0

    assert {words[0] for words, _ in docker.asked()} == {"compose"}


@pytest.mark.loopback
def test_an_unknown_model_is_noticed_before_docker_does_anything(
    docker: StandIn, hub: FakeHub
) -> None:
    docker.configure(NAMED)
    hub.repository = "org/other"

    assert pull(docker, hub) == 1

    assert {words[0] for words, _ in docker.asked()} == {"compose"}


@pytest.mark.loopback
def test_without_docker_the_model_goes_where_a_vllm_of_this_machine_looks(
    docker: StandIn, hub: FakeHub, tmp_path: Path
) -> None:
    assert pull(docker, hub, HF_HOME=str(tmp_path / "hf")) == 0

    assert (tmp_path / "hf/hub/models--org--model/refs/main").is_file()

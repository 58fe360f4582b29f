"""What cannot work is told before anything starts (make test-compose)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.compose_project import ComposeProject
from tests.deploy.conftest import MakeProject

pytestmark = [pytest.mark.compose, pytest.mark.loopback]


@pytest.fixture
def project(make_project: MakeProject, images: None) -> Iterator[ComposeProject]:
    project = make_project()
    yield project
    project.down("--volumes")


def test_a_value_that_cannot_be_stops_the_start_with_the_line_to_change(
    project: ComposeProject,
) -> None:
    project.choose(".env.ollama", {"LLM_MAX_TOKENS": "many"})

    started = project.shell("docker compose up --no-build --pull never", check=False)

    assert started.returncode != 0
    assert "LLM_MAX_TOKENS" in started.stdout
    assert ".env:" in started.stdout
    assert project.containers() == {}


def test_in_the_background_the_same_words_are_in_the_log_of_preflight(
    project: ComposeProject,
) -> None:
    project.choose(".env.vllm", {"VLLM_MAX_MODEL_LEN": "eight thousand"})

    started = project.shell("docker compose up -d --no-build --pull never", check=False)
    logs = project.shell("docker compose logs preflight").stdout

    assert started.returncode != 0
    assert "preflight" in started.stderr
    assert "VLLM_MAX_MODEL_LEN" in logs
    assert project.containers() == {}


def test_an_env_file_that_only_its_owner_can_read_does_not_stop_the_start(
    project: ComposeProject,
) -> None:
    project.choose(".env.ollama")
    (project.folder / ".env").chmod(0o600)

    project.up("llm-ollama")

    assert set(project.containers()) == {"llm-ollama"}

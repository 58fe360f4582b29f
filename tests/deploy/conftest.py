"""A project on the engine of ``scripts/compose_engine.sh``: images once, then stack by stack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.compose_project import HOST_SECRETS, ComposeProject, copy_project, free_ports
from tests.deploy.standin_images import build_images

MakeProject = Callable[[], ComposeProject]


@pytest.fixture(scope="session")
def engine() -> Path:
    """The folder of the private engine: never the one that an operator's own things run on."""
    folder = os.environ.get("COMPOSE_TEST_ENGINE")
    if not folder:
        pytest.skip("needs the engine of scripts/compose_engine.sh (make test-compose)")
    return Path(folder)


@pytest.fixture(scope="session")
def make_project(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeProject]:
    """Copies of the repository, each a project of its own; at the end nothing of them runs."""
    made: list[ComposeProject] = []

    def make() -> ComposeProject:
        folder = copy_project(tmp_path_factory.mktemp("project"))
        name = f"quadrate-test-{os.getpid()}-{len(made)}"
        made.append(ComposeProject(folder, name, environment=free_ports() | HOST_SECRETS))
        return made[-1]

    yield make
    for project in made:
        project.down("--volumes")
        shutil.rmtree(project.folder)


@pytest.fixture(scope="session")
def images(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> None:
    build_images(make_project(), tmp_path_factory.mktemp("images"))

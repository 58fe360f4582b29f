"""The backend's image: built without a network, small, and nobody inside (make test-compose)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.deploy.conftest import MakeProject
from tests.deploy.standin_images import BACKEND_IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.loopback]

OFFLINE_IMAGE = "quadrate-test/backend-offline:1"
DOWNLOAD = "python -m pip download --quiet --require-hashes -r /lock/run.txt -d /wheels"


def test_it_builds_without_a_network_from_a_folder_of_wheels(
    make_project: MakeProject, images: None, engine: Path
) -> None:
    project = make_project()
    kept = engine.parent / "wheels"  # between runs; pip fetches what the lock file changed
    project.shell(
        f"docker run --rm --pull never -v {project.folder}/requirements:/lock:ro -v {kept}:/wheels "
        f"python:3.11-slim {DOWNLOAD}",
        timeout_s=600,
    )
    shutil.copytree(kept, project.folder / "wheels")

    project.shell(
        f"docker build --quiet --network none -f backend/Dockerfile -t {OFFLINE_IMAGE} .",
        timeout_s=600,
    )
    project.shell(f"docker run --rm --network none {OFFLINE_IMAGE} python -c 'import backend.app'")


def test_it_is_small_and_runs_as_nobody(make_project: MakeProject, images: None) -> None:
    project = make_project()

    image = json.loads(project.shell(f"docker image inspect {BACKEND_IMAGE}").stdout)[0]
    installed = project.shell(
        f"docker run --rm {BACKEND_IMAGE} sh -c 'ls /opt/venv/lib/python3*/site-packages'"
    ).stdout.split()

    assert image["Config"]["User"] == "10001:10001"
    assert image["Size"] < 700 * 1024**2
    assert not {"torch", "pip"} & set(installed)

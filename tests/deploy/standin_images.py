"""Builds the backend's image, and under the names of the compose files what stands in for the
images of the model servers. Nothing is pulled."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.deploy.compose_project import ROOT, ComposeProject
from tests.fakes.tiny_gguf import write_tiny_gguf
from tests.fakes.tiny_rerank_gguf import write_tiny_bert

BACKEND_IMAGE = "quadrate-rag/backend:local"
ALL_FILES = ("docker-compose.yml", "docker-compose.vllm.yml", "docker-compose.vllm-mig.yml")
_TARGETS = {"vllm/": "vllm", "ollama/": "ollama", "ghcr.io/ggml-org/llama.cpp": "llamacpp"}
_CODE = (
    "tests/__init__.py",
    "tests/fakes/__init__.py",
    "tests/fakes/ollama_server.py",
    "tests/deploy/__init__.py",
)


def build_images(project: ComposeProject, scratch: Path) -> None:
    project.shell("docker compose build --quiet", timeout_s=900)
    context = _context(scratch / "standins")
    for image, target in _wanted(project).items():
        project.shell(
            f"docker build --quiet --target {target} --build-arg BACKEND={BACKEND_IMAGE} "
            f"-t {image} {context}"
        )


def _wanted(project: ComposeProject) -> dict[str, str]:
    """Image to target, for every image that a model server of any compose file runs."""
    found = {}
    for file in ALL_FILES:
        listed = project.shell(f"docker compose -f {file} --profile '*' config --images").stdout
        for image in listed.split():
            for prefix, target in _TARGETS.items():
                if image.startswith(prefix):
                    found[image] = target
    return found


def _context(folder: Path) -> Path:
    for name in _CODE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    standins = folder / "tests/deploy/standins"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests/deploy/standins", standins, ignore=ignored)
    shutil.copy(standins / "Dockerfile", folder / "Dockerfile")
    models = folder / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf")
    write_tiny_bert(models / "tiny-embed.gguf", reranks=False)
    write_tiny_bert(models / "tiny-rerank.gguf", reranks=True)
    return folder

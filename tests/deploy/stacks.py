"""The deployments that are brought up, and what an operator does before each starts."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from backend.core.deployment import BASE_FILE, MIG_FILE, VLLM_FILE
from tests.deploy.compose_project import ROOT, ComposeProject, wait_until
from tests.fakes.tiny_gguf import write_tiny_gguf

SPACE = "demo"
QUESTION = "Какие дедлайны по проекту?"
INDEX = f"python -m cli.index_cli --dir /app/docs --space {SPACE}"
_number = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Stack:
    """``changes``: the lines an operator edits in the env file. ``answers_from``: the services
    whose loss means that there are no answers."""

    name: str
    env_file: str
    file: str
    services: frozenset[str]
    answers_from: str
    provider: str
    changes: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[ComposeProject], None] = lambda _: None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class RunningStack:
    stack: Stack
    project: ComposeProject
    indexed: str  # what the first indexing printed

    def ask(self, *, stream: bool = False) -> httpx.Response:
        """Never the same question twice: the answer must not come from the cache."""
        question = f"{QUESTION} Пункт {next(_number)}."
        body = {"q": question, "space_id": SPACE, "top_k": 1, "stream": stream}
        with self.project.client() as client:
            return client.post("/ask", json=body)

    def answers(self) -> bool:
        try:
            answer = self.ask()
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["generation"] == "model"

    def get(self, path: str, port: str = "BACKEND_PORT", **query: str) -> httpx.Response:
        with self.project.client(port) as client:
            return client.get(path, params=query)

    def documents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/documents", space_id=SPACE).json()["documents"]
        return sorted(found, key=lambda document: str(document["source"]))


def pull_into_ollama(project: ComposeProject) -> None:
    """As the guide says: the model of a new Ollama is fetched once."""
    project.up("llm-ollama")
    project.shell("docker exec llm-ollama ollama pull qwen3:8b")


def llamacpp_folder(project: ComposeProject) -> Path:
    folder = project.folder / "data/llamacpp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def put_model_for_llamacpp(project: ComposeProject) -> None:
    """The real chat model where it was fetched (``python -m cli.models pull``), else a tiny one."""
    folder = llamacpp_folder(project)
    found = subprocess.run(
        [sys.executable, "-m", "cli.models", "path"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    model = Path(found.stdout.strip())
    if found.returncode == 0 and model.is_file():
        try:
            os.link(model, folder / LLAMACPP_FILE)
        except OSError:
            shutil.copy(model, folder / LLAMACPP_FILE)
    else:
        write_tiny_gguf(folder / LLAMACPP_FILE)


LLAMACPP_FILE = "chat-model.gguf"
# Two threads for the embedding model halve the time of indexing; LLM_CANARY fills the whole window
# of the model once, which takes a real one on a CPU minutes.
_HERE = {"EMBED_THREADS": "2", "LLM_MAX_TOKENS": "32"}
MEDIUM_UUID = "MIG-5c89852c-b268-5f3a-9fdc-d5d1b9d8c2e1"
SMALL_UUID = "MIG-63feeb1f-ee52-5aa5-9dbb-0b1f1c6f8c11"
RERANK_MODEL = "BAAI/bge-reranker-v2-m3"
_ALWAYS = frozenset({"backend"})

OLLAMA = Stack(
    "ollama",
    ".env.ollama",
    BASE_FILE,
    _ALWAYS | {"llm-ollama"},
    "llm-ollama",
    "ollama",
    _HERE,
    pull_into_ollama,
)
VLLM = Stack("vllm", ".env.vllm", VLLM_FILE, _ALWAYS | {"vllm"}, "vllm", "vllm", _HERE)
MIG = Stack(
    "vllm-mig",
    ".env.vllm-mig",
    MIG_FILE,
    _ALWAYS | {"vllm-medium", "vllm-small"},
    "vllm-medium",
    "vllm",
    _HERE
    | {
        "VLLM_MEDIUM_MIG_UUID": MEDIUM_UUID,
        "VLLM_SMALL_MIG_UUID": SMALL_UUID,
    },
)
LLAMACPP = Stack(
    "llamacpp",
    ".env.llamacpp",
    BASE_FILE,
    _ALWAYS | {"llm-llamacpp"},
    "llm-llamacpp",
    "llamacpp",
    _HERE
    | {
        "LLAMACPP_MODEL_FILE": LLAMACPP_FILE,
        # More threads than free cores make it many times slower.
        "LLAMACPP_THREADS": "1",
        "LLM_CONTEXT_WINDOW": "2048",
        "LLM_CANARY": "off",
    },
    put_model_for_llamacpp,
)
EXTRAS = Stack(
    "api, embedding, reranker",
    ".env.vllm",
    BASE_FILE,
    _ALWAYS | {"llm-vllm", "api", "embedding", "reranker"},
    "llm-vllm",
    "vllm",
    _HERE
    | {
        "COMPOSE_PROFILES": "vllm,api,embedding,reranker",
        "EMBED_PROVIDER": "openai",
        "EMBED_MODEL": "intfloat/multilingual-e5-small",
        "EMBED_URL": "http://embedding:8001/v1",
        "RERANK_PROVIDER": "server",
        "RERANK_MODEL": RERANK_MODEL,
        "RERANK_URL": "http://reranker:8002/v1",
        "VLLM_GPU_MEMORY_UTILIZATION": "0.70",
    },
)
ALL = (OLLAMA, VLLM, MIG, LLAMACPP, EXTRAS)


@contextmanager
def brought_up(stack: Stack, project: ComposeProject) -> Iterator[RunningStack]:
    """Started, healthy and with the samples indexed, until the block ends."""
    project.files = (stack.file,)
    project.choose(stack.env_file, stack.changes)
    try:
        stack.prepare(project)
        project.up()
        indexed = project.exec("backend", INDEX).stdout
        running = RunningStack(stack, project, indexed)
        wait_until(running.answers, 120)
        yield running
    finally:
        project.down("--volumes")

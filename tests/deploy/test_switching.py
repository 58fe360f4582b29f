"""From one model server to another with the commands of the guides, typed as they stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.compose_project import EMBEDDED_STORE, wait_until
from tests.deploy.conftest import MakeProject
from tests.deploy.stacks import LLAMACPP_FILE, OLLAMA, RunningStack, llamacpp_folder
from tests.fakes.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.compose, pytest.mark.loopback]

WAIT = "wait"  # what the guides watch the logs for: answers
TO_OLLAMA = (
    "cp .env.ollama .env",
    "docker compose up -d",
    "docker exec llm-ollama ollama pull qwen3:8b",
    "docker exec llm-ollama ollama list",
    "docker compose up -d --wait",
    "docker compose ps",
)
INDEXING = "docker compose exec backend python -m cli.index_cli --dir /app/docs --space demo"
TO_VLLM = (
    "docker-compose down",
    "cp .env.vllm .env",
    "docker-compose -f docker-compose.vllm.yml up -d",
    WAIT,
    "docker-compose -f docker-compose.vllm.yml logs vllm",
    "docker-compose -f docker-compose.vllm.yml exec backend \\\n"
    "  python -m cli.index_cli --dir /app/docs --space demo",
    "docker-compose -f docker-compose.vllm.yml up -d --force-recreate vllm",
    WAIT,
    "docker-compose -f docker-compose.vllm.yml restart vllm",
)
BACK_TO_OLLAMA = (
    "docker-compose -f docker-compose.vllm.yml down",
    "cp .env.ollama .env",
    "docker-compose up -d",
)
TO_LLAMACPP = (
    "docker stop llm-vllm llm-ollama llm-llamacpp 2>/dev/null; true",
    "docker rm llm-vllm llm-ollama llm-llamacpp 2>/dev/null; true",
    "docker compose --profile vllm --profile ollama --profile llamacpp down",
    "cp env.example .env",
    f"sed -i 's/^LLM_BACKEND=.*/LLM_BACKEND=llamacpp/; "
    f"s/^LLAMACPP_MODEL_FILE=.*/LLAMACPP_MODEL_FILE={LLAMACPP_FILE}/' .env",
    "docker compose --profile llamacpp up -d",
    "docker compose logs llm-llamacpp",
)
OTHER_WAYS_TO_START_OLLAMA = (
    "docker compose --profile vllm --profile ollama --profile llamacpp down",
    "rm .env",
    "docker compose --env-file .env.ollama up -d",
)


@pytest.fixture(scope="module")
def running(make_project: MakeProject, images: None) -> Iterator[RunningStack]:
    project = make_project()
    # On the shell: the guides' env files are copied as they are.
    project.environment |= {"EMBED_THREADS": "2", "LLM_MAX_TOKENS": "32", "LLM_CANARY": "off"}
    write_tiny_gguf(llamacpp_folder(project) / LLAMACPP_FILE)
    yield RunningStack(OLLAMA, project, "")
    project.down("--volumes")


def type_in(running: RunningStack, commands: tuple[str, ...]) -> None:
    for command in commands:
        if command == WAIT:
            wait_until(running.answers, 180)
        else:
            running.project.shell(command)


def test_documents_stay_while_the_model_servers_are_switched(running: RunningStack) -> None:
    type_in(running, TO_OLLAMA)
    indexed = running.project.shell(INDEXING).stdout
    before = running.documents()
    assert "0 failed" in indexed

    for commands, provider in (
        (TO_VLLM, "vllm"),
        (BACK_TO_OLLAMA, "ollama"),
        (TO_LLAMACPP, "llamacpp"),
        (OTHER_WAYS_TO_START_OLLAMA, "ollama"),
    ):
        type_in(running, commands)
        wait_until(running.answers, 180)

        assert running.get("/model-config").json()["provider"] == provider
        assert running.documents() == before


def test_the_override_of_these_tests_is_a_few_lines(running: RunningStack) -> None:
    lines = (running.project.folder / EMBEDDED_STORE).read_text().splitlines()

    assert len([line for line in lines if not line.startswith("#")]) < 10

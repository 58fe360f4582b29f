"""Every deployment of the compose files on a real engine (make test-compose)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy import stacks
from tests.deploy.conftest import MakeProject
from tests.deploy.stack_contract import StackContract
from tests.deploy.stacks import RunningStack, Stack, brought_up

pytestmark = [pytest.mark.compose, pytest.mark.loopback]


@pytest.fixture(scope="class")
def running(
    request: pytest.FixtureRequest, make_project: MakeProject, images: None
) -> Iterator[RunningStack]:
    stack: Stack = request.cls.stack
    with brought_up(stack, make_project()) as running:
        yield running


def reserved(running: RunningStack) -> dict[str, dict[str, object]]:
    """What each container asked the engine for, by service."""
    asked = {
        service: container["HostConfig"]["DeviceRequests"]
        for service, container in running.project.containers().items()
    }
    return {service: requests[0] for service, requests in asked.items() if requests}


class TestOllama(StackContract):
    stack = stacks.OLLAMA

    def test_no_gpu_is_asked_for(self, running: RunningStack) -> None:
        assert reserved(running) == {}


class TestVllm(StackContract):
    stack = stacks.VLLM

    def test_one_gpu_is_reserved(self, running: RunningStack) -> None:
        request = reserved(running)["vllm"]

        assert (request["Driver"], request["Count"]) == ("nvidia", 1)

    def test_options_of_the_env_file_are_flags_of_vllm(self, running: RunningStack) -> None:
        flags = running.get("/server_info", "VLLM_PORT").json()

        assert flags["--gpu-memory-utilization"] == ["0.90"]
        assert flags["--max-model-len"] == ["8192"]
        assert flags["--max-num-seqs"] == ["256"]
        assert "--quantization" not in flags

    def test_a_model_is_fetched_into_the_volume_with_the_command_of_the_guide(
        self, running: RunningStack
    ) -> None:
        fetched = running.project.compose(
            "run --rm vllm huggingface-cli download meta-llama/Meta-Llama-3.1-8B-Instruct"
        )

        assert "downloads meta-llama/Meta-Llama-3.1-8B-Instruct with a token" in fetched.stdout


class TestVllmMig(StackContract):
    stack = stacks.MIG

    def test_each_server_reserves_its_own_slice(self, running: RunningStack) -> None:
        slices = {service: one["DeviceIDs"] for service, one in reserved(running).items()}

        assert slices == {
            "vllm-medium": [stacks.MEDIUM_UUID],
            "vllm-small": [stacks.SMALL_UUID],
        }

    def test_each_slice_serves_its_own_model(self, running: RunningStack) -> None:
        medium, small = (
            running.get("/v1/models", port).json()["data"][0]["id"]
            for port in ("VLLM_MEDIUM_PORT", "VLLM_SMALL_PORT")
        )

        assert (medium, small) == ("openai/gpt-oss-20b", "mistralai/Mistral-7B-Instruct-v0.3")


class TestLlamacpp(StackContract):
    stack = stacks.LLAMACPP


class TestApiEmbeddingReranker(StackContract):
    stack = stacks.EXTRAS

    def test_every_model_server_reserves_a_gpu(self, running: RunningStack) -> None:
        assert set(reserved(running)) == {"llm-vllm", "embedding", "reranker"}

    def test_the_gateway_alone_passes_a_chat_on(self, running: RunningStack) -> None:
        model = running.get("/v1/models", "API_PORT").json()["data"][0]["id"]
        messages = [{"role": "user", "content": "Привет!"}]
        with running.project.client("API_PORT") as client:
            body = {"model": model, "messages": messages, "max_tokens": 9}
            answer = client.post("/v1/chat/completions", json=body)

        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"]

    def test_the_embedding_server_embeds_the_documents(self, running: RunningStack) -> None:
        embedder = running.get("/health").json()["components"]["embedder"]["detail"]
        found = running.get("/search", q="дедлайны", space_id=stacks.SPACE).json()["results"]

        assert "multilingual-e5-small" in embedder
        assert found

    def test_the_reranking_server_scores_texts(self, running: RunningStack) -> None:
        body = {"model": stacks.RERANK_MODEL, "query": "a", "documents": ["b", "c"]}
        with running.project.client("RERANKER_PORT") as client:
            scored = client.post("/v1/rerank", json=body).json()["results"]

        assert len(scored) == 2

"""GET /model-config, /config, /health/deep and the fields of an answer that tell of the prompt."""

from __future__ import annotations

import pytest

from tests.api.conftest import OpenClient, put
from tests.fakes.generator import ScriptedGenerator


async def test_the_model_is_described_with_the_origin_of_each_value(
    open_client: OpenClient,
) -> None:
    async with open_client(generator=ScriptedGenerator(window=8192)) as client:
        found = (await client.get("/model-config")).json()

    assert found["model_name"] == "scripted"
    assert found["context_window"] == 8192
    assert found["summarization_threshold"] == 3000
    assert found["summarization_max_output"] == 1500
    assert found["tokens_per_second"] is None
    assert set(found["origin"]) >= {"context_window", "tokens_per_second"}


async def test_extractive_answers_have_a_model_config_too(open_client: OpenClient) -> None:
    async with open_client() as client:
        found = (await client.get("/model-config")).json()

    assert (found["model_name"], found["provider"]) == ("extractive", "none")


async def test_the_configuration_hides_secrets_and_tells_origins(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_TIMEOUT", "77")
    changes = {"llm_api_key": "very-secret", "llm_vllm_url": "http://user:very-secret@vllm:8001"}
    async with open_client(**changes) as client:
        response = await client.get("/config")

    settings = response.json()["settings"]
    assert "very-secret" not in response.text
    assert settings["LLM_API_KEY"]["value"] == "<hidden>"
    assert settings["LLM_TIMEOUT"] == {"value": 77.0, "origin": "environment"}
    assert settings["LLM_MAX_TOKENS"] == {"value": 512, "origin": "default"}


async def test_deep_health_tries_every_part_once_and_tells_its_age(
    open_client: OpenClient,
) -> None:
    generator = ScriptedGenerator("yes")
    async with open_client(generator=generator) as client:
        first = (await client.get("/health/deep")).json()
        second = (await client.get("/health/deep")).json()

    assert first["status"] == "ok"
    assert set(first["components"]) == {"store", "embedder", "generator"}
    assert len(generator.calls) == 1
    assert second["age_seconds"] >= first["age_seconds"]


async def test_the_canary_of_deep_health_is_in_no_list_of_documents(
    open_client: OpenClient,
) -> None:
    async with open_client(generator=ScriptedGenerator("yes")) as client:
        await client.get("/health/deep")
        listed = await client.get("/documents", params={"space_id": "quadrate-canary"})

    assert listed.json()["documents"] == []


async def test_reasoning_is_returned_only_where_it_was_asked_for(open_client: OpenClient) -> None:
    generator = ScriptedGenerator("Deadline is May 1 [1].", reasoning="Let me think.")
    async with open_client(generator=generator) as client:
        await put(client, "Deadline is May 1.")
        body = {"q": "When is the deadline?", "space_id": "s"}
        without = (await client.post("/ask", json=body)).json()
        asked = (await client.post("/ask", json=body | {"include_reasoning": True})).json()

    assert without["reasoning"] is None
    assert asked["reasoning"] == "Let me think."
    assert "think" not in asked["answer"]


async def test_metrics_count_the_answers(open_client: OpenClient) -> None:
    async with open_client(generator=ScriptedGenerator("Deadline is May 1 [1].")) as client:
        await put(client, "Deadline is May 1.")
        await client.post("/ask", json={"q": "When is the deadline?", "space_id": "s"})
        text = (await client.get("/metrics")).text

    assert 'route="/ask"' in text
    assert "quadrate_citations_total" in text

from __future__ import annotations

import pytest

from cli.model_fetch import FetchError
from cli.ollama_models import server_url
from cli.ollama_names import hint, parse


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:11434"),
        ({"OLLAMA_PORT": "11500"}, "http://127.0.0.1:11500"),
        ({"OLLAMA_PORT": ""}, "http://127.0.0.1:11434"),
        ({"LLM_OLLAMA_URL": "http://ollama:11434"}, "http://127.0.0.1:11434"),
        ({"LLM_OLLAMA_URL": "http://llm-ollama:11434/v1"}, "http://127.0.0.1:11434"),
        ({"LLM_OLLAMA_URL": "https://gpu.local:8443/"}, "https://gpu.local:8443"),
    ],
)
def test_the_server_is_looked_for_where_this_machine_sees_it(
    variables: dict[str, str], url: str
) -> None:
    assert server_url(variables) == url


@pytest.mark.parametrize(
    "variables",
    [{"LLM_OLLAMA_URL": "localhost:11434"}, {"OLLAMA_PORT": "http"}, {"LLM_OLLAMA_URL": "http://"}],
)
def test_what_is_no_address_is_named_by_its_variable(variables: dict[str, str]) -> None:
    (variable,) = variables

    with pytest.raises(FetchError, match=f"{variable}=.*is no address"):
        server_url(variables)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3",
        "qwen3:8b",
        "qwen3:8b-q4_K_M",
        "MFDoom/deepseek-r1-tool-calling:8b",
        "hf.co/Qwen/Qwen3-8B-GGUF",
        "hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M",
        "huggingface.co/bartowski/Llama-3.2-3B-Instruct-GGUF:IQ3_M",
        "registry.local:5000/team/model:v1",
    ],
)
def test_names_that_ollama_takes_are_taken(name: str) -> None:
    parsed = parse(name)

    assert parsed.model
    assert parsed.tag


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Qwen/Qwen3-8B-AWQ", "--provider vllm Qwen/Qwen3-8B-AWQ"),
        ("meta-llama/Llama-3.1-8B-Instruct-FP8", "--provider vllm"),
        ("https://huggingface.co/Qwen/Qwen3-8B-GGUF", "name alone: huggingface.co/Qwen"),
        ("qwen3-8b-q4_k_m.gguf", "--provider llamacpp"),
        ("", "is no name"),
        ("qwen3 8b", "is no name"),
        ("qwen3:", "is no name"),
        ("../../etc", "is no name"),
        ("a/b/c/d", "is no name"),
    ],
)
def test_names_of_another_style_are_answered_with_what_was_meant(name: str, told: str) -> None:
    with pytest.raises(FetchError, match=told):
        parse(name)


def test_a_repository_of_the_hub_is_hinted_at_when_the_registry_has_no_such_model() -> None:
    assert "hf.co/Qwen/Qwen3-8B" in hint("Qwen/Qwen3-8B")
    assert "qwen2.5-coder:1.5b?" in hint("qwen2.5-coder-1.5b-instruct")
    assert hint("nonsense") == ""

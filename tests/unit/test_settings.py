from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import ConfigurationError
from backend.settings import load_settings, unknown_variables


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_an_unknown_variable_is_reported_with_the_nearest_known_name() -> None:
    found = unknown_variables({"LLM_MODL": "x", "QDRANT_HNSWM": "3", "PATH": "/bin"})

    assert found == [
        "LLM_MODL is set, but nothing reads it. Did you mean LLM_MODEL?",
        "QDRANT_HNSWM is set, but nothing reads it. Did you mean QDRANT_HNSW_M?",
    ]


def test_variables_of_the_model_servers_are_known() -> None:
    assert unknown_variables({"VLLM_GPU_MEMORY_UTILIZATION": "0.9", "OLLAMA_HOST": "x"}) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("PORT=99999", "PORT='99999'"),
        ("LLM_MODE=openai", "LLM_MODE='openai'"),
        ("LLM_TIMEOUT=soon", "LLM_TIMEOUT='soon'"),
        ("CHUNK_SIZE_TOKENS=100\nCHUNK_OVERLAP_TOKENS=90", "CHUNK_SIZE_TOKENS \\(100\\)"),
        ("LLM_MODE=vllm", "LLM_MODEL"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_variable(
    env_file: Path, line: str, named: str
) -> None:
    env_file.write_text(line, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=named):
        load_settings(env_file)


def test_what_is_allowed_is_said(env_file: Path) -> None:
    env_file.write_text("LLM_MODE=openai", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="'llamacpp', 'vllm', 'ollama' or 'none'"):
        load_settings(env_file)


def test_several_api_keys_are_separated_by_commas(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "one, two")

    settings, _ = load_settings(env_file)

    assert settings.api_keys == ("one", "two")


def test_an_env_file_is_read_and_the_environment_wins(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("PORT=1111\nLLM_MAX_TOKENS=77\nLLM_TYPO=1", encoding="utf-8")
    monkeypatch.setenv("PORT", "2222")

    settings, warnings = load_settings(env_file)

    assert (settings.port, settings.llm_max_tokens) == (2222, 77)
    assert any("LLM_TYPO" in warning for warning in warnings)


def test_the_model_servers_own_variables_stand_in_for_the_model(env_file: Path) -> None:
    env_file.write_text("LLM_BACKEND=vllm\nVLLM_MODEL=Qwen/Qwen3-8B", encoding="utf-8")
    by_id, _ = load_settings(env_file)
    env_file.write_text(
        "LLM_MODE=vllm\nVLLM_MODEL=Qwen/Qwen3-8B\nSERVED_MODEL_NAME=qwen3-8b", encoding="utf-8"
    )
    by_served_name, _ = load_settings(env_file)
    env_file.write_text("LLM_MODE=ollama\nOLLAMA_MODEL=qwen3:8b", encoding="utf-8")
    of_ollama, _ = load_settings(env_file)

    assert (by_id.llm_mode, by_id.llm_model) == ("vllm", "Qwen/Qwen3-8B")
    assert by_served_name.llm_model == "qwen3-8b"
    assert of_ollama.llm_model == "qwen3:8b"


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("LLM_MODE=ollama", "LLM_MODEL"),
        ("LLM_BACKEND=vllm\nLLM_MODE=ollama\nLLM_MODEL=m", "LLM_BACKEND"),
        ("LLM_SMALL_MODEL=m", "LLM_SMALL_URL"),
        ("EMBED_PROVIDER=openai", "EMBED_MODEL"),
        ("RERANK_PROVIDER=server", "RERANK_MODEL"),
    ],
)
def test_what_belongs_together_is_asked_for(env_file: Path, lines: str, named: str) -> None:
    env_file.write_text(lines, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=named):
        load_settings(env_file)


def test_a_secret_can_be_a_file(env_file: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-a-file\n")
    (tmp_path / "none").touch()
    env_file.write_text(
        f"API_KEY_FILE={tmp_path / 'key'}\nLLM_API_KEY=plain\nLLM_API_KEY_FILE={tmp_path / 'none'}"
    )

    settings, warnings = load_settings(env_file)

    assert settings.api_keys == ("of-a-file",)
    assert settings.llm_api_key == "plain"
    assert warnings == []


def test_a_secret_given_twice_or_in_no_readable_file_stops_the_start(
    env_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("of-a-file")
    env_file.write_text(f"LLM_API_KEY=plain\nLLM_API_KEY_FILE={tmp_path / 'key'}")
    with pytest.raises(ConfigurationError, match="LLM_API_KEY and LLM_API_KEY_FILE"):
        load_settings(env_file)

    env_file.write_text(f"QDRANT_API_KEY_FILE={tmp_path / 'absent'}")
    with pytest.raises(ConfigurationError, match=r"QDRANT_API_KEY_FILE=.*cannot be read"):
        load_settings(env_file)

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from backend.core.errors import ConfigurationError
from backend.core.models import (
    AnswerLimits,
    KnownModel,
    Value,
    load_model_catalogue,
    profile,
    usable_window,
)
from backend.core.types import ServedModel

CONFIG = Path(__file__).parents[2] / "config"
LIMITS = AnswerLimits(
    max_answer_tokens=512, safety_margin=32, source_tokens=0, chunk_size_tokens=256
)
FALLBACK = Value(8192, "LLM_CONTEXT_WINDOW")


def known(window: int = 32768) -> KnownModel:
    return KnownModel("m", (), window, 7.0, 32, 8, 128, None, None, "none")


def test_the_catalogue_fits_its_schema() -> None:
    catalogue = json.loads((CONFIG / "llm_models.json").read_text(encoding="utf-8"))
    schema = json.loads((CONFIG / "llm_models.schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(catalogue, schema)


def test_a_name_belongs_to_one_model_only() -> None:
    catalogue = load_model_catalogue(CONFIG / "llm_models.json")
    names = [name.casefold() for m in catalogue.models for name in (m.name, *m.aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-oss-20b",
        "OpenGPT/gpt-oss-20b",
        "mistralai/Mistral-7B-Instruct-v0.3",
        "llama3.1:8b",
        "qwen3:8b",
        "Qwen/Qwen3-8B-AWQ",
        "gpt-oss:20b:latest",
    ],
)
def test_the_models_of_the_guides_are_known_by_any_of_their_names(name: str) -> None:
    assert load_model_catalogue(CONFIG / "llm_models.json").find(name) is not None


def test_a_catalogue_that_is_none_says_which_file(tmp_path: Path) -> None:
    path = tmp_path / "llm_models.json"
    path.write_text("[]", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"llm_models\.json"):
        load_model_catalogue(path)


def test_the_smaller_window_wins_and_the_difference_is_told() -> None:
    small = profile(ServedModel("m", 8192, "max_model_len"), known(), LIMITS, FALLBACK)
    large = profile(ServedModel("m", 65536, "max_model_len"), known(), LIMITS, FALLBACK)

    assert small.context_window == Value(8192, "max_model_len")
    assert "8192" in small.warnings[0]
    assert "32768" in small.warnings[0]
    assert large.context_window.value == 32768
    assert "65536" in large.warnings[0]


def test_what_is_used_is_what_is_reported() -> None:
    served = ServedModel("m", 65536, "max_model_len")

    assert (
        usable_window(served, known())
        == profile(served, known(), LIMITS, FALLBACK).context_window.value
    )


def test_a_window_smaller_than_asked_for_names_the_setting() -> None:
    served = ServedModel("m", 4096, "/api/ps", asked_window=16384)

    warnings = profile(served, None, LIMITS, FALLBACK).warnings

    assert any("LLM_CONTEXT_WINDOW=16384" in line and "4096" in line for line in warnings)


def test_the_guides_numbers_come_out_for_their_model() -> None:
    model = load_model_catalogue(CONFIG / "llm_models.json").find("openai/gpt-oss-20b")

    found = profile(ServedModel("openai/gpt-oss-20b", 8192, "vllm"), model, LIMITS, FALLBACK)

    assert found.summarization_threshold.value == 3000
    assert found.summarization_max_output.value == 1500


def test_without_a_server_the_smaller_of_catalogue_and_setting_is_shown() -> None:
    assert profile(None, known(4096), LIMITS, FALLBACK).context_window.value == 4096
    assert profile(None, known(), LIMITS, FALLBACK).context_window == FALLBACK
    assert profile(None, None, LIMITS, FALLBACK).context_window == FALLBACK


def test_the_room_for_sources_is_bounded_by_the_setting() -> None:
    limits = AnswerLimits(512, 32, 900, 256)

    found = profile(ServedModel("m", 8192, "x"), None, limits, FALLBACK)

    assert found.effective_context_for_rag == Value(900, "ASK_CONTEXT_TOKENS")
    assert found.recommended_chunk_limit.value == 2

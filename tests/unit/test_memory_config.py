from __future__ import annotations

import json
from typing import Any

import pytest

from backend.core.errors import ConfigurationError
from backend.core.memory_config import architecture
from backend.core.memory_weights import header_bytes
from tests.unit.planning import known

# The configurations below are shortened to what the planner reads.
LLAMA = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
GEMMA_4B = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
        "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304},
}  # fmt: skip


def test_a_head_size_that_is_not_given_follows_from_the_hidden_size() -> None:
    model = architecture(LLAMA, "local")

    assert model.attention[0].head_size == 128
    assert model.parameters == pytest.approx(8.03e9, rel=0.001)


def test_what_a_configuration_leaves_out_is_the_default_of_its_class() -> None:
    model = architecture(GEMMA_4B, "local")

    assert model.attention == known("google/gemma-3-4b-it").attention
    assert model.context_window == 131_072
    assert model.multimodal


def test_yarn_stretches_the_window() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

    assert architecture(LLAMA | {"rope_scaling": scaling}, "local").context_window == 131_072


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
            },
            "gptq",
        ),
    ],
)
def test_the_quantization_is_read(quantization: dict[str, Any], name: str) -> None:
    config = LLAMA | {"quantization_config": quantization}

    assert architecture(config, "local").quantization == name


def test_a_window_that_is_switched_off_is_none() -> None:
    config = LLAMA | {"sliding_window": 4096, "use_sliding_window": False}

    assert architecture(config, "local").attention[0].window is None


def test_a_configuration_without_layers_names_the_field() -> None:
    config = {name: value for name, value in LLAMA.items() if name != "num_hidden_layers"}

    with pytest.raises(ConfigurationError, match="num_hidden_layers"):
        architecture(config, "local")


def test_a_header_of_safetensors_is_added_up() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
        "b": {"dtype": "F8_E4M3", "shape": [10], "data_offsets": [64, 74]},
    }

    assert header_bytes(json.dumps(header).encode(), "x.safetensors") == 74


def test_a_header_that_is_none_names_the_file() -> None:
    with pytest.raises(ConfigurationError, match=r"x\.safetensors"):
        header_bytes(b"[]", "x.safetensors")

"""The fields of a model's ``config.json``, by all the names such files use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.core.errors import ConfigurationError

Config = Mapping[str, Any]

# Published configurations leave out what their class in transformers has as a default.
_DEFAULTS: dict[str, Config] = {
    "gemma2": {"sliding_window": 4096, "sliding_window_pattern": 2, "head_dim": 256},
    "gemma3_text": {
        "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 131072, "sliding_window": 4096,
        "sliding_window_pattern": 6, "tie_word_embeddings": True,
    },
    "gemma": {"tie_word_embeddings": True},
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True, "sliding_window_pattern": 4},
    "llama4_text": {"attention_chunk_size": 8192, "tie_word_embeddings": False},
    "mistral": {"num_key_value_heads": 8},
    "qwen3_next": {"full_attention_interval": 4},
    "qwen3_5_text": {"full_attention_interval": 4},
    "qwen3_5_moe_text": {"full_attention_interval": 4},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reader:
    """Values of the language model's part, with the defaults of its type."""

    whole: Config
    text: Config
    type: str
    name: str

    @classmethod
    def of(cls, whole: Config, name: str) -> Reader:
        text = whole.get("text_config") or whole.get("llm_config") or whole
        kind = str(text.get("model_type") or whole.get("model_type") or "")
        return cls(whole, {**_DEFAULTS.get(kind, {}), **text}, kind, name)

    def get(self, *names: str) -> Any:
        for name in names:
            value = self.text.get(name)
            if value is not None:
                return value
        return None

    def number(self, *names: str) -> int:
        value = self.get(*names)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"The config of {self.name} has no usable {names[0]}.")
        return value

    def number_or(self, default: int, *names: str) -> int:
        value = self.get(*names)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


def context_window(text: Config) -> int:
    """Tokens vLLM allows when nothing is asked for: yarn stretches the original window."""
    names = ("max_position_embeddings", "seq_length", "n_positions", "model_max_length")
    window = next((text[name] for name in names if isinstance(text.get(name), int)), 2048)
    scaling = text.get("rope_scaling") or {}
    if isinstance(scaling, Mapping) and "yarn" in (scaling.get("rope_type"), scaling.get("type")):
        original = scaling.get("original_max_position_embeddings") or window
        return int(original * float(scaling.get("factor") or 1))
    return int(window)


def quantization_of(config: Config, text: Config) -> str | None:
    """The name the planner has for the published weights' quantization."""
    found = config.get("quantization_config") or text.get("quantization_config")
    found = found or config.get("compression_config")
    if not isinstance(found, Mapping):
        return None
    method = str(found.get("quant_method") or "").casefold()
    if "compressed" in method or "quark" in method:
        return _of_groups(found)
    bits = found.get("bits") or found.get("w_bit")
    if method in ("gptq", "gptq_marlin", "awq", "auto-round") and bits == 8:
        return "int8"
    if "modelopt" in method or not method:
        algorithm = str(found.get("quant_algo") or "").casefold()
        return "nvfp4" if "fp4" in algorithm else "fp8" if "fp8" in algorithm else None
    known = {"auto-round": "gptq", "gptq_marlin": "gptq", "fbgemm_fp8": "fp8"}
    known |= {"bitsandbytes": "awq" if found.get("load_in_4bit") else "int8"}
    return known.get(method, method) or None


def _of_groups(found: Mapping[str, Any]) -> str | None:
    for group in (found.get("config_groups") or {}).values():
        weights = group.get("weights") or {}
        bits, kind = weights.get("num_bits"), weights.get("type")
        if bits == 8:
            return "fp8" if kind == "float" else "int8"
        if bits == 4:
            return "nvfp4" if kind == "float" else "gptq"
    return None


def kv_cache_dtype(config: Config) -> str:
    """Some checkpoints bring scales for an fp8 cache, which vLLM then uses by itself."""
    found = config.get("quantization_config") or {}
    algorithm = str(found.get("kv_cache_quant_algo") or "").casefold()
    scheme = found.get("kv_cache_scheme") or {}
    quantized = isinstance(scheme, Mapping) and scheme.get("num_bits") == 8
    return "fp8" if quantized or algorithm == "fp8" else "auto"


def weight_block(config: Config) -> int:
    """Numbers that share a scale in fp8 weights, 0 where rows or all share one."""
    block = (config.get("quantization_config") or {}).get("weight_block_size")
    return int(block[0]) if isinstance(block, list) and block else 0

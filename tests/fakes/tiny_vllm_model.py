"""A tiny chat model with random weights as vLLM reads it: a folder in Hugging Face's layout.

Written by hand, so that our own environment needs neither torch nor transformers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.fakes.tiny_gguf import THINKING_TEMPLATE, byte_tokens

TRAINED_WINDOW = 4096
_WIDTH, _HEADS, _KV_HEADS, _HEAD_SIZE, _FEED_FORWARD = 128, 4, 2, 32, 256
_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_MERGED = "th"
_VOCABULARY = 320  # rounded up, as models round it


def write_tiny_vllm_model(folder: Path, *, layers: int = 2) -> Path:
    """A token is a byte, or "th": counts of Russian text are twice its letters. It says letters
    only, so it ends when it is told to."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*byte_tokens(), _MERGED, *_SPECIAL]
    _write_json(folder / "config.json", _config(tokens, layers))
    _write_json(folder / "generation_config.json", {"eos_token_id": tokens.index("<|im_end|>")})
    _write_json(folder / "tokenizer.json", _tokenizer(tokens))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())
    (folder / "chat_template.jinja").write_text(THINKING_TEMPLATE, encoding="utf-8")
    _write_safetensors(folder / "model.safetensors", _weights(layers))
    return folder


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _config(tokens: list[str], layers: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": _VOCABULARY,
        "hidden_size": _WIDTH,
        "intermediate_size": _FEED_FORWARD,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _HEAD_SIZE,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": TRAINED_WINDOW,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": tokens.index("<|im_end|>"),
        "pad_token_id": tokens.index("<|endoftext|>"),
    }


def _tokenizer(tokens: list[str]) -> dict[str, object]:
    plain = [token for token in tokens if token not in _SPECIAL]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "added_tokens": [_special(tokens.index(token), token) for token in _SPECIAL],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"use_regex": True},
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(plain)},
            "merges": [" ".join(_MERGED)],
        },
    }


def _special(number: int, token: str) -> dict[str, object]:
    switches = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, "special": True, **switches}


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": TRAINED_WINDOW,
        "clean_up_tokenization_spaces": False,
    }


def _weights(layers: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int, scale: float = 0.05) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale).astype("<f4")

    ones = np.ones(_WIDTH, "<f4")
    says = matrix(_VOCABULARY, _WIDTH)
    letters = [byte_tokens().index(chr(letter)) for letter in range(ord("a"), ord("z") + 1)]
    says[[token for token in range(_VOCABULARY) if token not in letters]] = 0.0
    weights = {
        "model.embed_tokens.weight": matrix(_VOCABULARY, _WIDTH, scale=1.0),
        "model.norm.weight": ones,
        "lm_head.weight": says,
    }
    queries, keys = _HEADS * _HEAD_SIZE, _KV_HEADS * _HEAD_SIZE
    shapes = {
        "self_attn.q_proj": (queries, _WIDTH),
        "self_attn.k_proj": (keys, _WIDTH),
        "self_attn.v_proj": (keys, _WIDTH),
        "self_attn.o_proj": (_WIDTH, queries),
        "mlp.gate_proj": (_FEED_FORWARD, _WIDTH),
        "mlp.up_proj": (_FEED_FORWARD, _WIDTH),
        "mlp.down_proj": (_WIDTH, _FEED_FORWARD),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        weights[f"{prefix}.input_layernorm.weight"] = ones
        weights[f"{prefix}.post_attention_layernorm.weight"] = ones
        weights |= {f"{prefix}.{part}.weight": matrix(*shape) for part, shape in shapes.items()}
    return weights


def _write_safetensors(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Format: eight bytes of header length, the header as JSON, the tensors one after another."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in weights.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(tensor.tobytes() for tensor in weights.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)

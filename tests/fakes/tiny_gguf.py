"""A tiny chat model with random weights: a real llama.cpp serves it within milliseconds.

Its words mean nothing, but tokenizer, chat template, window and cache are real, and a grammar
makes it say exactly what a test wants.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

TRAINED_WINDOW = 4096
_WIDTH, _HEADS, _FEED_FORWARD = 64, 4, 128
_MERGED = "th"
_CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
TEMPLATE = _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
# As Qwen3 does it: told not to think, it finds its thinking already done.
THINKING_TEMPLATE = (
    _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def write_tiny_gguf(
    path: Path,
    *,
    with_bos: bool = False,
    layers: int = 2,
    never_ends: bool = False,
    thinks: bool = False,
) -> Path:
    """``with_bos``: both the tokenizer and the template put a first token before the prompt,
    as Llama models do; only one of them may count. More ``layers`` make it slower.
    ``never_ends``: it says letters, one token each, until it is stopped. ``thinks``: its template
    asks for reasoning unless told not to."""
    tokens = [*byte_tokens(), _MERGED, *_CONTROL]
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, len(tokens), layers)
    _add_tokenizer(writer, tokens, with_bos=with_bos)
    template = THINKING_TEMPLATE if thinks else TEMPLATE
    writer.add_chat_template(("{{ bos_token }}" if with_bos else "") + template)
    says = range(ord("a"), ord("z") + 1) if never_ends else range(len(tokens))
    _add_weights(writer, len(tokens), layers, says)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_tokens() -> list[str]:
    """One token per byte, spelled as GPT-2 spells bytes: printable ones as themselves, the
    others as characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def _describe(writer: gguf.GGUFWriter, vocabulary: int, layers: int) -> None:
    writer.add_name("tiny-random")
    writer.add_context_length(TRAINED_WINDOW)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], *, with_bos: bool) -> None:
    plain = len(tokens) - len(_CONTROL)
    kinds = [gguf.TokenType.NORMAL] * plain + [gguf.TokenType.CONTROL] * len(_CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(_MERGED)])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(with_bos)


def _add_weights(writer: gguf.GGUFWriter, vocabulary: int, layers: int, says: range) -> None:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int, scale: float = 0.05) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    ones = np.ones(_WIDTH, np.float32)
    writer.add_tensor("token_embd.weight", matrix(vocabulary, _WIDTH, scale=1.0))
    writer.add_tensor("output_norm.weight", ones)
    output = matrix(vocabulary, _WIDTH)
    output[[token for token in range(vocabulary) if token not in says]] = 0.0
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", ones)
        writer.add_tensor(f"{block}.ffn_norm.weight", ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{part}.weight", matrix(_WIDTH, _WIDTH))
        for part in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"{block}.{part}.weight", matrix(_FEED_FORWARD, _WIDTH))
        writer.add_tensor(f"{block}.ffn_down.weight", matrix(_WIDTH, _FEED_FORWARD))

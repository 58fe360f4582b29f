"""A tiny BERT with random weights: a real llama.cpp serves it as embedding or reranking model.

Its numbers mean nothing, but tokenizer, window and wire protocol are real.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

TRAINED_WINDOW = 512
WIDTH = 32
_HEADS, _FEED_FORWARD = 4, 64
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщъыьэюя0123456789"
_MARKS = "?.,!:"


def write_tiny_bert(path: Path, *, reranks: bool, seed: int = 0, width: int = WIDTH) -> Path:
    """One token per letter. ``reranks``: one score for a query and a text, else one vector of
    ``width`` for a text."""
    tokens = _vocabulary()
    writer = gguf.GGUFWriter(str(path), "bert")
    _describe(writer, len(tokens), width, reranks=reranks)
    _add_tokenizer(writer, tokens)
    _add_weights(writer, len(tokens), width, seed, reranks=reranks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> list[str]:
    """As llama.cpp wants WordPiece: the pieces that begin a word are marked."""
    return [*_SPECIAL, *("▁" + letter for letter in _LETTERS + _MARKS), *_LETTERS]


def _describe(writer: gguf.GGUFWriter, vocabulary: int, width: int, *, reranks: bool) -> None:
    writer.add_name("tiny-bert")
    writer.add_context_length(TRAINED_WINDOW)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if reranks else gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    control = gguf.TokenType.CONTROL
    kinds = [control, gguf.TokenType.NORMAL, *[control] * 3]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds)))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(tokens.index("[PAD]"))
    writer.add_unk_token_id(tokens.index("[UNK]"))
    writer.add_bos_token_id(tokens.index("[CLS]"))
    writer.add_sep_token_id(tokens.index("[SEP]"))
    writer.add_eos_token_id(tokens.index("[SEP]"))
    writer.add_mask_token_id(tokens.index("[MASK]"))


def _add_weights(
    writer: gguf.GGUFWriter, vocabulary: int, width: int, seed: int, *, reranks: bool
) -> None:
    random = np.random.default_rng(seed)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = (random.standard_normal((rows, columns)) * 0.3).astype(np.float32)
        writer.add_tensor(f"{name}.weight", values)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        bias(name, width)

    def bias(name: str, size: int) -> None:
        writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))

    matrix("token_embd", vocabulary, width)
    matrix("position_embd", TRAINED_WINDOW, width)
    matrix("token_types", 2, width)
    norm("token_embd_norm")
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        matrix(f"blk.0.{part}", width, width)
        bias(f"blk.0.{part}", width)
    matrix("blk.0.ffn_up", _FEED_FORWARD, width)
    bias("blk.0.ffn_up", _FEED_FORWARD)
    matrix("blk.0.ffn_down", width, _FEED_FORWARD)
    bias("blk.0.ffn_down", width)
    norm("blk.0.attn_output_norm")
    norm("blk.0.layer_output_norm")
    if reranks:
        matrix("cls", width, width)
        bias("cls", width)
        matrix("cls.output", 1, width)
        bias("cls.output", 1)

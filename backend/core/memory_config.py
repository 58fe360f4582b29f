"""An architecture from a model's ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from backend.core.memory_config_fields import (
    Config,
    Reader,
    context_window,
    kv_cache_dtype,
    quantization_of,
    weight_block,
)
from backend.core.memory_model import Architecture, Attention, Experts, LinearAttention
from backend.core.memory_parameters import Sizes, count

_ENCODERS = {"bert", "roberta", "xlm-roberta", "new", "modernbert", "nomic_bert", "mpnet"}

# Positions of these encoders start behind the padding's.
_RESERVED_POSITIONS = {"roberta": 2, "xlm-roberta": 2}

_TIED_BY_DEFAULT = ("gemma", "cohere")


def architecture(config: Config, name: str, weight_bytes: int | None = None) -> Architecture:
    """``weight_bytes``: on disk, where the weights lie beside the configuration.

    Raises:
        ConfigurationError: what is needed is not in it; the message names the field.
    """
    read = Reader.of(config, name)
    sizes = _sizes(read)
    parameters, kept = count(sizes)
    quantization = quantization_of(config, read.text)
    if quantization == "mxfp4" and sizes.experts:
        kept = parameters - sizes.experts.count * sizes.expert_parameters * sizes.expert_layers
    encoder = read.type in _ENCODERS
    return Architecture(
        name=name,
        attention=() if encoder else _without_shared(read, _attention(read)),
        parameters=parameters,
        kept_parameters=kept,
        context_window=context_window(read.text) - _RESERVED_POSITIONS.get(read.type, 0),
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        vocabulary=sizes.vocabulary,
        quantization=quantization,
        weight_bytes=weight_bytes,
        linear=_linear(read),
        experts=sizes.experts,
        multimodal="vision_config" in config or "audio_config" in config,
        kv_cache_dtype=kv_cache_dtype(config),
        query_heads=sizes.heads,
        weight_block=weight_block(config),
    )


def _attention(read: Reader) -> tuple[Attention, ...]:
    layers = read.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    latent = read.get("kv_lora_rank")
    if latent:
        width = latent + read.number("qk_rope_head_dim")
        return (Attention(layers, 1, width, latent=True),)
    heads, size = kv_heads(read), head_size(read)
    sliding = _sliding_layers(read, layers)
    window = read.get("sliding_window", "attention_chunk_size")
    chunked = read.type.startswith("llama4")
    full = layers - sliding - (_linear_layers(read, layers))
    wide = Attention(
        full,
        read.number_or(heads, "num_global_key_value_heads"),
        read.number_or(size, "global_head_dim"),
    )
    kinds = (Attention(sliding, heads, size, window=window, chunked=chunked), wide)
    return tuple(kind for kind in kinds if kind.layers > 0)


def kv_heads(read: Reader) -> int:
    if read.get("multi_query") and read.get("num_kv_heads", "num_key_value_heads") is None:
        return 1
    found = read.get("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "n_head_kv")
    if isinstance(found, int):
        return found
    return read.number("num_attention_heads", "n_head", "n_heads")


def head_size(read: Reader) -> int:
    found = read.get("head_dim", "kv_channels", "attention_head_dim")
    if isinstance(found, int):
        return found
    hidden = read.number("hidden_size", "n_embd", "d_model")
    return hidden // read.number("num_attention_heads", "n_head", "n_heads")


def _sliding_layers(read: Reader, layers: int) -> int:
    window = read.get("sliding_window", "attention_chunk_size")
    if not window or read.get("use_sliding_window") is False:
        return 0
    types = read.get("layer_types")
    if types:
        return sum("sliding" in one or "chunked" in one for one in types[:layers])
    if read.type.startswith("llama4"):
        return layers - layers // 4
    pattern = read.get("sliding_window_pattern", "_sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 1:
        return layers - layers // pattern
    trained = context_window(read.text)
    return layers if window < trained else 0


def _linear_layers(read: Reader, layers: int) -> int:
    if not read.get("linear_num_value_heads"):
        return 0
    types = read.get("layer_types")
    if types:
        return sum("linear" in one for one in types[:layers])
    return layers - layers // read.number("full_attention_interval")


def _linear(read: Reader) -> LinearAttention | None:
    if not read.get("linear_num_value_heads"):
        return None
    return LinearAttention(
        layers=_linear_layers(read, read.number("num_hidden_layers")),
        key_heads=read.number("linear_num_key_heads"),
        value_heads=read.number("linear_num_value_heads"),
        key_size=read.number("linear_key_head_dim"),
        value_size=read.number("linear_value_head_dim"),
        kernel=read.number_or(4, "linear_conv_kernel_dim"),
        # Qwen3-Next keeps its state in the model's type, its successors say 32 bits.
        state_element_bytes=4 if read.get("mamba_ssm_dtype") == "float32" else 2,
    )


def _without_shared(read: Reader, kinds: tuple[Attention, ...]) -> tuple[Attention, ...]:
    """The last layers of some small models read the cache of earlier ones."""
    shared = read.number_or(0, "num_kv_shared_layers")
    if not shared:
        return kinds
    types = list(read.get("layer_types") or ())[: sum(kind.layers for kind in kinds)]
    own = types[: len(types) - shared]
    left = (sum("sliding" in one for one in own), sum("full" in one for one in own))
    return tuple(
        Attention(count, kind.kv_heads, kind.head_size, kind.window)
        for kind, count in zip(kinds, left, strict=True)
        if count
    )


def _experts(read: Reader) -> Experts | None:
    number = read.get("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    if not number or read.get("enable_moe_block") is False:
        return None
    active = read.number_or(1, "num_experts_per_tok", "top_k_experts", "moe_top_k")
    width = read.get("moe_intermediate_size", "expert_intermediate_size")
    return Experts(number, active, width or read.number("intermediate_size"))


def _sizes(read: Reader) -> Sizes:
    hidden = read.number("hidden_size", "n_embd", "d_model")
    layers = read.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    tied = read.whole.get("tie_word_embeddings", read.get("tie_word_embeddings"))
    if tied is None:
        tied = read.type.startswith(_TIED_BY_DEFAULT) or read.type in _ENCODERS
    experts = _experts(read)
    dense = read.get("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner")
    return Sizes(
        vocabulary=read.number("vocab_size", "padded_vocab_size"),
        hidden=hidden,
        intermediate=dense or 4 * hidden,
        layers=layers,
        heads=read.number("num_attention_heads", "n_head", "n_heads"),
        kv_heads=kv_heads(read),
        head_size=0 if read.get("kv_lora_rank") else head_size(read),
        tied=bool(tied) or read.type in _ENCODERS,
        gated=read.type not in _ENCODERS and not read.type.startswith(("gpt2", "falcon", "phi-")),
        experts=experts,
        expert_layers=_expert_layers(read, layers) if experts else 0,
        shared_expert_width=_shared_width(read, experts),
        attention_parameters=_special_attention(read, hidden, layers),
        other_parameters=_vision(read.whole) + _per_layer_embeddings(read, layers),
        dense_beside_experts=read.type.startswith("gemma4"),
    )


def _expert_layers(read: Reader, layers: int) -> int:
    dense = read.number_or(0, "first_k_dense_replace")
    step = read.number_or(1, "interleave_moe_layer_step", "decoder_sparse_step")
    return ceil((layers - dense) / max(1, step)) if step > 1 else layers - dense


def _shared_width(read: Reader, experts: Experts | None) -> int:
    if experts is None:
        return 0
    if read.type.startswith("llama4"):
        return experts.width
    if read.get("shared_expert_intermediate_size"):
        return read.number("shared_expert_intermediate_size")
    return read.number_or(0, "n_shared_experts", "num_shared_experts") * experts.width


def _special_attention(read: Reader, hidden: int, layers: int) -> int | None:
    """Of all layers, where they are not the usual four matrices."""
    if read.get("kv_lora_rank"):
        return layers * _latent_attention(read, hidden)
    linear = _linear(read)
    if linear is not None:
        keys, values = linear.key_heads * linear.key_size, linear.value_heads * linear.value_size
        each = hidden * (2 * keys + 3 * values + 2 * linear.value_heads)
        size, heads = head_size(read), read.number("num_attention_heads")
        full = hidden * size * (3 * heads + 2 * kv_heads(read))
        return linear.layers * each + (layers - linear.layers) * full
    if read.get("global_head_dim"):
        return sum(_of_kind(read, hidden, kind) for kind in _attention(read))
    return None


def _of_kind(read: Reader, hidden: int, kind: Attention) -> int:
    same = kind.window is None and bool(read.get("attention_k_eq_v"))
    heads = 2 * read.number("num_attention_heads") + (1 if same else 2) * kind.kv_heads
    return kind.layers * hidden * kind.head_size * heads


def _latent_attention(read: Reader, hidden: int) -> int:
    heads, rank = read.number("num_attention_heads"), read.number("kv_lora_rank")
    rope = read.number("qk_rope_head_dim")
    plain, value = read.number("qk_nope_head_dim"), read.number("v_head_dim")
    query_rank = read.get("q_lora_rank")
    width = heads * (plain + rope)
    query = query_rank * (hidden + width) if query_rank else hidden * width
    keys = hidden * (rank + rope) + rank * heads * (plain + value)
    return int(query + keys + heads * value * hidden)


def _vision(config: Config) -> int:
    """Numbers of an image encoder, by its layers; the projection to the text is left out."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return 0
    width = vision.get("hidden_size") or vision.get("embed_dim") or 0
    depth = vision.get("num_hidden_layers") or vision.get("depth") or 0
    middle = vision.get("intermediate_size") or 4 * width
    return int(depth * (4 * width * width + 2 * width * middle))


def _per_layer_embeddings(read: Reader, layers: int) -> int:
    width = read.number_or(0, "hidden_size_per_layer_input")
    vocabulary = read.number_or(0, "vocab_size_per_layer_input")
    return width * vocabulary * layers

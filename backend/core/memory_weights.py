"""How much the weights take on each GPU, by quantization or by their size on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

from backend.core.errors import ConfigurationError
from backend.core.memory_kv import Parallel
from backend.core.memory_model import GIB, Architecture, Range

# Bits of a quantized number with its share of scales and zero points: groups of 128 with a
# 16-bit scale (and a 4-bit zero), mxfp4 blocks of 32 and nvfp4 blocks of 16 with an 8-bit scale.
BITS = {
    "awq": 4 + 20 / 128,
    "gptq": 4 + 20 / 128,
    "int8": 8 + 16 / 128,
    "fp8": 8.03,
    "mxfp4": 4.25,
    "nvfp4": 4.5,
}
QUANTIZATIONS = tuple(BITS)

# Kernels pad and repack: GiB on the GPU for each GiB of numbers. gpt-oss-120b: 60.8 GiB on disk
# are 64.4 (Triton) or 66.0 (Marlin).
_REPACKED = {"mxfp4": (1.0, 1.06, 1.09)}
_AS_IT_IS = (0.995, 1.0, 1.02)


def weights(model: Architecture, quantization: str | None, parallel: Parallel) -> Range:
    """GiB on the fullest GPU. ``quantization`` None keeps the model's own.

    Raises:
        ConfigurationError: an unknown quantization, or weights that have another one.
    """
    total = _total_bytes(model, quantization)
    stage = _stage_bytes(model, total, parallel.pipeline)
    # Norms, routers and key-value heads that cannot be divided are on every GPU.
    gib = stage / parallel.tensor / GIB
    copied = 1 + 0.004 * (parallel.tensor - 1)
    low, likely, high = _REPACKED.get(quantization or model.quantization or "", _AS_IT_IS)
    return Range(gib * low, gib * likely * copied**0.5, gib * high * copied)


def weight_bytes(parameters: int, kept: int, quantization: str | None) -> int:
    """``kept`` of the parameters stay at 16 bits."""
    if quantization is None:
        return 2 * parameters
    return round(2 * kept + (parameters - kept) * BITS[quantization] / 8)


def _total_bytes(model: Architecture, quantization: str | None) -> int:
    if quantization in (None, model.quantization):
        if model.weight_bytes:
            return model.weight_bytes
        return weight_bytes(model.parameters, model.kept_parameters, model.quantization)
    if quantization == "none":
        return 2 * model.parameters
    if quantization not in BITS:
        raise ConfigurationError(
            f"Quantization {quantization!r} is not known; there are {', '.join(BITS)} and none."
        )
    if model.quantization:
        raise ConfigurationError(
            f"{model.name} is quantized as {model.quantization}; "
            f"--quantization {quantization} does not go with these weights."
        )
    return weight_bytes(model.parameters, model.kept_parameters, quantization)


def _stage_bytes(model: Architecture, total: int, stages: int) -> float:
    """Of the fullest of ``stages``: the first has the embeddings, the last the output head."""
    if stages == 1:
        return total
    layers = max(1, model.layers)
    table = min(2 * model.vocabulary * model.hidden_size, total // 2)
    return (total - table) * (-(-layers // stages)) / layers + table


# Bytes of one number in a safetensors header.
_ELEMENT_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
    "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
    "F4": 0.5,
}  # fmt: skip


def header_bytes(header: bytes, file: str) -> int:
    """Bytes of the tensors that the JSON header of a safetensors file lists.

    Raises:
        ConfigurationError: the header is not one.
    """
    try:
        tensors: Mapping[str, Any] = json.loads(header)
        return round(
            sum(
                float(prod(tensor["shape"])) * _ELEMENT_BYTES[tensor["dtype"]]
                for name, tensor in tensors.items()
                if name != "__metadata__"
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{file} has no safetensors header: {error!r}.") from error

"""What the variables of the containers may hold, and how a wrong value is put right."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from backend.core.deployment import SERVICES
from backend.settings import Settings
from cli.doctor.servers import human_int, share, whole

# vLLM 0.32, config/cache.py and model_executor/layers/quantization; bitsandbytes and gguf are of
# older images.
QUANTIZATIONS = frozenset(
    """
    awq auto_awq fp8 fbgemm_fp8 fp_quant modelopt modelopt_fp4 modelopt_mxfp8 modelopt_mixed gguf
    auto_gptq gptq gptq_marlin awq_marlin humming compressed-tensors bitsandbytes experts_int8 quark
    moe_wna16 torchao inc mxfp4 gpt_oss_mxfp4 deepseek_v4_fp8 online fp8_per_tensor fp8_per_block
    fp8_per_channel int8_per_channel_weight_only nvfp4_per_token mxfp8
    """.split()
)
_KV_CACHE_TYPES = frozenset(
    """
    auto float16 bfloat16 fp8 fp8_e4m3 fp8_e5m2 fp8_inc fp8_ds_mla nvfp4_ds_mla turboquant_k8v4
    turboquant_4bit_nc turboquant_k3v4_nc turboquant_3bit_nc ultraquant_4bit int4_per_token_head
    int8_per_token_head fp8_per_token_head nvfp4 nvfp4_4over6
    """.split()
)
_DTYPES = frozenset({"auto", "half", "float16", "bfloat16", "float", "float32"})
_SHORT_NAMES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "e5m2": "fp8_e5m2"}
_BOOLEANS = frozenset({"0", "1", "true", "false", "yes", "no", "on", "off"})
_SIZE = re.compile(r"\d+(\.\d+)?([bkmg]b?|[kmg]ib)?", re.IGNORECASE)
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_IMAGE = re.compile(r"[a-z0-9][\w.\-/:]*(@sha256:[0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """``expects`` completes "NAME must be …"; ``mend`` makes a right value of a wrong one."""

    expects: str
    accepts: Callable[[str], bool]
    mend: Callable[[str], str]


def _one_of(allowed: frozenset[str], default: str) -> Kind:
    def mend(value: str) -> str:
        plain = value.strip().lower().replace(" ", "_")
        plain = _SHORT_NAMES.get(plain, plain)
        near = difflib.get_close_matches(plain, sorted(allowed), n=1, cutoff=0.75)
        return near[0] if near else default

    return Kind("one of " + ", ".join(sorted(allowed)[:12]), allowed.__contains__, mend)


def _mended_share(value: str) -> str:
    text = value.strip().rstrip("%").replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return "0.90"
    return f"{number / 100 if 10 <= number <= 100 else 0.9 if not 0 < number <= 1 else number:.2f}"


def _digits(value: str) -> str:
    found = re.search(r"\d+", re.sub(r"(?<=\d)[ _,.](?=\d{3}\b)", "", value))
    return found[0] if found else ""


def _least(minimum: int) -> Kind:
    return Kind(
        f"a whole number of at least {minimum}",
        lambda value: (whole(value) or 0) >= minimum and whole(value) is not None,
        lambda value: str(max(int(_digits(value) or 0), minimum)),
    )


def _mended_length(value: str) -> str:
    unit = re.search(r"(\d+)\s*([kK])", value)
    return f"{int(unit[1]) * 1024}" if unit else _digits(value) or "8192"


def _is_boolean(value: str) -> bool:
    return value.strip().lower() in _BOOLEANS


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


def _mended_json(value: str) -> str:
    plain = value.replace("'", '"').replace("True", "true").replace("False", "false")
    if _is_object(plain):
        return f"'{plain}'"
    return '\'{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}\''


def _is_lora(value: str) -> bool:
    return all(re.fullmatch(r"[^=\s]+=\S+", part) for part in re.split(r"[\s,]+", value.strip()))


_SHARE = Kind(
    "a share from 0 to 1, with a point", lambda value: share(value) is not None, _mended_share
)
_LENGTH = Kind(
    "a number of tokens (8192, or 8K for 8192, 8k for 8000)",
    lambda value: (human_int(value) or 0) > 0 or value in {"auto", "-1"},
    _mended_length,
)
_COUNT = _least(1)
_TOKENS = Kind("a number of tokens", lambda value: (human_int(value) or 0) > 0, _mended_length)
_GPUS = Kind(
    "a number of GPUs, or all",
    lambda value: value == "all" or (whole(value) or 0) >= 1,
    # A list of them was meant: 0,1 are two.
    lambda value: str(len(value.split(",")) if "," in value else max(1, int(_digits(value) or 1))),
)
_LAYERS = Kind(
    "a number of layers (99 for all, 0 for none)",
    lambda value: whole(value) is not None or value in {"-1", "all", "auto"},
    lambda value: _digits(value) or "99",
)
_BOOLEAN = Kind(
    "true or false", _is_boolean, lambda value: "true" if value[:1] in "yYjJдД+tTeE" else "false"
)
_DEVICE = Kind(
    "the index of a GPU, or the UUID of a GPU or a slice",
    lambda value: (
        re.fullmatch(r"\d+|(GPU|MIG)-[0-9A-Fa-f-]{36}(/\d+/\d+)?|MIG-GPU-\S+", value) is not None
    ),
    lambda value: _digits(value) if value.isdigit() else "0",
)
_PORT = Kind(
    "a port from 1 to 65535",
    lambda value: 1 <= (whole(value) or 0) <= 65535,
    lambda value: "",
)
_JSON = Kind(
    "a JSON object",
    _is_object,
    _mended_json,
)
_LORA = Kind("name=path, several with a comma between", _is_lora, lambda value: "name=/models/lora")
_ADDRESS = Kind("an IP address (127.0.0.1, or 0.0.0.0 for all)", _is_ip, lambda value: "127.0.0.1")
_IMAGES = Kind(
    "the name of an image with its version",
    lambda value: _IMAGE.fullmatch(value) is not None,
    lambda value: re.sub(r"^https?://|\s", "", value).lower(),
)
_MEMORY = Kind(
    "a size such as 8g", lambda value: _SIZE.fullmatch(value) is not None, lambda value: "8g"
)
_NAME = Kind(
    "small letters, digits, - and _, starting with a letter or digit",
    lambda value: _PROJECT.fullmatch(value) is not None,
    lambda value: re.sub(r"[^a-z0-9_-]+", "-", value.lower()).strip("-_") or "quadrate-rag",
)

_BY_NAME = {
    "VLLM_GPU_COUNT": _GPUS,
    "OLLAMA_GPU_COUNT": Kind(
        "a number of GPUs, or all",
        lambda value: value == "all" or whole(value) is not None,
        _digits,
    ),
    "OLLAMA_CONTEXT_LENGTH": _COUNT,
    "OLLAMA_MAX_QUEUE": _COUNT,
    "EMBEDDING_GPU": _DEVICE,
    "RERANKER_GPU": _DEVICE,
    "OLLAMA_KV_CACHE_TYPE": _one_of(frozenset({"f16", "q8_0", "q4_0"}), "f16"),
    "LLAMACPP_GPU_LAYERS": _LAYERS,
    "LLAMACPP_PARALLEL": _COUNT,
    "LLAMACPP_THREADS": _COUNT,
    "COMPOSE_PROJECT_NAME": _NAME,
    "BIND_ADDRESS": _ADDRESS,
    "HF_HUB_OFFLINE": _BOOLEAN,
    "OLLAMA_FLASH_ATTENTION": _BOOLEAN,
}
_BY_ENDING = (
    (("GPU_MEMORY_UTILIZATION", "VLLM_GPU_MEM_UTIL"), _SHARE),
    (("MAX_MODEL_LEN",), _LENGTH),
    (("MAX_NUM_BATCHED_TOKENS",), _TOKENS),
    (("MAX_NUM_SEQS", "PARALLEL_SIZE", "NUM_SPECULATIVE_TOKENS"), _COUNT),
    (("_QUANTIZATION",), _one_of(QUANTIZATIONS, "")),
    (("KV_CACHE_DTYPE",), _one_of(_KV_CACHE_TYPES, "auto")),
    (("VLLM_DTYPE",), _one_of(_DTYPES, "auto")),
    (("ENABLE_FP8", "PREFIX_CACHING", "CHUNKED_PREFILL", "ENFORCE_EAGER"), _BOOLEAN),
    (("SPECULATIVE_CONFIG",), _JSON),
    (("LORA_MODULES",), _LORA),
    (("_IMAGE",), _IMAGES),
    (("_MEMORY_LIMIT", "_SHM_SIZE"), _MEMORY),
)
PORTS = {service.port_variable: service for service in SERVICES if service.port_variable}


def kind_of(name: str) -> Kind | None:
    """None for what the backend reads: its settings say themselves what they take."""
    if name in Settings.model_fields or name.lower() in Settings.model_fields:
        return None
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in PORTS:
        return _PORT
    for endings, kind in _BY_ENDING:
        if name.endswith(endings):
            return kind
    return None

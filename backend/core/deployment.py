"""What the compose files publish and read: one table for the files, ``cli.doctor`` and their tests.

The compose files say the same in YAML; ``tests/deploy`` renders them and compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Provider = Literal["ollama", "vllm", "llamacpp"]

BASE_FILE = "docker-compose.yml"
VLLM_FILE = "docker-compose.vllm.yml"
MIG_FILE = "docker-compose.vllm-mig.yml"

# Compose starts a service of the profile "" when no profile is chosen.
NO_PROFILE_CHOSEN = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of one compose file.

    ``profiles`` empty: always started. ``port_variable`` names the host's port, ``default_port`` is
    what it is unset; None where nothing is published. ``provider``: it is that chat model server.
    """

    name: str
    files: tuple[str, ...]
    profiles: tuple[str, ...] = ()
    port_variable: str | None = None
    default_port: int | None = None
    inner_port: int | None = None
    image_variable: str | None = None
    provider: Provider | None = None
    on_gpu: bool = False


_ALL = (BASE_FILE, VLLM_FILE, MIG_FILE)

SERVICES = (
    Service("qdrant", _ALL, (), "QDRANT_PORT", 6333, 6333, "QDRANT_IMAGE"),
    Service("backend", _ALL, (), "BACKEND_PORT", 8000, 8000, "BACKEND_IMAGE"),
    Service("api", _ALL, ("api",), "API_PORT", 8080, 8080, "BACKEND_IMAGE"),
    Service(
        "llm-ollama",
        (BASE_FILE,),
        ("ollama", NO_PROFILE_CHOSEN),
        "OLLAMA_PORT",
        11434,
        11434,
        "OLLAMA_IMAGE",
        "ollama",
    ),
    Service(
        "llm-vllm", (BASE_FILE,), ("vllm",), "VLLM_PORT", 8001, 8001, "VLLM_IMAGE", "vllm", True
    ),
    Service(
        "llm-llamacpp",
        (BASE_FILE,),
        ("llamacpp",),
        "LLAMACPP_PORT",
        8003,
        8080,
        "LLAMACPP_IMAGE",
        "llamacpp",
    ),
    Service("vllm", (VLLM_FILE,), (), "VLLM_PORT", 8001, 8001, "VLLM_IMAGE", "vllm", True),
    Service(
        "vllm-medium",
        (MIG_FILE,),
        (),
        "VLLM_MEDIUM_PORT",
        8001,
        8001,
        "VLLM_IMAGE",
        "vllm",
        True,
    ),
    Service(
        "vllm-small",
        (MIG_FILE,),
        (),
        "VLLM_SMALL_PORT",
        8002,
        8002,
        "VLLM_IMAGE",
        "vllm",
        True,
    ),
    Service(
        "embedding",
        _ALL,
        ("embedding",),
        "EMBEDDING_PORT",
        8001,
        8001,
        "VLLM_IMAGE",
        on_gpu=True,
    ),
    Service(
        "reranker",
        _ALL,
        ("reranker",),
        "RERANKER_PORT",
        8002,
        8002,
        "VLLM_IMAGE",
        on_gpu=True,
    ),
    Service(
        "prometheus",
        _ALL,
        ("observability",),
        "PROMETHEUS_PORT",
        9090,
        9090,
        "PROMETHEUS_IMAGE",
    ),
    Service(
        "grafana",
        _ALL,
        ("observability",),
        "GRAFANA_PORT",
        3000,
        3000,
        "GRAFANA_IMAGE",
    ),
)


def started(file: str, profiles: Iterable[str]) -> tuple[Service, ...]:
    """What ``docker compose -f file up`` starts. No profiles: those of nothing chosen."""
    active = {profile for profile in profiles if profile} or {NO_PROFILE_CHOSEN}
    return tuple(
        service
        for service in SERVICES
        if file in service.files and (not service.profiles or active & set(service.profiles))
    )


# The options of a vLLM server, by variable: what ``deploy/vllm_launch.py`` makes a flag of.
VLLM_OPTIONS = frozenset(
    """
    VLLM_MODEL VLLM_GPU_MEMORY_UTILIZATION VLLM_GPU_MEM_UTIL VLLM_MAX_MODEL_LEN MAX_MODEL_LEN
    VLLM_MAX_NUM_SEQS VLLM_MAX_NUM_BATCHED_TOKENS VLLM_TENSOR_PARALLEL_SIZE
    VLLM_PIPELINE_PARALLEL_SIZE VLLM_QUANTIZATION VLLM_ENABLE_FP8 VLLM_KV_CACHE_DTYPE VLLM_DTYPE
    VLLM_ENABLE_PREFIX_CACHING VLLM_ENABLE_CHUNKED_PREFILL VLLM_ENFORCE_EAGER
    VLLM_SPECULATIVE_MODEL VLLM_NUM_SPECULATIVE_TOKENS VLLM_SPECULATIVE_CONFIG VLLM_LORA_MODULES
    VLLM_REASONING_PARSER VLLM_API_KEY VLLM_EXTRA_ARGS
    """.split()
)

# Of the two servers of the MIG file; each falls back to the VLLM_ variable of the same name.
_SLICE_OPTIONS = """
    MODEL SERVED_NAME MIG_UUID GPU_MEMORY_UTILIZATION MAX_MODEL_LEN MAX_NUM_SEQS
    MAX_NUM_BATCHED_TOKENS QUANTIZATION KV_CACHE_DTYPE ENFORCE_EAGER REASONING_PARSER EXTRA_ARGS
""".split()
SLICE_VARIABLES = frozenset(
    f"VLLM_{size}_{option}" for size in ("MEDIUM", "SMALL") for option in _SLICE_OPTIONS
)

# Of the embedding and the reranking server.
POOLING_VARIABLES = frozenset(
    f"{role}_{option}"
    for role in ("EMBEDDING", "RERANKER")
    for option in ("GPU_MEMORY_UTILIZATION", "MAX_MODEL_LEN", "EXTRA_ARGS")
)

# Read by compose, by its files or by the model servers' containers, and not by the backend.
CONTAINER_VARIABLES = (
    VLLM_OPTIONS
    | SLICE_VARIABLES
    | POOLING_VARIABLES
    | {service.port_variable for service in SERVICES if service.port_variable}
    | {service.image_variable for service in SERVICES if service.image_variable}
    | frozenset(
        """
        COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_FILE BIND_ADDRESS DOCS_DIR
        VLLM_GPU_COUNT VLLM_MODELS_DIR VLLM_SHM_SIZE EMBEDDING_GPU RERANKER_GPU BACKEND_EXTRAS
        BACKEND_PULL_POLICY PYTHON_IMAGE
        QDRANT_MEMORY_LIMIT BACKEND_MEMORY_LIMIT API_MEMORY_LIMIT OLLAMA_MEMORY_LIMIT
        VLLM_MEMORY_LIMIT LLAMACPP_MEMORY_LIMIT PROMETHEUS_MEMORY_LIMIT GRAFANA_MEMORY_LIMIT
        HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_FILE HF_HUB_OFFLINE HF_ENDPOINT
        OLLAMA_MODELS_DIR OLLAMA_CONTEXT_LENGTH OLLAMA_KV_CACHE_TYPE OLLAMA_FLASH_ATTENTION
        OLLAMA_MAX_QUEUE OLLAMA_HOST OLLAMA_MODELS OLLAMA_GPU_COUNT
        LLAMACPP_MODEL_FILE LLAMACPP_MODELS_DIR LLAMACPP_GPU_LAYERS LLAMACPP_CHAT_TEMPLATE
        LLAMACPP_PARALLEL LLAMACPP_THREADS LLAMACPP_GPU_COUNT
        GRAFANA_PASSWORD
        """.split()
    )
)

# What the compose files take where neither the env file nor the shell says anything and the
# backend's own default differs.
COMPOSE_DEFAULTS = {
    "LLM_MODE": "ollama",
    "OLLAMA_MODEL": "qwen3:8b",
    "LLM_LLAMACPP_URL": "http://llm-llamacpp:8080",
    "QDRANT_URL": "http://qdrant:6333",
    "LLAMACPP_MODELS_DIR": "./data/llamacpp",
    "VLLM_MODELS_DIR": "./data/vllm",
    "DOCS_DIR": "./docs/samples",
}

# Published on 127.0.0.1 whatever BIND_ADDRESS says: none of them asks everybody for a key.
ALWAYS_LOCAL = frozenset(
    """
    qdrant llm-ollama llm-vllm llm-llamacpp vllm vllm-medium vllm-small embedding reranker
    prometheus
    """.split()
)

# The backend's and the gateway's containers fix these; an env file cannot change them.
FIXED_IN_CONTAINER = frozenset({"HOST", "PORT", "DATA_DIR", "MODELS_DIR"})

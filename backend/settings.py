"""Every environment variable of the backend: name, default, unit, allowed values.

The only module that reads the environment. Messages name the variable, because that is
what the operator can change.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from dotenv import dotenv_values
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.core.errors import ConfigurationError

PREFIXES = (
    "ASK_",
    "CACHE_",
    "CHUNK_",
    "EMBED_",
    "INGEST_",
    "LLM_",
    "LLAMACPP_",
    "OLLAMA_",
    "QDRANT_",
    "RERANK_",
    "SEARCH_",
    "VLLM_",
)

# Read by the model servers' containers, not by the backend; known, so not reported.
CONTAINER_VARIABLES = frozenset(
    """
    VLLM_MODEL VLLM_GPU_MEMORY_UTILIZATION VLLM_GPU_MEM_UTIL VLLM_MAX_MODEL_LEN
    VLLM_MAX_NUM_SEQS VLLM_TENSOR_PARALLEL_SIZE VLLM_PIPELINE_PARALLEL_SIZE VLLM_QUANTIZATION
    VLLM_KV_CACHE_DTYPE VLLM_ENABLE_FP8 VLLM_SPECULATIVE_MODEL VLLM_API_KEY
    OLLAMA_MODEL OLLAMA_MODELS_DIR OLLAMA_NUM_PARALLEL OLLAMA_CONTEXT_LENGTH OLLAMA_KEEP_ALIVE
    OLLAMA_KV_CACHE_TYPE OLLAMA_FLASH_ATTENTION OLLAMA_MAX_QUEUE OLLAMA_HOST OLLAMA_MODELS
    LLAMACPP_MODEL_FILE LLAMACPP_MODELS_DIR LLAMACPP_GPU_LAYERS LLAMACPP_CHAT_TEMPLATE
    """.split()
)

LlmMode = Literal["llamacpp", "vllm", "none"]
Threads = Annotated[int, Field(ge=0, le=256)]


def _default_threads() -> int:
    """Half of the cores, at least one: the embedder and the local chat model share the machine,
    and two engines with more threads than cores between them run many times slower."""
    return max(1, (os.cpu_count() or 2) // 2)


class Settings(BaseSettings):
    """``0`` for a thread count means: chosen from the number of cores."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    # server
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path = Path("data")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["pretty", "json"] = "pretty"

    # store: embedded unless a server is named
    qdrant_url: str | None = None
    qdrant_api_key: str | None = None
    qdrant_timeout: float = Field(30.0, gt=0)  # seconds
    qdrant_collection_prefix: str = Field("quadrate", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    qdrant_hnsw_m: int = Field(16, ge=4, le=128)
    qdrant_hnsw_ef_construct: int = Field(128, ge=16, le=2048)
    qdrant_hnsw_full_scan_threshold: int = Field(10_000, ge=10)  # KB
    qdrant_indexing_threads: Threads = 1

    # ingest
    ingest_max_file_bytes: int = Field(100 * 1024 * 1024, ge=1)
    ingest_max_text_chars: int = Field(20_000_000, ge=1000)
    ingest_max_unpacked_bytes: int = Field(500 * 1024 * 1024, ge=1_000_000)
    ingest_memory_bytes: int = Field(2 * 1024**3, ge=256 * 1024**2)
    ingest_timeout: float = Field(120.0, gt=0)  # seconds of parsing, one file
    ingest_max_pages: int = Field(10_000, ge=1)
    ingest_max_cells: int = Field(5_000_000, ge=1)
    ingest_workers: int = Field(2, ge=1, le=32)  # files parsed at the same time

    # chunks, in tokens of the embedding model
    chunk_size_tokens: int = Field(256, ge=32, le=512)
    chunk_overlap_tokens: int = Field(32, ge=0)

    # embedding
    embed_provider: Literal["bundled"] = "bundled"
    embed_threads: Threads = 0

    # retrieval
    search_candidates: int = Field(50, ge=5, le=1000)
    search_max_top_k: int = Field(100, ge=1, le=1000)
    search_one_per_document: bool = False
    search_mmr_lambda: float | None = Field(None, ge=0, le=1)  # unset: no diversity step

    # generation
    llm_mode: LlmMode = "llamacpp"
    llm_model: str | None = None
    llm_vllm_url: str = "http://vllm:8001/v1"
    llm_llamacpp_url: str | None = None  # unset: the backend starts its own llama.cpp
    llm_api_key: str | None = None
    llm_timeout: float = Field(120.0, gt=0)  # seconds until the first token and between tokens
    llm_max_tokens: int = Field(512, ge=16)
    llm_temperature: float = Field(0.0, ge=0, le=2)
    llm_safety_margin: int = Field(32, ge=0)  # tokens of the window never used
    llm_threads: Threads = 0
    llm_context_window: int = Field(8192, ge=512)  # of the llama.cpp the backend starts
    models_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("quadrate-rag")) / "models"
    )

    # asking
    ask_top_k: int = Field(5, ge=1)
    ask_context_tokens: int = Field(0, ge=0)  # share of the window for sources; 0: what is left

    # caches of /search and /ask
    cache_size: int = Field(1000, ge=0)  # entries; 0 switches them off
    cache_ttl: float = Field(3600.0, gt=0)  # seconds

    api_keys: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="API_KEY")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @field_validator("chunk_overlap_tokens")
    @classmethod
    def _overlap_below_half(cls, value: int, info: ValidationInfo) -> int:
        size = info.data.get("chunk_size_tokens")
        if size is not None and value * 2 > size:
            raise ValueError(f"must be at most half of CHUNK_SIZE_TOKENS ({size})")
        return value

    @model_validator(mode="after")
    def _model_is_named_where_needed(self) -> Settings:
        if self.llm_mode == "vllm" and not self.llm_model:
            raise ValueError("LLM_MODEL must name the served model when LLM_MODE=vllm")
        return self

    @property
    def embed_thread_count(self) -> int:
        return self.embed_threads or _default_threads()

    @property
    def llm_thread_count(self) -> int:
        return self.llm_threads or _default_threads()


def known_variables() -> frozenset[str]:
    names = {
        str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()
    }
    return frozenset(names | CONTAINER_VARIABLES)


def unknown_variables(environment: Mapping[str, str | None]) -> list[str]:
    """One sentence per variable with one of our prefixes that nothing reads."""
    known = sorted(known_variables())
    found = []
    for name in sorted(environment):
        if name.upper() in known or not name.upper().startswith(PREFIXES):
            continue
        nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        found.append(f"{name} is set, but nothing reads it.{hint}")
    return found


def load_settings(env_file: Path | None = Path(".env")) -> tuple[Settings, list[str]]:
    """Settings from the environment and ``env_file``, and what is wrong without being fatal.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
    """
    environment: dict[str, str | None] = {}
    if env_file is not None and env_file.is_file():
        environment |= dotenv_values(env_file)
    environment |= dict(os.environ)
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error
    return settings, unknown_variables(environment)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            lines.append(message)
            continue
        lines.append(f"{str(problem['loc'][0]).upper()}={_shown(problem)}: {message}")
    return "\n".join(lines)


def _shown(problem: Any) -> str:
    name = str(problem["loc"][0]).upper()
    return "<hidden>" if "KEY" in name or "TOKEN" in name else repr(problem["input"])

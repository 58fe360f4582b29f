"""Every environment variable of the backend: name, default, unit, allowed values.

The only module that reads the environment. Messages name the variable, because that is
what the operator can change.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from dotenv import dotenv_values
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.core.deployment import CONTAINER_VARIABLES
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
    "SUMMARY_",
    "VLLM_",
)

# Each may be given as a file instead: API_KEY_FILE=/run/secrets/api_key.
SECRETS = ("API_KEY", "QDRANT_API_KEY", "EMBED_API_KEY", "RERANK_API_KEY", "LLM_API_KEY")

LlmMode = Literal["llamacpp", "vllm", "ollama", "none"]
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
    embed_provider: Literal["bundled", "sentence-transformers", "openai"] = "bundled"
    embed_threads: Threads = 0  # of the bundled model
    embed_model: str | None = None
    embed_url: str = "http://embedding:8001/v1"
    embed_api_key: str | None = None
    embed_timeout: float = Field(60.0, gt=0)  # seconds, one batch
    embed_batch_size: int = Field(32, ge=1, le=1024)
    embed_device: str = "cpu"  # of sentence-transformers
    embed_query_prefix: str = "query: "
    embed_passage_prefix: str = "passage: "

    # reranking
    rerank_provider: Literal["off", "cross-encoder", "server"] = "off"
    rerank_model: str | None = None
    rerank_url: str = "http://reranker:8002/v1"
    rerank_api_key: str | None = None
    rerank_timeout: float = Field(30.0, gt=0)  # seconds, one batch
    rerank_candidates: int = Field(30, ge=1, le=1000)
    rerank_device: str = "cpu"  # of the cross-encoder

    # retrieval
    search_candidates: int = Field(50, ge=5, le=1000)
    search_max_top_k: int = Field(100, ge=1, le=1000)
    search_one_per_document: bool = False
    search_mmr_lambda: float | None = Field(None, ge=0, le=1)  # unset: no diversity step

    # generation
    llm_mode: LlmMode = "llamacpp"
    llm_backend: LlmMode | None = None  # another name of LLM_MODE
    llm_model: str | None = None
    served_model_name: str | None = None  # what vLLM calls the model, if not by its id
    vllm_model: str | None = None  # what vLLM loads
    ollama_model: str | None = None
    llm_vllm_url: str = "http://vllm:8001/v1"
    llm_ollama_url: str = "http://ollama:11434"
    llm_llamacpp_url: str | None = None  # unset: the backend starts its own llama.cpp
    llm_api_key: str | None = None
    llm_timeout: float = Field(120.0, gt=0)  # seconds until the first token and between tokens
    llm_max_tokens: int = Field(512, ge=16)
    llm_temperature: float = Field(0.0, ge=0, le=2)
    llm_top_p: float | None = Field(None, gt=0, le=1)
    llm_top_k: int | None = Field(None, ge=0)
    llm_min_p: float | None = Field(None, ge=0, le=1)
    llm_presence_penalty: float | None = Field(None, ge=-2, le=2)
    llm_frequency_penalty: float | None = Field(None, ge=-2, le=2)
    llm_repetition_penalty: float | None = Field(None, gt=0, le=2)
    llm_seed: int | None = None
    llm_reasoning: Literal["auto", "on", "off"] = "auto"
    llm_max_concurrency: int = Field(0, ge=0, le=4096)  # 0: what the provider can do
    llm_queue_limit: int = Field(100, ge=0)  # requests that may wait for the model
    llm_canary: Literal["auto", "on", "off"] = "auto"
    llm_safety_margin: int = Field(32, ge=0)  # tokens of the window never used
    llm_threads: Threads = 0
    llm_context_window: int = Field(8192, ge=512)  # asked of Ollama and of our own llama.cpp
    ollama_keep_alive: str | None = None  # how long Ollama keeps the model loaded
    ollama_num_parallel: int | None = Field(None, ge=1)
    llm_small_model: str | None = None  # a second, small model beside the first
    llm_small_url: str | None = None
    models_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("quadrate-rag")) / "models"
    )

    # asking
    ask_top_k: int = Field(5, ge=1)
    ask_context_tokens: int = Field(0, ge=0)  # share of the window for sources; 0: what is left

    # summaries, in tokens of the chat model
    summary_max_tokens: int = Field(0, ge=0)  # longest summary; 0: as the model's profile has it
    summary_part_tokens: int = Field(0, ge=0)  # longest text of one call; 0: what the window leaves
    summary_parallel: int = Field(0, ge=0, le=1024)  # documents at once; 0: half the slots

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

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        """LLM_BACKEND stands in for LLM_MODE, the model servers' variables for LLM_MODEL."""
        values = dict(values)
        if not values.get("llm_mode") and values.get("llm_backend"):
            values["llm_mode"] = values["llm_backend"]
        stand_ins = {"vllm": ("served_model_name", "vllm_model"), "ollama": ("ollama_model",)}
        for name in stand_ins.get(str(values.get("llm_mode")), ()):
            if not values.get("llm_model") and values.get(name):
                values["llm_model"] = values[name]
        return values

    @model_validator(mode="after")
    def _what_belongs_together_is_set(self) -> Settings:
        if self.llm_mode in {"vllm", "ollama"} and not self.llm_model:
            raise ValueError(f"LLM_MODEL must name the served model when LLM_MODE={self.llm_mode}")
        if self.llm_backend is not None and self.llm_backend != self.llm_mode:
            raise ValueError(
                f"LLM_BACKEND={self.llm_backend} and LLM_MODE={self.llm_mode} contradict each "
                "other; remove LLM_BACKEND"
            )
        if (self.llm_small_model is None) != (self.llm_small_url is None):
            raise ValueError("LLM_SMALL_MODEL and LLM_SMALL_URL are set together")
        if self.embed_provider != "bundled" and not self.embed_model:
            raise ValueError(f"EMBED_MODEL must be set when EMBED_PROVIDER={self.embed_provider}")
        if self.rerank_provider != "off" and not self.rerank_model:
            raise ValueError(
                f"RERANK_MODEL must be set when RERANK_PROVIDER={self.rerank_provider}"
            )
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
    return frozenset(names | {f"{name}_FILE" for name in SECRETS} | CONTAINER_VARIABLES)


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
        ConfigurationError: a variable has a value that is not allowed, or a secret's file cannot
            be read.
    """
    environment: dict[str, str | None] = {}
    if env_file is not None and env_file.is_file():
        environment |= dotenv_values(env_file)
    environment |= dict(os.environ)
    try:
        settings = Settings(_env_file=env_file, **_secrets_of_files(environment))
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error
    return settings, unknown_variables(environment)


def _secrets_of_files(environment: Mapping[str, str | None]) -> dict[str, Any]:
    """An empty file is no secret: compose mounts one where the operator gave none."""
    found = {}
    for name in SECRETS:
        path = environment.get(f"{name}_FILE")
        if not path:
            continue
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{name}_FILE={path} cannot be read: {error}") from error
        if secret and environment.get(name):
            raise ConfigurationError(f"{name} and {name}_FILE are both set; remove one of them.")
        if secret:
            found[name if name == "API_KEY" else name.lower()] = secret
    return found


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
    return "<hidden>" if _is_secret(name) else repr(problem["input"])


def described(
    settings: Settings, env_file: Path | None = Path(".env")
) -> dict[str, tuple[str | int | float | bool | None, str]]:
    """Each variable with its effective value and where it was set; secrets are hidden."""
    in_file = dotenv_values(env_file) if env_file is not None and env_file.is_file() else {}
    found = {}
    for field_name, field in Settings.model_fields.items():
        name = str(field.validation_alias or field_name).upper()
        origin = "default"
        if os.environ.get(name) or os.environ.get(name.lower()):
            origin = "environment"
        elif in_file.get(name) or in_file.get(name.lower()):
            origin = str(env_file)
        elif field_name in settings.model_fields_set:
            origin = "derived"
        found[name] = (_presentable(name, getattr(settings, field_name)), origin)
    return found


def _presentable(name: str, value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _is_secret(name):
        return "<hidden>" if value else None
    return _PASSWORD.sub(r"\1<hidden>@", str(value))


_PASSWORD = re.compile(r"(://[^/@:]*:)[^/@]*@")


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_TOKEN", "_PASSWORD", "_SECRET"))

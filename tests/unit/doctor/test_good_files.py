"""The shipped env files, changed as operators change them: nothing is said about them."""

# A row of a table is one line.
# ruff: noqa: E501

from __future__ import annotations

import re

import pytest

from backend.core.deployment import MIG_FILE, VLLM_FILE
from tests.unit.doctor.support import ROOT, TOKEN, doctor

TOKEN_LINE = f"HUGGING_FACE_HUB_TOKEN={TOKEN}"
SLICES = (
    TOKEN_LINE,
    "VLLM_MEDIUM_MIG_UUID=MIG-377e0049-554c-540b-93c6-d0976f8426cb",
    "VLLM_SMALL_MIG_UUID=MIG-f39aa248-6f1b-5769-b119-8d650bb34b27",
)
FILES = {".env.vllm": VLLM_FILE, ".env.vllm-fp8": VLLM_FILE, ".env.vllm-mig": MIG_FILE}

# sentence, shipped file, lines put in or, with a minus, taken out
GOOD: list[tuple[str, str, tuple[str, ...]]] = [
    ("as shipped", ".env.ollama", ()),
    ("a larger window", ".env.ollama", ("OLLAMA_MODEL=llama3.1:8b", "LLM_CONTEXT_WINDOW=32768", "LLM_MAX_TOKENS=2048")),
    ("a model of the hub", ".env.ollama", ("OLLAMA_MODEL=hf.co/bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",)),
    ("a model without a tag", ".env.ollama", ("OLLAMA_MODEL=qwen3", "OLLAMA_MODELS_DIR=~/ollama")),
    ("other ports", ".env.ollama", ("BACKEND_PORT=18000", "QDRANT_PORT=16333", "OLLAMA_PORT=21434")),
    ("Qdrant elsewhere", ".env.ollama", ("QDRANT_URL=https://qdrant.example.org:6333", "QDRANT_API_KEY=Kx82hsUw912kQpz7")),
    ("Ollama elsewhere", ".env.ollama", ("LLM_OLLAMA_URL=http://192.168.1.20:11434", "COMPOSE_PROFILES=")),
    ("several keys", ".env.ollama", ("API_KEY=team-7fA91kQ2,ops-19xkPPz01", "BIND_ADDRESS=0.0.0.0")),
    ("a key with a dollar", ".env.ollama", ("API_KEY='s3cr$et9w8e7r'",)),
    ("no chat model", ".env.ollama", ("LLM_MODE=none", "COMPOSE_PROFILES=", "-OLLAMA_MODEL", "-LLM_MODEL")),
    ("comments and quotes", ".env.ollama", ("# Русский комментарий", "LLM_TEMPERATURE='0.2'  # чуть живее", 'LOG_LEVEL="INFO"')),
    ("export", ".env.ollama", ("export LLM_TIMEOUT=300",)),
    ("variables of others", ".env.ollama", ("TZ=Europe/Moscow", "HTTP_PROXY=http://proxy.lan:3128", "NVIDIA_DRIVER_CAPABILITIES=compute")),
    ("documents elsewhere", ".env.ollama", ("DOCS_DIR=/mnt/файлы и папки/docs",)),
    ("an embedder in the backend", ".env.ollama", ("BACKEND_EXTRAS=gpu", "EMBED_PROVIDER=sentence-transformers", "EMBED_MODEL=intfloat/multilingual-e5-base")),
    ("an embedder elsewhere", ".env.ollama", ("EMBED_PROVIDER=openai", "EMBED_MODEL=bge-m3", "EMBED_URL=http://gpu-box.local:8001/v1")),
    ("the gateway and graphs", ".env.ollama", ("COMPOSE_PROFILES=ollama,api,observability", "GRAFANA_PASSWORD=v8Kz-2lq-PPa")),
    ("two GPUs", ".env.vllm", ("-HUGGING_FACE_HUB_TOKEN", "VLLM_MODEL=Qwen/Qwen3-32B", "VLLM_TENSOR_PARALLEL_SIZE=2", "VLLM_GPU_COUNT=2")),
    ("four GPUs", ".env.vllm", (TOKEN_LINE, "VLLM_TENSOR_PARALLEL_SIZE=2", "VLLM_PIPELINE_PARALLEL_SIZE=2", "VLLM_GPU_COUNT=4")),
    ("AWQ by another name", ".env.vllm", ("VLLM_MODEL=Qwen/Qwen2.5-72B-Instruct-AWQ", "VLLM_QUANTIZATION=awq_marlin")),
    ("4 bits of others", ".env.vllm", ("VLLM_MODEL=ISTA-DASLab/gemma-3-27b-it-GPTQ-4b-128g", "VLLM_MAX_MODEL_LEN=16384")),
    ("fp8 on the fly", ".env.vllm", ("VLLM_MODEL=Qwen/Qwen3-8B", "VLLM_ENABLE_FP8=true", "VLLM_KV_CACHE_DTYPE=fp8_e4m3")),
    ("all servers of one card", ".env.vllm", (TOKEN_LINE, "COMPOSE_PROFILES=vllm,embedding,reranker", "EMBED_PROVIDER=openai", "EMBED_MODEL=BAAI/bge-m3", "RERANK_PROVIDER=server", "RERANK_MODEL=BAAI/bge-reranker-v2-m3", "VLLM_GPU_MEMORY_UTILIZATION=0.75")),
    ("a folder of models", ".env.vllm", ("VLLM_MODEL=/models/qwen3-8b", "SERVED_MODEL_NAME=qwen3-8b", "LLM_MODEL=qwen3-8b", "VLLM_MODELS_DIR=/srv/models")),
    ("adapters", ".env.vllm", (TOKEN_LINE, "VLLM_LORA_MODULES=sql=/models/lora-sql,legal=/models/lora-legal")),
    ("n-grams", ".env.vllm", (TOKEN_LINE, 'VLLM_SPECULATIVE_CONFIG={"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}')),
    ("a small model ahead", ".env.vllm", (TOKEN_LINE, "VLLM_SPECULATIVE_MODEL=meta-llama/Llama-3.2-1B-Instruct", "VLLM_NUM_SPECULATIVE_TOKENS=3")),
    ("odd arguments", ".env.vllm", (TOKEN_LINE, "VLLM_EXTRA_ARGS=--trust-remote-code --limit-mm-per-prompt '{\"image\": 0}' --seed 7 -O2")),
    ("several served names", ".env.vllm", (TOKEN_LINE, "SERVED_MODEL_NAME=llama,llama-8b", "LLM_MODEL=llama-8b")),
    ("one key for both", ".env.vllm", (TOKEN_LINE, "VLLM_API_KEY=zz81kkqP", "LLM_API_KEY=zz81kkqP")),
    ("weights that are there", ".env.vllm", ("HF_HUB_OFFLINE=1",)),
    ("a model nobody knows", ".env.vllm", ("VLLM_MODEL=acme/our-own-7b-finetune", "VLLM_MAX_MODEL_LEN=32768")),
    ("as shipped", ".env.vllm-fp8", ()),
    ("slices", ".env.vllm-mig", SLICES),
    ("other names and ports", ".env.vllm-mig", (*SLICES, "VLLM_MEDIUM_SERVED_NAME=oss", "LLM_MODEL=oss", "VLLM_MEDIUM_PORT=9001")),
    ("the small model by default", ".env.vllm-mig", (*SLICES, "-LLM_SMALL_URL", "-LLM_SMALL_MODEL")),
    ("the UUID of an old driver", ".env.vllm-mig", (*SLICES, "VLLM_MEDIUM_MIG_UUID=MIG-GPU-7f57f032-34ab-a064-c37c-7a4f75601cc5/3/0")),
    ("as shipped", ".env.llamacpp", ()),
    ("on the GPU", ".env.llamacpp", ("LLAMACPP_GPU_LAYERS=99", "COMPOSE_FILE=docker-compose.yml:deploy/compose/gpu.yml")),
    ("on the GPU by default", ".env.llamacpp", ("-LLAMACPP_GPU_LAYERS", "COMPOSE_FILE=docker-compose.yml:deploy/compose/gpu.yml")),
    ("a split file in a folder", ".env.llamacpp", ("LLAMACPP_MODEL_FILE=qwen/qwen3-14b-q4_k_m-00001-of-00003.gguf", "LLM_MODEL=qwen3-14b", "LLAMACPP_PARALLEL=2", "LLM_CONTEXT_WINDOW=16384")),
    ("as shipped", "env.example", ()),
    ("vLLM", "env.example", ("LLM_BACKEND=vllm",)),
    ("llama.cpp", "env.example", ("LLM_BACKEND=llamacpp",)),
]  # fmt: skip
NAMES = [f"{base}, {sentence}" for sentence, base, _ in GOOD]


def changed(base: str, lines: tuple[str, ...]) -> str:
    text = (ROOT / base).read_text(encoding="utf-8")
    for line in lines:
        name = line.removeprefix("-").partition("=")[0]
        pattern = re.compile(rf"^{re.escape(name)}=.*\n", re.MULTILINE)
        if line.startswith("-"):
            text = pattern.sub("", text)
        elif pattern.search(text):
            text = pattern.sub(line.replace("\\", r"\\") + "\n", text)
        else:
            text += f"{line}\n"
    return text


@pytest.mark.parametrize(("base", "lines"), [row[1:] for row in GOOD], ids=NAMES)
def test_nothing_is_said_about_a_good_file(base: str, lines: tuple[str, ...]) -> None:
    assert doctor(changed(base, lines)) == []


@pytest.mark.parametrize(("base", "lines"), [row[1:] for row in GOOD if row[1] in FILES])
def test_nor_with_its_compose_file_named(base: str, lines: tuple[str, ...]) -> None:
    assert doctor(changed(base, lines), FILES[base]) == []


def test_line_ends_of_windows_are_no_fault() -> None:
    assert doctor(changed(".env.ollama", ()).replace("\n", "\r\n")) == []

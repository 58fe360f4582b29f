"""Env files that are right, and how a test breaks one line of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.doctor.checks import check
from cli.doctor.findings import Finding
from cli.doctor.load import Source, load

ROOT = Path(__file__).parents[3]
TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"

OLLAMA = """\
# comment
COMPOSE_PROFILES=ollama
LLM_MODE=ollama
LLM_MODEL=qwen3:8b
LLM_CONTEXT_WINDOW=8192
LAST=
"""
VLLM = f"""\
COMPOSE_PROFILES=vllm
LLM_MODE=vllm
VLLM_MODEL=meta-llama/Meta-Llama-3.1-8B-Instruct
LLM_MODEL=${{VLLM_MODEL}}
HF_TOKEN={TOKEN}
VLLM_GPU_MEMORY_UTILIZATION=0.80
VLLM_MAX_MODEL_LEN=8192
VLLM_MAX_NUM_SEQS=64
VLLM_GPU_COUNT=1
VLLM_TENSOR_PARALLEL_SIZE=1
EMBEDDING_PORT=8011
LAST=
"""
MIG = """\
LLM_MODE=vllm
VLLM_MEDIUM_MIG_UUID=MIG-377e0049-554c-540b-93c6-d0976f8426cb
VLLM_SMALL_MIG_UUID=MIG-f39aa248-6f1b-5769-b119-8d650bb34b27
VLLM_MEDIUM_MODEL=openai/gpt-oss-20b
VLLM_SMALL_MODEL=Qwen/Qwen3-8B-AWQ
LLM_MODEL=${VLLM_MEDIUM_MODEL}
LLM_SMALL_MODEL=${VLLM_SMALL_MODEL}
LLM_SMALL_URL=http://vllm-small:8002/v1
VLLM_MEDIUM_MAX_MODEL_LEN=8192
LAST=
"""
LLAMACPP = """\
COMPOSE_PROFILES=llamacpp
LLM_MODE=llamacpp
LLM_MODEL=qwen3-8b
LLM_CONTEXT_WINDOW=8192
LLAMACPP_MODEL_FILE=Qwen3-8B-Q4_K_M.gguf
LAST=
"""


def source_of(
    text: str,
    *compose_files: str,
    environment: Mapping[str, str] | None = None,
    with_environment: bool = False,
    in_compose: bool = False,
    preflight_for: str = "",
) -> Source:
    return Source(
        env_file=".env",
        text=text,
        root=ROOT,
        compose_files=compose_files,
        environment=environment or {},
        with_environment=with_environment,
        in_compose=in_compose,
        preflight_for=preflight_for,
    )


def doctor(
    text: str,
    *compose_files: str,
    environment: Mapping[str, str] | None = None,
    with_environment: bool = False,
    in_compose: bool = False,
    preflight_for: str = "",
) -> list[Finding]:
    """All findings about an env file, without this machine and this process's environment."""
    source = source_of(
        text,
        *compose_files,
        environment=environment,
        with_environment=with_environment,
        in_compose=in_compose,
        preflight_for=preflight_for,
    )
    return check(load(source))


def with_line(text: str, line: str) -> tuple[str, int]:
    """``text`` with ``line`` in the place of the line of the same variable, or at the end; and the
    number of its first line."""
    name = line.split("=", maxsplit=1)[0]
    lines = text.replace("LAST=\n", "").splitlines()
    for index, old in enumerate(lines):
        if old.startswith(f"{name}="):
            return "\n".join([*lines[:index], line, *lines[index + 1 :]]) + "\n", index + 1
    return "\n".join([*lines, line]) + "\n", len(lines) + 1


def replaced(text: str, old: str, new: str) -> tuple[str, int]:
    """``text`` with the line ``old`` written as ``new``; and its number."""
    lines = text.replace("LAST=\n", "").splitlines()
    index = lines.index(old)
    return "\n".join([*lines[:index], new, *lines[index + 1 :]]) + "\n", index + 1


def codes(findings: Sequence[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def mended(text: str, finding: Finding) -> str:
    """``text`` after the operator did what the finding says."""
    lines = text.splitlines()
    new = [] if finding.action == "remove" else finding.fix.split("\n")
    if finding.line is None:
        return "\n".join([*lines, *new]) + "\n"
    return "\n".join([*lines[: finding.line - 1], *new, *lines[finding.line :]]) + "\n"

"""The entrypoint of every vLLM container: makes flags of the ``VLLM_*`` variables, then runs vLLM.

vLLM itself reads none of them, it only warns about them. Runs on the image's python3, so it needs
the standard library only. An empty variable is an unset one, and an unset one leaves its flag out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

IMPOSSIBLE = 2
_DEFAULT_DRAFT_TOKENS = 5
_PREFIX = "vllm_launch: "

Kind = Literal["value", "switch", "toggle", "json", "csv", "words"]


class WrongVariableError(ValueError):
    """Names the variable to change, in one line."""


@dataclass(frozen=True, slots=True)
class Check:
    pattern: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Option:
    """``switch``: the flag or nothing; ``toggle``: ``--x`` or ``--no-x``; ``csv``: the flag once,
    then each item; ``words``: split as a shell does, no flag of its own."""

    variable: str
    flag: str
    kind: Kind
    check: Check = Check(r".+", "set")
    aliases: tuple[str, ...] = ()


_COUNT = Check(r"[1-9]\d*", "a whole number from 1")
_FRACTION = Check(r"1(\.0*)?|0?\.\d*[1-9]\d*", "a number above 0 and up to 1, as 0.90")
_LENGTH = Check(r"-1|auto|\d+(\.\d+)?[kKmMgG]?", "a number of tokens, as 8192 or 32k, or auto")
_TOKENS = Check(r"\d+(\.\d+)?[kKmM]?", "a number of tokens")
_METHOD = Check(
    r"(?!none$|null$|auto$)[a-z0-9_.-]+", "a method as awq, gptq or fp8; leave it empty for none"
)
_TYPE = Check(r"[a-z0-9_]+", "a type as auto, fp8 or bfloat16")
_NAME = Check(r"\S+", "one name")
_ADAPTERS = Check(r"[^=\s]+=\S+", "name=path, several separated by commas")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

_GPU_SHARE = "--gpu-memory-utilization"
OPTIONS = (
    Option("VLLM_GPU_MEMORY_UTILIZATION", _GPU_SHARE, "value", _FRACTION, ("VLLM_GPU_MEM_UTIL",)),
    Option("VLLM_MAX_MODEL_LEN", "--max-model-len", "value", _LENGTH, ("MAX_MODEL_LEN",)),
    Option("VLLM_MAX_NUM_SEQS", "--max-num-seqs", "value", _COUNT),
    Option("VLLM_MAX_NUM_BATCHED_TOKENS", "--max-num-batched-tokens", "value", _TOKENS),
    Option("VLLM_TENSOR_PARALLEL_SIZE", "--tensor-parallel-size", "value", _COUNT),
    Option("VLLM_PIPELINE_PARALLEL_SIZE", "--pipeline-parallel-size", "value", _COUNT),
    Option("VLLM_QUANTIZATION", "--quantization", "value", _METHOD),
    Option("VLLM_KV_CACHE_DTYPE", "--kv-cache-dtype", "value", _TYPE),
    Option("VLLM_DTYPE", "--dtype", "value", _TYPE),
    Option("VLLM_ENABLE_PREFIX_CACHING", "--enable-prefix-caching", "toggle"),
    Option("VLLM_ENABLE_CHUNKED_PREFILL", "--enable-chunked-prefill", "toggle"),
    Option("VLLM_ENFORCE_EAGER", "--enforce-eager", "switch"),
    Option("VLLM_REASONING_PARSER", "--reasoning-parser", "value", _NAME),
    Option("VLLM_SPECULATIVE_CONFIG", "--speculative-config", "json"),
    Option("VLLM_LORA_MODULES", "--lora-modules", "csv", _ADAPTERS),
    Option("VLLM_EXTRA_ARGS", "", "words"),
)

# Read here, but no flag of one to one: the model's argument, names for other flags, the key that
# vLLM reads from the environment itself.
OTHER_VARIABLES = frozenset(
    "VLLM_MODEL VLLM_ENABLE_FP8 VLLM_SPECULATIVE_MODEL VLLM_NUM_SPECULATIVE_TOKENS "
    "VLLM_API_KEY".split()
)

# vLLM stops at these: what to write instead.
_GONE = "--disable-log-requests --swap-space --device --num-scheduler-steps".split()
REMOVED_FLAGS = dict.fromkeys(_GONE, "nothing instead") | {
    "--speculative-model": "VLLM_SPECULATIVE_MODEL",
    "--num-speculative-tokens": "VLLM_NUM_SPECULATIVE_TOKENS",
    "--task": "--runner pooling",
    "--guided-decoding-backend": "--structured-outputs-config",
    "--enable-reasoning": "VLLM_REASONING_PARSER",
    "--rope-scaling": "--hf-overrides",
}
_SECRET_FLAGS = ("--api-key", "--hf-token")

# Of the launcher and the compose files; vLLM would warn about those that begin like its own.
_NOT_FOR_VLLM = frozenset(
    {name for option in OPTIONS for name in (option.variable, *option.aliases)}
    | (OTHER_VARIABLES - {"VLLM_API_KEY"})
    | set("SERVED_MODEL_NAME PORT MODEL_VARIABLE HF_TOKEN_FILE HUGGING_FACE_HUB_TOKEN".split())
)


def build_command(
    environment: Mapping[str, str], arguments: Sequence[str], notes: list[str]
) -> list[str]:
    """``vllm serve …``, ``arguments`` last. ``notes`` takes what the operator should know.

    Raises:
        WrongVariableError: a variable has a value that cannot work, or contradicts another.
    """
    env = {name: value.strip() for name, value in environment.items() if value.strip()}
    model = env.get("VLLM_MODEL")
    if model is None:
        source = env.get("MODEL_VARIABLE", "VLLM_MODEL")
        raise WrongVariableError(f"{source} is not set: it names the model to load")
    command = ["vllm", "serve", model, "--host", "0.0.0.0", "--port", env.get("PORT", "8000")]  # noqa: S104
    command += _served_names(env, model)
    for option in OPTIONS:
        value = _value(option, env)
        if value is not None:
            command += _RENDER[option.kind](option, value)
    command += _fp8(env, notes)
    command += _draft_model(env, notes)
    command += arguments
    _refuse_removed(command)
    return command


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Raises WrongVariableError: two different tokens, or a token's file that cannot be read."""
    kept = {k: v for k, v in environment.items() if v and k not in _NOT_FOR_VLLM}
    names = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    given = {name: value for name in names if (value := environment.get(name, "").strip())}
    path = environment.get("HF_TOKEN_FILE")
    if path:
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise WrongVariableError(f"HF_TOKEN_FILE={path} cannot be read: {error}") from error
        if token:
            given["HF_TOKEN_FILE"] = token
    if len(set(given.values())) > 1:
        raise WrongVariableError(f"{' and '.join(given)} hold different tokens; keep one of them")
    if given:
        kept["HF_TOKEN"] = next(iter(given.values()))
    return kept


def shown(command: Sequence[str]) -> str:
    """The command as a shell would take it, without its secrets."""
    words, hide = [], False
    for word in command:
        flag, given, _ = word.partition("=")
        if word.startswith("-"):
            hide = flag in _SECRET_FLAGS
            words.append(f"{flag}=<hidden>" if hide and given else word)
        else:
            words.append("<hidden>" if hide else word)
    return shlex.join(words)


def given_command(arguments: Sequence[str], installed: Callable[[str], str | None]) -> list[str]:
    """What is not flags runs as it stands; ``huggingface-cli`` is called ``hf`` now."""
    command = list(arguments)
    if command[0] == "huggingface-cli" and not installed(command[0]) and installed("hf"):
        command[0] = "hf"
    return command


def _value(option: Option, env: Mapping[str, str]) -> str | None:
    given = {name: env[name] for name in (option.variable, *option.aliases) if name in env}
    if len(set(given.values())) > 1:
        both = " and ".join(f"{name}={value}" for name, value in given.items())
        raise WrongVariableError(f"{both} contradict each other; remove one of them")
    for name, value in given.items():
        if option.kind == "value" and not re.fullmatch(option.check.pattern, value):
            raise WrongVariableError(f"{name}={value} must be {option.check.meaning}")
        return value
    return None


def _is_true(variable: str, value: str) -> bool:
    if value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise WrongVariableError(f"{variable}={value} must be true or false")


def _toggle(option: Option, value: str) -> list[str]:
    on = _is_true(option.variable, value)
    return [option.flag if on else option.flag.replace("--", "--no-", 1)]


def _json(option: Option, value: str) -> list[str]:
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise WrongVariableError(f"{option.variable}={value} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise WrongVariableError(f"{option.variable}={value} must be a JSON object")
    return [option.flag, json.dumps(parsed)]


def _csv(option: Option, value: str) -> list[str]:
    items = [item for item in re.split(r"[,\s]+", value) if item]
    for item in items:
        if not re.fullmatch(option.check.pattern, item):
            raise WrongVariableError(f"{option.variable}={value} must be {option.check.meaning}")
    return ["--enable-lora", option.flag, *items]


def _words(option: Option, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise WrongVariableError(f"{option.variable}={value}: {error}") from error


_RENDER: dict[Kind, Callable[[Option, str], list[str]]] = {
    "value": lambda option, value: [option.flag, value],
    "switch": lambda option, value: [option.flag] * _is_true(option.variable, value),
    "toggle": _toggle,
    "json": _json,
    "csv": _csv,
    "words": _words,
}


def _served_names(env: Mapping[str, str], model: str) -> list[str]:
    """The model's own id stays a name too: either may be asked for."""
    names = [name for name in re.split(r"[,\s]+", env.get("SERVED_MODEL_NAME", "")) if name]
    return ["--served-model-name", *dict.fromkeys([*names, model])] if names else []


def _fp8(env: Mapping[str, str], notes: list[str]) -> list[str]:
    value = env.get("VLLM_ENABLE_FP8")
    if value is None or not _is_true("VLLM_ENABLE_FP8", value):
        return []
    chosen = env.get("VLLM_QUANTIZATION")
    if chosen is not None:
        if chosen != "fp8":
            notes.append(f"VLLM_ENABLE_FP8 is left out: VLLM_QUANTIZATION={chosen} is set")
        return []
    notes.append("VLLM_ENABLE_FP8=true means --quantization fp8")
    return ["--quantization", "fp8"]


def _draft_model(env: Mapping[str, str], notes: list[str]) -> list[str]:
    draft, count = env.get("VLLM_SPECULATIVE_MODEL"), env.get("VLLM_NUM_SPECULATIVE_TOKENS")
    if draft is None and count is None:
        return []
    if "VLLM_SPECULATIVE_CONFIG" in env:
        raise WrongVariableError(
            "VLLM_SPECULATIVE_CONFIG and VLLM_SPECULATIVE_MODEL exclude another"
        )
    if draft is None:
        raise WrongVariableError("VLLM_NUM_SPECULATIVE_TOKENS needs VLLM_SPECULATIVE_MODEL")
    if count is None:
        count = str(_DEFAULT_DRAFT_TOKENS)
        notes.append(f"VLLM_NUM_SPECULATIVE_TOKENS is not set: {count} are drafted at a time")
    if not re.fullmatch(_COUNT.pattern, count):
        raise WrongVariableError(f"VLLM_NUM_SPECULATIVE_TOKENS={count} must be a number from 1")
    source = {"method": "ngram"} if draft.strip("[]") == "ngram" else {"model": draft}
    return ["--speculative-config", json.dumps({**source, "num_speculative_tokens": int(count)})]


def _refuse_removed(command: Sequence[str]) -> None:
    for word in command:
        flag = word.partition("=")[0]
        if flag in REMOVED_FLAGS:
            better = REMOVED_FLAGS[flag]
            raise WrongVariableError(f"{flag}, which vLLM no longer knows, is given; use {better}")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    notes: list[str] = []
    try:
        child = child_environment(environment)
        if arguments and not arguments[0].startswith("-"):
            command = given_command(arguments, shutil.which)
        else:
            command = build_command(environment, arguments, notes)
        for line in (*notes, shown(command)):
            sys.stderr.write(f"{_PREFIX}{line}\n")
        sys.stderr.flush()
        os.execvpe(command[0], command, child)  # noqa: S606 - the container's process from here on
    except (WrongVariableError, OSError) as error:
        sys.stderr.write(f"{_PREFIX}{error}\n")
        return IMPOSSIBLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - not part of the backend

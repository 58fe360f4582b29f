"""Whether each variable has a value that its reader accepts."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator

from backend.core.deployment import BASE_FILE, CONTAINER_VARIABLES, MIG_FILE
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.kinds import PORTS, Kind, kind_of
from cli.doctor.servers import chat_servers

# deploy/vllm_launch.py refuses the same.
GONE_FLAGS = frozenset(
    """
    --disable-log-requests --swap-space --device --num-scheduler-steps --speculative-model
    --num-speculative-tokens --task --guided-decoding-backend --enable-reasoning --rope-scaling
    """.split()
)


# What the port mapping, the health check and the backend rely on.
_FIXED_FLAGS = frozenset({"--host", "--port", "--model"})


def _extra_words(value: str) -> list[str] | None:
    try:
        return shlex.split(value)
    except ValueError:
        return None


def check(configuration: Configuration) -> Iterator[Finding]:
    for name in configuration.entries:
        value = configuration.value(name)
        if value and (kind := kind_of(name)) is not None and not kind.accepts(value):
            yield _wrong(configuration, name, value, kind)
    yield from _twins(configuration)
    yield from _extra_arguments(configuration)
    yield from _compose_files(configuration)


def _extra_arguments(configuration: Configuration) -> Iterator[Finding]:
    for name in sorted(configuration.entries):
        value = configuration.value(name)
        if not name.endswith("_EXTRA_ARGS") or not value:
            continue
        words = _extra_words(value)
        gone = [word for word in words or () if word.partition("=")[0] in GONE_FLAGS]
        if words is None:
            what, fix = "opens a quote that it does not close", value.replace("'", "")
        elif gone:
            what = f"holds {gone[0]}, which vLLM knows no more"
            fix = _without(gone[0], value)
        elif not words[0].startswith("-"):
            what, fix = "does not start with a flag", f"--{value}"
        elif fixed := [word for word in words if word.partition("=")[0] in _FIXED_FLAGS]:
            what, fix = f"holds {fixed[0]}, which the container sets", _without(fixed[0], value)
        else:
            yield from _said_twice(configuration, name, words, value)
            continue
        yield configuration.finding(
            "error",
            "extra_arguments",
            name,
            f"{name} {what}.",
            "vLLM stops at its command line.",
            f"{name}={fix}",
        )


def _without(word: str, value: str) -> str:
    return re.sub(rf"{re.escape(word)}(\s+[^-\s]\S*)?\s*", "", value).strip()


def _said_twice(
    configuration: Configuration, name: str, words: list[str], value: str
) -> Iterator[Finding]:
    """The last of two equal flags counts, and these words come last."""
    for server in chat_servers(configuration):
        if server.option(configuration, "EXTRA_ARGS")[0] != name:
            continue
        for word in words:
            flag = word.partition("=")[0]
            option = flag.removeprefix("--").replace("-", "_").upper()
            variable, given = server.option(configuration, option)
            if not flag.startswith("--") or not given or option == "EXTRA_ARGS":
                continue
            yield configuration.finding(
                "warning",
                "extra_arguments",
                name,
                f"{name} holds {flag}, and {variable}={given} (line "
                f"{configuration.line(variable)}) says the same thing.",
                f"The later one counts, so {variable} has no effect, and what is checked against "
                "it is not what runs.",
                f"{name}={_without(word, value)}",
            )
            return


def _compose_files(configuration: Configuration) -> Iterator[Finding]:
    listed = configuration.value("COMPOSE_FILE")
    parts = [part for part in re.split("[:;]", listed) if part]
    if not (configuration.root / BASE_FILE).is_file() or configuration.in_compose:
        return
    for part in parts:
        if (configuration.root / part).is_file():
            continue
        there = sorted(
            str(path.relative_to(configuration.root))
            for pattern in ("docker-compose*.yml", "deploy/compose/gpu.yml")
            for path in configuration.root.glob(pattern)
        )
        near = difflib.get_close_matches(part, there, n=1, cutoff=0.5)
        if any(configuration.value(f"VLLM_{size}_MIG_UUID") for size in ("MEDIUM", "SMALL")):
            near = [MIG_FILE]
        yield configuration.finding(
            "error",
            "no_compose_file",
            "COMPOSE_FILE",
            f"COMPOSE_FILE names {part}, and there is no such file.",
            "docker compose stops before it starts anything.",
            f"COMPOSE_FILE={listed.replace(part, near[0] if near else BASE_FILE)}",
        )


def _wrong(configuration: Configuration, name: str, value: str, kind: Kind) -> Finding:
    mended = str(PORTS[name].default_port) if name in PORTS else kind.mend(value)
    reader = "vLLM" if "VLLM" in name or name in CONTAINER_VARIABLES else "Compose"
    if name in PORTS or name in {"BIND_ADDRESS", "COMPOSE_PROJECT_NAME", "VLLM_GPU_COUNT"}:
        reader = "Compose"
    elif name.startswith(("OLLAMA", "LLAMACPP")):
        reader = "the model server"
    return configuration.finding(
        "error",
        "bad_value",
        name,
        f"{name}={value!r} is not allowed: it must be {kind.expects}.",
        f"{reader} refuses it, and the service does not start.",
        f"{name}={mended}",
    )


def _twins(configuration: Configuration) -> Iterator[Finding]:
    for name, other in (
        ("VLLM_GPU_MEMORY_UTILIZATION", "VLLM_GPU_MEM_UTIL"),
        ("VLLM_MAX_MODEL_LEN", "MAX_MODEL_LEN"),
        ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        ("LLM_MODE", "LLM_BACKEND"),
    ):
        first, second = configuration.value(name), configuration.value(other)
        if not first or not second or first == second:
            continue
        hidden = name.endswith("_TOKEN")
        values = "" if hidden else f": {first} and {second}"
        line = configuration.line(name)
        where = f"in line {line}" if line else "set outside the file"
        yield configuration.finding(
            "error",
            "contradiction",
            other,
            f"{name} and {other} are two names of one thing and have different values{values}.",
            f"Only one of them can take effect ({name} is {where}).",
            configuration.written(other),
            "remove",
        )

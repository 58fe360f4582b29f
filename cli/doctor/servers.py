"""The chat model servers that would start, with the variables each of them is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backend.core.deployment import BASE_FILE, MIG_FILE
from cli.doctor.configuration import Configuration

# Older names of the seeds' second guide.
_OTHER_NAMES = {
    "GPU_MEMORY_UTILIZATION": ("VLLM_GPU_MEM_UTIL",),
    "MAX_MODEL_LEN": ("MAX_MODEL_LEN",),
    "SERVED_NAME": ("SERVED_MODEL_NAME",),
}
_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)", re.ASCII)
_MULTIPLIERS = {"": 1} | {
    letter: base ** (power + 1)
    for letters, base in (("kmgt", 1000), ("KMGT", 1024))
    for power, letter in enumerate(letters)
}


@dataclass(frozen=True, slots=True)
class VllmServer:
    """``prefix`` is VLLM_MEDIUM_ or VLLM_SMALL_ on slices, VLLM_ otherwise."""

    service: str
    prefix: str

    def names(self, option: str) -> tuple[str, ...]:
        """The variables of ``option``, the one that wins first."""
        own = () if self.prefix == "VLLM_" else (f"{self.prefix}{option}",)
        if self.prefix == "VLLM_SMALL_" and option in {"MODEL", "SERVED_NAME"}:
            return (*own, "LLM_SMALL_MODEL") if option == "MODEL" else own
        plain = () if option == "SERVED_NAME" else (f"VLLM_{option}",)
        return (*own, *plain, *_OTHER_NAMES.get(option, ()))

    def option(self, configuration: Configuration, option: str) -> tuple[str, str]:
        """The variable that is set, and its value; its main name with "" where none is."""
        names = self.names(option)
        name, value = configuration.first(*names)
        return (name, value) if value else (names[0], "")

    def model(self, configuration: Configuration) -> tuple[str, str]:
        """What it loads."""
        name, value = self.option(configuration, "MODEL")
        if not value and self.prefix != "VLLM_SMALL_" and configuration.value("LLM_MODEL"):
            return "LLM_MODEL", configuration.value("LLM_MODEL")
        return name, value

    def served(self, configuration: Configuration) -> tuple[str, ...]:
        """The names it answers to."""
        given = re.split(r"[,\s]+", self.option(configuration, "SERVED_NAME")[1])
        return tuple(name for name in (*given, self.model(configuration)[1]) if name)


def chat_servers(configuration: Configuration) -> tuple[VllmServer, ...]:
    if configuration.compose_file == MIG_FILE:
        return (
            VllmServer("vllm-medium", "VLLM_MEDIUM_"),
            VllmServer("vllm-small", "VLLM_SMALL_"),
        )
    if configuration.compose_file != BASE_FILE:
        return (VllmServer("vllm", "VLLM_"),)
    return (VllmServer("llm-vllm", "VLLM_"),) if configuration.starts("llm-vllm") else ()


def numbers_of(
    configuration: Configuration, option: str
) -> Iterator[tuple[VllmServer, str, int | None]]:
    """Each server with the variable and the number it is told, None where there is none."""
    for server in chat_servers(configuration):
        name, value = server.option(configuration, option)
        yield server, name, human_int(value)


def human_int(text: str) -> int | None:
    """As vLLM reads lengths: 8192, 8k (8000), 8K (8192), 25.6k; None for anything else."""
    found = _HUMAN.fullmatch(text.strip())
    if found is None:
        return None
    number, unit = found[1], found[2]
    if "." in number:
        return int(float(number) * int(_MULTIPLIERS[unit])) if unit.islower() else None
    return int(number) * int(_MULTIPLIERS[unit])


def whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]+", text.strip()) else None


def share(text: str) -> float | None:
    """A number from 0 to 1, None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number <= 1 else None

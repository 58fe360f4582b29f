"""Names that nothing reads."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.env_file import Assignment, EnvFile
from cli.doctor.findings import Finding
from cli.doctor.names import as_ascii, guess, has_our_prefix, is_foreign

# Read by the servers, but only where a container is given them, which ours are not.
_NOT_PASSED_ON = ("VLLM_", "OLLAMA_", "LLAMA_ARG_", "HF_", "QDRANT__", "CUDA_")


def check(file: EnvFile, configuration: Configuration) -> Iterator[Finding]:
    for found in file.values().values():
        if found.name in configuration.known or found.name == "CUDA_VISIBLE_DEVICES":
            continue
        yield from _unknown(file, found, configuration)


def _unknown(file: EnvFile, found: Assignment, configuration: Configuration) -> Iterator[Finding]:
    meant = guess(found.name, configuration.known)
    if meant is not None and meant.sure:
        taken = f", and {meant.name} is set beside it" if meant.name in file.values() else ""
        yield Finding(
            "error",
            "misspelt",
            f"{found.name} is set, but nothing reads it{_reason(found.name, meant.name)}. "
            f"Did you mean {meant.name}{taken}?",
            f"The value is ignored without a word and {meant.name} keeps its default.",
            f"{meant.name}={_as_address(found.raw) if meant.name == 'QDRANT_URL' else found.raw}",
            file.path,
            found.line,
        )
    elif has_our_prefix(found.name) or found.name.startswith(_NOT_PASSED_ON):
        if is_foreign(found.name):
            return
        hint = f" The nearest name is {meant.name}." if meant is not None else ""
        yield Finding(
            "warning",
            "unknown",
            f"{found.name} is set, but nothing reads it.{hint}",
            "The compose files hand it to no container, so it changes nothing.",
            found.written,
            file.path,
            found.line,
            "remove",
        )


def _as_address(host: str) -> str:
    """QDRANT_HOST names a host, QDRANT_URL an address."""
    return host if "//" in host else f"http://{host}" if ":" in host else f"http://{host}:6333"


def _reason(name: str, meant: str) -> str:
    if not name.isascii() and as_ascii(name).upper() == meant:
        return " (a letter in it is not a Latin one)"
    if name != name.upper() and name.upper() == meant:
        return " (names are in capitals)"
    return ""

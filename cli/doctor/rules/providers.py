"""What Ollama and the folders of the host want."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.servers import whole

_KEEP_ALIVE = re.compile(r"-?\d+|-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
_LARGE_WINDOW = 131_072


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _keep_alive(configuration)
    yield from _parallel(configuration)


def _keep_alive(configuration: Configuration) -> Iterator[Finding]:
    value = configuration.value("OLLAMA_KEEP_ALIVE")
    if not value or _KEEP_ALIVE.fullmatch(value):
        return
    number = re.search(r"\d+", value)
    unit = re.search(r"\d\s*([smhd])", value)
    count, letter = int(number[0]) if number else 5, unit[1] if unit else "m"
    mended = f"{count * 24}h" if letter == "d" else f"{count}{letter}"
    yield configuration.finding(
        "error",
        "bad_value",
        "OLLAMA_KEEP_ALIVE",
        f"OLLAMA_KEEP_ALIVE={value!r} is no duration (5m, 24h, 300 for seconds, -1 for ever).",
        "Ollama refuses every request that carries it.",
        f"OLLAMA_KEEP_ALIVE={mended if number else '-1'}",
    )


def _parallel(configuration: Configuration) -> Iterator[Finding]:
    if configuration.mode != "ollama" or configuration.settings is None:
        return
    parallel = whole(configuration.value("OLLAMA_NUM_PARALLEL")) or 1
    window = configuration.settings.llm_context_window
    if parallel > 1 and parallel * window > _LARGE_WINDOW:
        fits = max(1, _LARGE_WINDOW // window)
        yield configuration.finding(
            "warning",
            "cache_too_large",
            "OLLAMA_NUM_PARALLEL",
            f"OLLAMA_NUM_PARALLEL={parallel} x LLM_CONTEXT_WINDOW={window} is a cache of "
            f"{parallel * window} tokens.",
            "Ollama takes memory for all of them at once and moves layers to the CPU, or fails, "
            "where it is not there.",
            f"OLLAMA_NUM_PARALLEL={fits}",
        )


def folders(configuration: Configuration) -> Iterator[Finding]:
    """Those of this machine; not asked where the file is meant for another."""
    needed = ["DOCS_DIR"]
    if configuration.starts("llm-llamacpp"):
        needed.append("LLAMACPP_MODELS_DIR")
        yield from _model_file(configuration)
    for name in needed:
        value = configuration.value(name)
        if not value:
            continue
        path = Path(value).expanduser()
        path = path if path.is_absolute() else configuration.root / path
        # What our scripts download into is made by them.
        if path.is_dir() or (configuration.root / "data") in path.parents:
            continue
        what = "is not a folder" if path.exists() else "does not exist"
        yield configuration.finding(
            "error" if path.exists() else "warning",
            "folder_missing",
            name,
            f"{name}={value}: the folder {what}.",
            "Docker makes an empty folder that belongs to root in its place, and nothing is found "
            "in it.",
            f"mkdir -p {value}" if not path.exists() else f"{name}={Path(value).parent}",
            "run" if not path.exists() else "write",
        )


def _model_file(configuration: Configuration) -> Iterator[Finding]:
    folder = configuration.root / (configuration.value("LLAMACPP_MODELS_DIR") or "data/llamacpp")
    file = configuration.value("LLAMACPP_MODEL_FILE")
    there = sorted(path.name for path in folder.glob("*.gguf")) if folder.is_dir() else []
    if not file or not there or (folder / file).is_file():
        return
    near = difflib.get_close_matches(file, there, n=1, cutoff=0)
    yield configuration.finding(
        "error",
        "model_file",
        "LLAMACPP_MODEL_FILE",
        f"LLAMACPP_MODEL_FILE={file} is not in {folder} (there: {', '.join(there[:3])}).",
        "llama.cpp stops where it finds no file of that name.",
        f"LLAMACPP_MODEL_FILE={near[0] if near else there[0]}",
    )

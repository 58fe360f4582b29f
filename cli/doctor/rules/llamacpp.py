"""What our llama.cpp server is told: its file, its template, its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backend.core.deployment import BASE_FILE
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.services import mode_is_the_odd_one
from cli.doctor.servers import whole

_EXAMPLE_FILE = "Qwen3-8B-Q4_K_M.gguf"
GPU_FILE = "deploy/compose/gpu.yml"

# The compose file runs the server with --jinja. Of the built-in names (LLM_CHAT_TEMPLATES in
# llama.cpp's src/llama-chat.cpp) common_chat_templates_init knows only this one then, and takes
# all others for the text of a template.
_NAMED_TEMPLATE = "chatml"


def check(configuration: Configuration) -> Iterator[Finding]:
    if configuration.compose_file == BASE_FILE and configuration.starts("llm-llamacpp"):
        if configuration.mode == "llamacpp" and not mode_is_the_odd_one(configuration):
            yield from _file(configuration)
        yield from _template(configuration)
        yield from _layers(configuration)


def _template(configuration: Configuration) -> Iterator[Finding]:
    name = "LLAMACPP_CHAT_TEMPLATE"
    value = configuration.value(name).strip()
    if not value or value == _NAMED_TEMPLATE or "{{" in value or "{%" in value:
        return
    yield configuration.finding(
        "error",
        "chat_template",
        name,
        f"{name}={value} is neither {_NAMED_TEMPLATE} nor the text of a Jinja template.",
        f"llama.cpp takes the word for the template: every prompt becomes {value!r}, without the "
        "question. Left empty, the template inside the GGUF file is used: right for Qwen3 and "
        "nearly all others.",
        f"{name}=",
    )


def _layers(configuration: Configuration) -> Iterator[Finding]:
    name = "LLAMACPP_GPU_LAYERS"
    value = configuration.value(name)
    # In the preflight COMPOSE_FILE is that of the container.
    if configuration.in_compose or not value or whole(value) == 0:
        return
    listed = configuration.value("COMPOSE_FILE")
    chosen = " ".join([listed, *configuration.given_files]).replace("\\", "/")
    if "gpu.y" in chosen:
        return
    with_file = f"COMPOSE_FILE={listed or BASE_FILE}:{GPU_FILE}"
    yield configuration.finding(
        "warning",
        "layers_without_gpu",
        name,
        f"{name}={value}, but the container gets no GPU: {GPU_FILE} is not in COMPOSE_FILE.",
        f"The image for CPUs ignores the layers and the model runs on the CPU. For the GPU: "
        f"{with_file}",
        f"{name}=0" if listed else f"{with_file}\n{name}={value}",
    )


def _file(configuration: Configuration) -> Iterator[Finding]:
    name, file = "LLAMACPP_MODEL_FILE", configuration.value("LLAMACPP_MODEL_FILE")
    problem = _not_a_file(file)
    if problem is None:
        return
    what, mended = problem
    yield configuration.finding(
        "error",
        "model_file",
        name,
        f"{name}{f'={file}' if file else ''} {what}.",
        "llama.cpp loads one GGUF file out of LLAMACPP_MODELS_DIR and stops where it finds none.",
        f"{name}={mended}",
    )


def _not_a_file(file: str) -> tuple[str, str] | None:
    base = re.split(r"[/\\]", file)[-1]
    part = re.search(r"-(\d{5})-of-(\d{5})\.gguf$", file, re.IGNORECASE)
    found: tuple[str, str] | None = None
    if not file:
        found = "is not set", _EXAMPLE_FILE
    elif not file.lower().endswith(".gguf"):
        complete = re.search(r"Q\d|F16", base, re.IGNORECASE) is not None
        found = "is no GGUF file", f"{base}.gguf" if complete else _EXAMPLE_FILE
    elif "*" in file or "?" in file:
        found = "is a pattern", _EXAMPLE_FILE
    elif base != file and (file.startswith(("/", "~", ".")) or "\\" in file or ":" in file):
        found = "is a path, where the name of the file within LLAMACPP_MODELS_DIR belongs", base
    elif part is not None and int(part[1]) != 1:
        first = file.replace(f"-{part[1]}-of-", "-00001-of-")
        found = "is not the first part of a split file", first
    return found

"""What the containers cannot be given: names for folders, values that are fixed, missing parts of
the image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding

# The variables that stand before the colon of a volume, and those services that read them.
_FOLDERS = {
    "DOCS_DIR": ("backend",),
    "OLLAMA_MODELS_DIR": ("llm-ollama",),
    "VLLM_MODELS_DIR": ("llm-vllm", "vllm", "vllm-medium", "vllm-small"),
    "LLAMACPP_MODELS_DIR": ("llm-llamacpp",),
}
_OWN_VOLUMES = {"OLLAMA_MODELS_DIR": {"ollama-models"}}
_IS_PATH = re.compile(r"[./~]|[A-Za-z]:[\\/]|\\\\")

# In the containers of the backend and the gateway, and what to set instead.
_FIXED = {
    "PORT": ("8000", "BACKEND_PORT"),
    "HOST": ("0.0.0.0", "BIND_ADDRESS"),  # noqa: S104
    "DATA_DIR": ("/data", None),
    "MODELS_DIR": ("/data/models", None),
}
_PACKAGES = {
    "EMBED_PROVIDER": "sentence-transformers",
    "RERANK_PROVIDER": "cross-encoder",
}


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _folders(configuration)
    yield from _fixed(configuration)
    yield from _image_parts(configuration)


def _folders(configuration: Configuration) -> Iterator[Finding]:
    for name, services in _FOLDERS.items():
        value = configuration.value(name).strip()
        if not value or _IS_PATH.match(value) or value in _OWN_VOLUMES.get(name, ()):
            continue
        if not any(configuration.starts(service) for service in services):
            continue
        yield configuration.finding(
            "error",
            "folder_is_volume",
            name,
            f"{name}={value} is read as the name of a volume, since a path starts with ./ or /.",
            "docker compose stops: the service refers to an undefined or invalid volume.",
            f"{name}=./{PurePosixPath(value)}",
        )


def _fixed(configuration: Configuration) -> Iterator[Finding]:
    for name, (inside, instead) in _FIXED.items():
        value = configuration.value(name)
        if not value or value == inside or configuration.line(name) is None:
            continue
        better = {
            "PORT": f"The port on this machine is BACKEND_PORT; inside it stays {inside}.",
            "HOST": "Who may reach it is said by BIND_ADDRESS.",
        }.get(name, f"The container keeps its data in the volume mounted at {inside}.")
        fixed = instead and not configuration.value(instead)
        moved = fixed and not (name == "HOST" and not re.fullmatch(r"[\d.:]+", value))
        yield configuration.finding(
            "warning",
            "fixed_in_container",
            name,
            f"{name}={value} has no effect on the container, which has {name}={inside}.",
            better,
            f"{instead}={value}" if moved else f"{name}={value}",
            "write" if moved else "remove",
        )


def _image_parts(configuration: Configuration) -> Iterator[Finding]:
    extras = configuration.value("BACKEND_EXTRAS")
    # Another image is taken as it is.
    if configuration.value("BACKEND_IMAGE"):
        return
    if extras and not (configuration.root / "requirements" / f"{extras}.txt").is_file():
        yield configuration.finding(
            "error",
            "no_such_extras",
            "BACKEND_EXTRAS",
            f"BACKEND_EXTRAS={extras} names no lock file: there is no requirements/{extras}.txt.",
            "The image of the backend is not built.",
            "BACKEND_EXTRAS=gpu",
        )
        return
    for name, provider in _PACKAGES.items():
        if extras == "gpu" or configuration.value(name) != provider:
            continue
        place = "BACKEND_EXTRAS" if "BACKEND_EXTRAS" in configuration.entries else name
        keep = "" if place != name else f"{configuration.written(name)}\n"
        yield configuration.finding(
            "error",
            "package_missing",
            place,
            f"{name}={provider} needs sentence-transformers, which the small image of the backend "
            "does not have.",
            "The backend does not start. Build the larger image: docker compose up -d --build.",
            f"{keep}BACKEND_EXTRAS=gpu",
        )

"""The catalogue of chat models we can fetch and run ourselves (``config/local_models.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from backend.core.errors import ConfigurationError, NotFound


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on a model hub."""

    repository: str
    revision: str
    file: str


@dataclass(frozen=True, slots=True)
class PackagePart:
    """A stretch of the model's file, carried as ``member`` inside a Python package."""

    package: str
    version: str
    member: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LocalModel:
    """``sha256`` is what is trusted; where the bytes came from is not."""

    name: str
    title: str
    file_name: str
    size_bytes: int
    sha256: str
    license: str
    context_window: int  # tokens the model was trained for
    languages: tuple[str, ...]
    hub: HubFile | None
    packages: tuple[PackagePart, ...]

    @property
    def part_ends(self) -> tuple[int, ...]:
        """Offsets in the file where the packages' stretches end."""
        return tuple(accumulate(part.size_bytes for part in self.packages))


@dataclass(frozen=True, slots=True)
class Catalogue:
    default: str
    models: tuple[LocalModel, ...]

    def find(self, name: str | None = None) -> LocalModel:
        """The model of that name; without one the default.

        Raises:
            NotFound: names the models there are.
        """
        wanted = name or self.default
        for model in self.models:
            if model.name == wanted:
                return model
        names = ", ".join(model.name for model in self.models)
        raise NotFound(f"No local model is called {wanted!r}. There are: {names}.")


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue.

    Raises:
        ConfigurationError: the file is missing or wrong; the message says where.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        catalogue = Catalogue(raw["default"], tuple(_model(entry) for entry in raw["models"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            f"The model catalogue {path} cannot be read ({reason})."
        ) from error
    _check(catalogue, path)
    return catalogue


def model_path(models_dir: Path, model: LocalModel) -> Path:
    return models_dir / model.file_name


def is_present(models_dir: Path, model: LocalModel) -> bool:
    """Whether the whole file is there. The name alone vouches for the content: a file gets it
    only after its sha256 was checked."""
    path = model_path(models_dir, model)
    return path.is_file() and path.stat().st_size == model.size_bytes


def _model(entry: Mapping[str, Any]) -> LocalModel:
    fields = dict(entry)
    hub = fields.pop("hub")
    parts = fields.pop("packages")
    return LocalModel(
        **fields | {"languages": tuple(fields["languages"])},
        hub=HubFile(**hub) if hub else None,
        packages=tuple(PackagePart(**part) for part in parts),
    )


def _check(catalogue: Catalogue, path: Path) -> None:
    problems = [
        f"{model.name}: {problem}" for model in catalogue.models if (problem := _bad(model))
    ]
    if catalogue.default not in {model.name for model in catalogue.models}:
        problems.append(f"default: there is no model {catalogue.default!r}")
    if problems:
        raise ConfigurationError(f"The model catalogue {path} is wrong: {'; '.join(problems)}.")


def _bad(model: LocalModel) -> str | None:
    if len(model.sha256) != 64 or not set(model.sha256) <= set("0123456789abcdef"):
        return "sha256 must be 64 lower-case hexadecimal digits"
    if model.file_name != Path(model.file_name).name:
        return "file_name must be a name without folders"
    if model.packages and model.part_ends[-1] != model.size_bytes:
        return f"the packages hold {model.part_ends[-1]} bytes, size_bytes is {model.size_bytes}"
    if not model.packages and model.hub is None:
        return "needs a hub or packages to come from"
    return None

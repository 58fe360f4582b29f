"""Where the planner's models come from: the catalogue, a ``config.json``, a folder of weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from backend.core.errors import ConfigurationError
from backend.core.memory_catalogue import Found, PlanningCatalogue
from backend.core.memory_config import architecture
from backend.core.memory_weights import header_bytes

CATALOGUE = Path(__file__).parents[1] / "config" / "llm_models.json"

# The library itself refuses larger headers.
_LARGEST_HEADER_BYTES = 100_000_000


def find_model(name: str, catalogue: PlanningCatalogue) -> Found:
    """
    Raises:
        NotFound: neither a path nor in the catalogue.
        ConfigurationError: a path that cannot be used.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        if path.suffix == ".safetensors":
            return _from_folder(path.parent)
        return Found(architecture(_json(path), str(path)))
    if path.suffix == ".json" or name.startswith((".", "/", "~")):
        raise ConfigurationError(f"There is no file or folder {name}.")
    return catalogue.find(name)


def _from_folder(folder: Path) -> Found:
    config = folder / "config.json"
    if not config.is_file():
        raise ConfigurationError(f"{folder} has no config.json.")
    stored = _stored_bytes(folder)
    note = None if stored else f"{folder} has no safetensors: the weights are counted by config."
    return Found(architecture(_json(config), str(folder), stored), note)


def _stored_bytes(folder: Path) -> int | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        total = (_json(index).get("metadata") or {}).get("total_size")
        if isinstance(total, int) and total > 0:
            return total
    # "consolidated" holds the same weights once more, in Mistral's own form.
    files = [one for one in folder.glob("*.safetensors") if not one.name.startswith("consol")]
    files = files or list(folder.glob("*.safetensors"))
    return sum(header_bytes(_header(one), one.name) for one in files) or None


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 0 < length <= _LARGEST_HEADER_BYTES:
                raise ConfigurationError(f"{path} has no safetensors header.")
            return file.read(length)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(read, dict):
        raise ConfigurationError(f"{path} holds no JSON object.")
    return read

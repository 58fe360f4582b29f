"""Which env file ``docker compose up`` was given: inside a container only its values are seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cli.doctor.configuration import Configuration
from cli.doctor.env_file import EnvFile, read_env_file


def env_file_in_use(root: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """Its name and text. The file whose values are those of the process; ``.env``, which Compose
    takes by itself, where several are. Name ``.env`` and no text where none fits."""
    best, best_rank = (".env", ""), (0.0, False)
    for path in (root / ".env", *sorted(root.glob(".env.*")), root / "env.example"):
        text = _text(path)
        if not text:
            continue
        rank = (_agreement(read_env_file(path.name, text), environment), path.name == ".env")
        if rank > best_rank and rank[0] >= 0.5:
            best, best_rank = (path.name, text), rank
    return best


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _agreement(file: EnvFile, environment: Mapping[str, str]) -> float:
    """The share of its variables that the process has with the same value."""
    values = {name: found.value for name, found in file.values().items() if found.value}
    compared = [name for name in values if environment.get(name)]
    same = sum(values[name] == environment[name] for name in compared)
    return same / len(compared) if compared else 0.0


def needs_own_preflight(configuration: Configuration) -> bool:
    """Whether the model server of ``preflight_for`` is started by what the service preflight, which
    is always started, cannot see: a typed profile, or none at all."""
    return configuration.typed_profile or (
        not configuration.value("COMPOSE_PROFILES")
        and configuration.preflight_for != configuration.mode
    )

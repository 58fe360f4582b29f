"""From an env file, the compose file and, in the preflight, the environment to a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_settings import PydanticBaseSettingsSource

from backend.core.deployment import BASE_FILE, MIG_FILE, SLICE_VARIABLES, VLLM_FILE
from backend.core.errors import ConfigurationError
from backend.core.memory_catalogue import PlanningCatalogue, load_planning_catalogue
from backend.core.models import ModelCatalogue, load_model_catalogue
from backend.settings import LlmMode, Settings, known_variables
from cli.doctor.configuration import Configuration, Entry
from cli.doctor.env_file import Assignment, EnvFile, read_env_file
from cli.doctor.names import guess

Kind = TypeVar("Kind")

_FILES = (BASE_FILE, VLLM_FILE, MIG_FILE)
_MODES: tuple[str, ...] = get_args(LlmMode)
_REFERENCE = re.compile(r"(?<!\$)\$\{?([A-Z][A-Z0-9_]*)(?::?-([^${}]*)\})?")


class OnlyThese(Settings):
    """Settings from the values given, and from nowhere else."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[Settings],  # type: ignore[override]
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Loaded:
    """``problem`` is why the settings cannot be loaded, None where they can."""

    file: EnvFile
    configuration: Configuration
    problem: ValidationError | None


@dataclass(frozen=True, slots=True)
class Source:
    """Where to read. ``environment`` is that of the process; it counts for values only where
    ``with_environment``, and then it wins over the file, as it does in Compose. ``preflight_for``
    is the profile whose model server waits for the answer."""

    env_file: str
    text: str
    root: Path
    compose_files: Sequence[str]
    environment: Mapping[str, str]
    with_environment: bool = False
    in_compose: bool = False
    preflight_for: str = ""


def load(source: Source) -> Loaded:
    shell = source.environment if source.with_environment else {}
    file = read_env_file(source.env_file, source.text, shell)
    compose = compose_texts(source.root)
    known = known_variables() | referenced(compose)
    entries = _entries(source, file, known)
    chosen = _compose_file(source.compose_files, entries)
    mode = _mode(chosen, entries)
    settings, problem = load_settings_of(entries, mode, chosen)
    profiles = _profiles(entries)
    # Compose drops COMPOSE_PROFILES where a profile is typed.
    typed = bool(source.preflight_for) and not (
        source.preflight_for in profiles or (source.preflight_for == "ollama" and not profiles)
    )
    configuration = Configuration(
        entries=entries,
        env_file=source.env_file,
        root=source.root,
        compose_file=chosen,
        profiles=frozenset({source.preflight_for}) if typed else profiles,
        mode=mode,
        settings=settings,
        catalogue=_catalogue(source.root, load_model_catalogue, ModelCatalogue(())),
        defaults=_defaults(compose, chosen),
        known=known,
        shell=frozenset(name for name, value in source.environment.items() if value),
        in_compose=source.in_compose,
        given_files=tuple(source.compose_files),
        preflight_for=source.preflight_for,
        typed_profile=typed,
        planning=_catalogue(source.root, load_planning_catalogue, PlanningCatalogue(())),
    )
    return Loaded(file, configuration, problem)


def compose_texts(root: Path) -> dict[str, str]:
    """Our compose files by name, the parts they include last."""
    paths = [root / name for name in _FILES] + sorted((root / "deploy" / "compose").glob("*.y*ml"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def referenced(compose: Mapping[str, str]) -> frozenset[str]:
    return frozenset(found[1] for text in compose.values() for found in _REFERENCE.finditer(text))


def _defaults(compose: Mapping[str, str], chosen: str) -> dict[str, str]:
    """What the compose files write where a variable is unset; the chosen file's word counts."""
    found: dict[str, str] = {}
    for name in sorted(compose, key=lambda name: name != chosen):
        for match in _REFERENCE.finditer(compose[name]):
            if match[2] is not None:
                found.setdefault(match[1], match[2])
    return found


def _entries(source: Source, file: EnvFile, known: frozenset[str]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for found in file.values().values():
        if found.value is not None:
            origin = _copied_from(found, entries)
            entries[found.name] = Entry(found.name, found.value, file.path, found.line, origin)
    for name in sorted(set(entries) - known):
        meant = guess(name, known)
        # The rules after the one on names judge what was meant, so that one slip is one finding.
        if meant is not None and meant.sure and meant.name not in entries:
            entries[meant.name] = Entry(
                meant.name, entries[name].value, file.path, entries[name].line
            )
    if source.with_environment:
        for name in known & set(source.environment):
            value = source.environment[name]
            before = entries.get(name)
            if before is None or before.value != value:
                entries[name] = Entry(name, value, None, None)
    return entries


def _copied_from(found: Assignment, entries: Mapping[str, Entry]) -> str | None:
    if not found.value or found.quote == "'" or not found.raw.strip('"').startswith("$"):
        return None
    for name in re.findall(r"\$\{?([A-Za-z_]\w*)", found.raw):
        if name != found.name and name in entries and entries[name].value == found.value:
            return str(name)
    return None


def _compose_file(given: Sequence[str], entries: Mapping[str, Entry]) -> str:
    """By ``-f``, by COMPOSE_FILE, or by what the variables are of."""
    listed = (
        entries["COMPOSE_FILE"].value.replace(";", ":").split(":")
        if "COMPOSE_FILE" in entries
        else []
    )
    for name in reversed([Path(path).name for path in (given or listed)]):
        if name in _FILES:
            return name
    sliced = any(name in SLICE_VARIABLES for name in entries)
    return MIG_FILE if sliced and not given else BASE_FILE


def _mode(compose_file: str, entries: Mapping[str, Entry]) -> LlmMode:
    """The vLLM files say LLM_MODE themselves; the base file's default is Ollama."""
    if compose_file in {VLLM_FILE, MIG_FILE}:
        return "vllm"
    for name in ("LLM_MODE", "LLM_BACKEND"):
        value = entries[name].value.strip() if name in entries else ""
        if value:
            near = [mode for mode in _MODES if mode == value.lower().replace(".", "")]
            chosen = [mode for mode in _MODES if mode in _profiles(entries)]
            return (near or [*chosen, "ollama"])[0]  # type: ignore[return-value]
    return "ollama"


def _profiles(entries: Mapping[str, Entry]) -> frozenset[str]:
    value = entries["COMPOSE_PROFILES"].value if "COMPOSE_PROFILES" in entries else ""
    return frozenset(part.strip() for part in value.split(",") if part.strip())


def load_settings_of(
    entries: Mapping[str, Entry], mode: LlmMode, compose_file: str
) -> tuple[Settings | None, ValidationError | None]:
    set_ones = {name: entry.value for name, entry in entries.items() if entry.value}
    values: dict[str, Any] = {}
    for field, info in Settings.model_fields.items():
        key = str(info.validation_alias or field)
        if key.upper() in set_ones:
            values[key] = set_ones[key.upper()]
    _fill_in(values, set_ones, mode, compose_file)
    try:
        return OnlyThese(**values), None
    except ValidationError as error:
        return None, error


def _fill_in(
    values: dict[str, Any], set_ones: Mapping[str, str], mode: LlmMode, compose_file: str
) -> None:
    """What the compose files give the backend where the env file says nothing."""
    if compose_file != BASE_FILE:
        values["llm_mode"] = mode
    values.setdefault("llm_mode", mode)
    if mode == "ollama":
        values.setdefault("ollama_model", set_ones.get("LLM_MODEL", "qwen3:8b"))
    if compose_file == MIG_FILE:
        medium = ("VLLM_MEDIUM_SERVED_NAME", "VLLM_MEDIUM_MODEL", "SERVED_MODEL_NAME", "VLLM_MODEL")
        _first(values, "llm_model", set_ones, medium)
        _first(values, "llm_small_model", set_ones, ("VLLM_SMALL_SERVED_NAME", "VLLM_SMALL_MODEL"))
        if "llm_small_model" in values:
            values.setdefault("llm_small_url", "http://vllm-small:8002/v1")


def _first(
    values: dict[str, Any], field: str, set_ones: Mapping[str, str], names: Sequence[str]
) -> None:
    for name in names:
        if name in set_ones:
            values.setdefault(field, set_ones[name])


def _catalogue(root: Path, read: Callable[[Path], Kind], nothing: Kind) -> Kind:
    for folder in (root, Path(__file__).parents[2]):
        if (folder / "config" / "llm_models.json").is_file():
            try:
                return read(folder / "config" / "llm_models.json")
            except ConfigurationError:
                continue
    return nothing

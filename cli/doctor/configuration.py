"""Everything the rules look at: values with their place, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.core.deployment import Service, started
from backend.core.errors import NotFound
from backend.core.memory_catalogue import PlanningCatalogue
from backend.core.memory_model import Architecture
from backend.core.models import ModelCatalogue
from backend.settings import LlmMode, Settings
from cli.doctor.findings import Action, Finding, Severity


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable as it takes effect. ``file`` and ``line`` are None where it comes from the
    environment of the process and no line of the file names it. ``copied_from`` is the variable
    that its line only repeats: LLM_MODEL=${VLLM_MODEL}."""

    name: str
    value: str
    file: str | None
    line: int | None
    copied_from: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """``entries`` holds the variables that are set, empty ones included.

    ``compose_file`` is one of the three of ``backend.core.deployment``. ``mode`` is the chat model
    server the backend will ask. ``settings`` is None where they cannot be loaded. ``defaults`` are
    what the compose files write for variables that are unset; ``known`` the names anything reads.
    ``shell`` names what the process environment sets beside the file; ``in_compose``: we run in
    the preflight, which is started for the server of the profile ``preflight_for``;
    ``typed_profile``: that profile is none of COMPOSE_PROFILES. ``given_files``: the compose files
    of the command line.
    """

    entries: Mapping[str, Entry]
    env_file: str
    root: Path
    compose_file: str
    profiles: frozenset[str]
    mode: LlmMode
    settings: Settings | None
    catalogue: ModelCatalogue
    defaults: Mapping[str, str] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    shell: frozenset[str] = frozenset()
    in_compose: bool = False
    given_files: tuple[str, ...] = ()
    preflight_for: str = ""
    typed_profile: bool = False
    planning: PlanningCatalogue = field(default_factory=lambda: PlanningCatalogue(()))

    def architecture(self, model: str) -> Architecture | None:
        """Of a model in the catalogue; names that only resemble one count as unknown."""
        try:
            found = self.planning.find(model) if model else None
        except NotFound:
            return None
        return found.model if found is not None and found.note is None else None

    @property
    def started(self) -> tuple[Service, ...]:
        """The services ``docker compose up`` starts."""
        return started(self.compose_file, self.profiles)

    def starts(self, name: str) -> bool:
        return any(service.name == name for service in self.started)

    def value(self, name: str, default: str = "") -> str:
        """As set; empty counts as unset, as it does in the compose files."""
        entry = self.entries.get(name)
        return entry.value if entry is not None and entry.value else default

    def effective(self, name: str) -> str:
        """As set, or as the compose files have it."""
        return self.value(name) or self.defaults.get(name, "")

    def first(self, *names: str) -> tuple[str, str]:
        """The first of ``names`` that is set, with its value; the last with "" where none is."""
        for name in names:
            if value := self.value(name):
                return name, value
        return names[-1], ""

    def line(self, name: str) -> int | None:
        entry = self.entries.get(name)
        return entry.line if entry is not None else None

    def written(self, name: str) -> str:
        """The line as it could stand in the file; secrets stay hidden."""
        hidden = name.endswith(("_KEY", "_TOKEN", "_PASSWORD"))
        return f"{name}={'…' if hidden else self.value(name)}"

    def port(self, service: Service) -> int | None:
        """On the host; None where the service publishes none or the value is no number."""
        if service.port_variable is None:
            return None
        text = self.effective(service.port_variable) or str(service.default_port)
        return int(text) if text.isascii() and text.isdigit() else None

    def beside(
        self,
        neighbour: str,
        severity: Severity,
        code: str,
        name: str,
        what: str,
        why: str,
        fix: str,
    ) -> Finding:
        """At the line of ``name``; where there is none, at that of ``neighbour``, below which the
        missing line goes."""
        if self.line(name) is None and self.line(neighbour) is not None:
            return self.finding(
                severity, code, neighbour, what, why, f"{self.written(neighbour)}\n{fix}"
            )
        return self.finding(severity, code, name, what, why, fix)

    def finding(
        self,
        severity: Severity,
        code: str,
        name: str,
        what: str,
        why: str,
        fix: str,
        action: Action = "write",
    ) -> Finding:
        """At the line where the value of ``name`` is written, or at the file where none is."""
        entry = self.entries.get(name)
        if entry is not None and entry.copied_from and fix.startswith(f"{name}="):
            origin = entry.copied_from
            return self.finding(
                severity, code, origin, what, why, origin + fix[len(name) :], action
            )
        file = entry.file if entry is not None and entry.file else self.env_file
        return Finding(severity, code, what, why, fix, file, self.line(name), action)

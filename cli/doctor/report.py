"""The findings on the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.text import Text

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.terminal import plain

_STYLES = {"error": "bold red", "warning": "bold yellow"}
_DO = {"write": "write", "remove": "remove", "run": "run"}


@dataclass(frozen=True, slots=True)
class Report:
    """``checked`` says what was looked at, ``notes`` what could not be; a line each."""

    findings: Sequence[Finding]
    checked: str
    notes: Sequence[str] = ()

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors

    def exit_code(self, *, in_compose: bool = False) -> int:
        """0 nothing wrong, 1 warnings only, 2 errors; in the preflight warnings stop nothing."""
        if self.errors:
            return 2
        return 1 if self.warnings and not in_compose else 0


def checked(configuration: Configuration) -> str:
    services = ", ".join(service.name for service in configuration.started)
    return f"{configuration.env_file} with {configuration.compose_file}: starts {services}"


def show(report: Report, console: Console) -> None:
    console.print(Text(plain(report.checked)), soft_wrap=True)
    for finding in report.findings:
        console.print()
        _show(finding, console)
    console.print()
    for note in report.notes:
        console.print(Text(f"not checked: {plain(note)}", style="dim"), soft_wrap=True)
    console.print(_sum(report), soft_wrap=True)


def _show(finding: Finding, console: Console) -> None:
    head = Text(finding.severity.upper(), style=_STYLES[finding.severity])
    head.append(f" {finding.place}" if finding.place else "", style="bold")
    head.append(f" [{finding.code}]", style="dim")
    console.print(head, soft_wrap=True)
    console.print(Text(f"  {plain(finding.what)}"), soft_wrap=True)
    console.print(Text(f"  {plain(finding.why)}"), soft_wrap=True)
    for index, line in enumerate(plain(finding.fix).split("\n")):
        label = f"  {_DO[finding.action]}: " if index == 0 else " " * (len(finding.action) + 4)
        console.print(Text(label).append(line, style="green"), soft_wrap=True)


def _sum(report: Report) -> Text:
    if not report.findings:
        return Text("Nothing wrong found.", style="green")
    parts = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((report.errors, "error"), (report.warnings, "warning"))
        if count
    ]
    end = " It will not work like this." if report.errors else " It can start."
    return Text(f"{' and '.join(parts)}.{end}")


def as_json(report: Report) -> str:
    body = {
        "checked": report.checked,
        "errors": report.errors,
        "warnings": report.warnings,
        "not_checked": list(report.notes),
        "findings": [asdict(finding) for finding in report.findings],
    }
    return json.dumps(body, ensure_ascii=False, indent=2)

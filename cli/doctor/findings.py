"""What the doctor says: one thing that is off, why it matters later, and the line to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# ``write``: put ``fix`` in the place of the line (or at the end of the file where there is none);
# ``remove``: take the line out; ``run``: ``fix`` is a command for the terminal.
Action = Literal["write", "remove", "run"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` is the exact text of the line or lines to write, or the command to run.

    ``line`` counts from 1 and is None where ``file`` has no such line yet; ``file`` is None where
    no file is at fault.
    """

    severity: Severity
    code: str
    what: str
    why: str
    fix: str
    file: str | None = None
    line: int | None = None
    action: Action = "write"

    @property
    def place(self) -> str:
        if self.file is None:
            return ""
        return self.file if self.line is None else f"{self.file}:{self.line}"

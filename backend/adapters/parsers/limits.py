"""What one file may cost, and the environment variable an operator changes for each limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_TEXT_CHARS: Final = "INGEST_MAX_TEXT_CHARS"
MAX_UNPACKED_BYTES: Final = "INGEST_MAX_UNPACKED_BYTES"
MAX_PAGES: Final = "INGEST_MAX_PAGES"
MAX_CELLS: Final = "INGEST_MAX_CELLS"
TIMEOUT: Final = "INGEST_TIMEOUT"
MEMORY_BYTES: Final = "INGEST_MEMORY_BYTES"


@dataclass(frozen=True, slots=True)
class ParserLimits:
    timeout_s: float = 120.0
    memory_bytes: int = 2 * 1024**3  # address space of one worker
    max_text_chars: int = 20_000_000
    max_unpacked_bytes: int = 512 * 1024**2  # of the archive that a DOCX or XLSX is
    max_pages: int = 10_000
    max_cells: int = 5_000_000  # cells with a value, over all sheets

"""CSV: a header and rows, whatever the delimiter."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from backend.adapters.parsers.limits import MAX_CELLS, ParserLimits
from backend.adapters.parsers.plain_text import read_text
from backend.adapters.parsers.tables import table_lines
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.errors import TooLarge
from backend.core.types import ParsedDocument

_DELIMITERS = (";", ",", "\t", "|")
_SAMPLE_CHARS = 100_000
_SAMPLE_ROWS = 50


def parse_csv(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    decoded = read_text(path, limits)
    builder = TextBuilder(limits)
    if decoded.warning:
        builder.warn(decoded.warning)
    csv.field_size_limit(limits.max_text_chars)
    text = decoded.text
    delimiter = _declared_delimiter(text)
    if delimiter:
        text = text.partition("\n")[2]
    delimiter = delimiter or sniff_delimiter(text)
    rows: list[list[str]] = []
    cells = 0
    # NUL has been refused before; strict=False reads a stray quote as a character.
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        cells += len(row)
        if cells > limits.max_cells:
            raise TooLarge(
                f"The table has more than {limits.max_cells} cells; "
                f"split the file or raise {MAX_CELLS}.",
                setting=MAX_CELLS,
                limit=limits.max_cells,
            )
        rows.append(row)
    for line in table_lines(rows):
        builder.add(line)
    return builder.build("csv")


def _declared_delimiter(text: str) -> str | None:
    """Excel's own first line: ``sep=;``."""
    first = text.partition("\n")[0].strip()
    if len(first) == 5 and first.lower().startswith("sep="):
        return first[4]
    return None


def sniff_delimiter(text: str) -> str:
    """The delimiter that cuts most rows into the same number of columns, more than one.

    ``csv.Sniffer`` is not used: it takes letters for delimiters in tables of prose.
    """
    sample = text[:_SAMPLE_CHARS]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        rows = []
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            rows.append(len(row))
            if len(rows) == _SAMPLE_ROWS:
                break
        widths = [width for width in rows if width]
        common = max(set(widths), key=widths.count, default=0)
        if common < 2:
            continue
        score = widths.count(common) / len(widths) + min(common, 20) / 1000
        if score > best_score:
            best, best_score = delimiter, score
    return best

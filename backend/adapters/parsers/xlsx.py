"""XLSX: every sheet a section, every row a line that can be understood alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from backend.adapters.parsers.archive import check_archive, open_archive
from backend.adapters.parsers.limits import MAX_CELLS, ParserLimits
from backend.adapters.parsers.tables import table_lines
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.errors import TooLarge
from backend.core.types import ParsedDocument

_FORMULA_WITHOUT_VALUE = re.compile(
    rb"</(?:\w+:)?f>\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)


def parse_xlsx(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    with open_archive(path) as archive:
        check_archive(archive, limits)
        uncomputed = sum(
            len(_FORMULA_WITHOUT_VALUE.findall(archive.read(entry)))
            for entry in archive.namelist()
            if entry.startswith("xl/worksheets/") and entry.endswith(".xml")
        )
    import openpyxl

    builder = TextBuilder(limits)
    # By an open file: given a path, openpyxl judges it by its suffix, and ours has none.
    with (
        path.open("rb") as file,
        closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as workbook,
    ):
        cells = 0
        for sheet in workbook.worksheets:
            rows = []
            for row in _rows(sheet):
                cells += sum(1 for value in row if value)
                if cells > limits.max_cells:
                    raise _too_many_cells(limits)
                rows.append(row)
            _add_sheet(builder, sheet.title, rows)
        title = workbook.properties.title
    if uncomputed:
        builder.warn(
            f"{uncomputed} formulas have no computed value and were left out; "
            "open the file in a spreadsheet program and save it."
        )
    return builder.build("xlsx", title)


def _rows(sheet: Any) -> Iterator[list[str]]:
    # The dimensions a file declares can be wrong: too small loses cells.
    sheet.reset_dimensions()
    for row in sheet.iter_rows():
        values = [_text(cell) for cell in row]
        while values and not values[-1]:
            values.pop()
        yield values


def _add_sheet(builder: TextBuilder, title: str, rows: list[list[str]]) -> None:
    if not any(rows):
        return
    builder.heading(1, title)
    for line in table_lines(rows):
        builder.add(line)


def _text(cell: Any) -> str:
    """A value as a person reads it; dates in ISO form."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime | date | time):
        return _iso(value)
    if isinstance(value, int | float):
        percent = "%" in str(cell.number_format or "")
        return f"{value * 100:.12g}%" if percent else f"{value:.15g}"
    return str(value)


def _iso(value: datetime | date | time) -> str:
    """A day alone where the time is midnight: Excel has no other way to say a day."""
    if isinstance(value, datetime):
        midnight = value.time() == time(0, 0)
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    return value.isoformat()


def _too_many_cells(limits: ParserLimits) -> TooLarge:
    return TooLarge(
        f"The workbook has more than {limits.max_cells} cells; split it or raise {MAX_CELLS}.",
        setting=MAX_CELLS,
        limit=limits.max_cells,
    )

"""Rows of a table to lines that can be understood alone: ``Header: value; Header: value``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

Row = Sequence[str]

_NUMBER = re.compile(r"[-+]?[\d\s.,%:/€$₽-]*\d[\d\s.,%:/€$₽-]*")
_HEADER_CHARS = 80


def row_line(values: Row, header: Row | None) -> str:
    """One row; empty cells are left out, a value without a header stands alone."""
    parts = []
    for index, raw in enumerate(values):
        value = one_line(raw)
        if not value:
            continue
        name = one_line(header[index]) if header and index < len(header) else ""
        parts.append(f"{name.rstrip(':')}: {value}" if name and name != value else value)
    return "; ".join(parts)


def one_line(value: str) -> str:
    return " ".join(value.split())


def is_number(value: str) -> bool:
    """A number, a date or a time: what a header's cell is not."""
    return bool(_NUMBER.fullmatch(value.strip()))


def looks_like_header(row: Row, below: Sequence[Row]) -> bool:
    """Short, distinct words in every column that the rows below use."""
    names = [one_line(value) for value in row]
    filled = [name for name in names if name]
    if len(filled) < 2 or not below or len(set(filled)) != len(filled):
        return False
    if any(is_number(name) or len(name) > _HEADER_CHARS for name in filled):
        return False
    width = max((_width(values) for values in below[:20]), default=0)
    return len(filled) >= 2 and _width(names) >= width * 0.6 and len(filled) >= width * 0.6


def table_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of a table as a sheet holds it: lines of text, a header, rows, perhaps again.

    Rows before the first header become plain lines. After an empty row a new header is
    taken only where its column's type changes below it, so that names after a gap do not
    become headers.
    """
    listed = list(rows)
    header: Row | None = None
    after_gap = True
    for index, row in enumerate(listed):
        if not any(value.strip() for value in row):
            after_gap = True
            continue
        if after_gap or header is None:
            below = [r for r in listed[index + 1 : index + 21] if any(v.strip() for v in r)]
            starts = header is None or _type_changes(row, below)
            if starts and looks_like_header(row, below):
                header, after_gap = row, False
                yield " | ".join(one_line(value) for value in row if value.strip())
                continue
        yield row_line(row, header)
        after_gap = False


def matrix_lines(rows: Sequence[Row], *, header_marked: bool = False) -> Iterator[str]:
    """Lines of a table in a text, which has its header in the first row or none.

    Two columns without a marked header are a list of ``name: value`` in either reading.
    """
    columns = max((len(row) for row in rows), default=0)
    has_header = len(rows) > 1 and (
        header_marked or (columns > 2 and looks_like_header(rows[0], rows[1:]))
    )
    for index, row in enumerate(rows):
        if has_header and index == 0:
            yield " | ".join(one_line(value) for value in row if value.strip())
        elif not has_header and columns == 2 and len(row) == 2 and all(row):
            yield f"{one_line(row[0]).rstrip(':')}: {one_line(row[1])}"
        else:
            yield row_line(row, rows[0] if has_header else None)


def _type_changes(row: Row, below: Sequence[Row]) -> bool:
    return bool(below) and any(
        value.strip() and index < len(below[0]) and is_number(below[0][index])
        for index, value in enumerate(row)
    )


def _width(row: Row) -> int:
    return max((index + 1 for index, value in enumerate(row) if value.strip()), default=0)

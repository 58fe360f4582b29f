"""Builds the small files that the parser tests read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from docx import Document
from docx.document import Document as DocxDocument
from openpyxl import Workbook
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
CONTENT_TYPES = "[Content_Types].xml"


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def pdf(
    path: Path,
    pages: Sequence[Sequence[str]],
    *,
    outline: Sequence[tuple[str, int, int]] = (),
    user_password: str | None = None,
    scanned_pages: Sequence[int] = (),
    compressed: bool = True,
) -> Path:
    """Lines of each page; ``outline`` holds title, level and page, both from 0."""
    encrypt = None
    if user_password is not None:
        encrypt = StandardEncryption(user_password, ownerPassword="owner", canCopy=1)
    canvas = Canvas(str(path), encrypt=encrypt, pageCompression=int(compressed))
    for number, lines in enumerate(pages):
        for title, level, on_page in outline:
            if on_page == number:
                canvas.bookmarkPage(title)
                canvas.addOutlineEntry(title, title, level)
        if number in scanned_pages:
            canvas.drawImage(ImageReader(Image.new("L", (60, 80), 200)), 0, 0, 596, 842)
        for row, line in enumerate(lines):
            canvas.drawString(50, 780 - 16 * row, line)
        canvas.showPage()
    canvas.save()
    return path


def docx(path: Path, fill: Callable[[DocxDocument], None]) -> Path:
    document = Document()
    fill(document)
    document.save(str(path))
    return path


def table(document: DocxDocument, rows: Sequence[Sequence[str]]) -> None:
    made = document.add_table(rows=len(rows), cols=len(rows[0]))
    for row, values in zip(made.rows, rows, strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value


def xlsx(path: Path, sheets: dict[str, Sequence[Sequence[object]]]) -> Path:
    workbook = Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    workbook.save(path)
    return path


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return path


def with_part(source: Path, part: str, change: Callable[[bytes], bytes]) -> Path:
    """Rewrite one part of an Office file in place."""
    packed = io.BytesIO(source.read_bytes())
    with zipfile.ZipFile(packed) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    entries[part] = change(entries.get(part, b""))
    return archive(source, entries)

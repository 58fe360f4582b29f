"""What a file is: by its first bytes, then by its suffix."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path, PurePosixPath

from backend.adapters.parsers.archive import open_archive
from backend.adapters.parsers.decoding import looks_binary
from backend.core.errors import UnreadableDocument, UnsupportedDocument

SUPPORTED = "txt, md, pdf, docx, html, csv, xlsx"


class Kind(StrEnum):
    TEXT = "txt"
    MARKDOWN = "md"
    PDF = "pdf"
    DOCX = "docx"
    HTML = "html"
    CSV = "csv"
    XLSX = "xlsx"


_SUFFIXES = {
    ".txt": Kind.TEXT,
    ".text": Kind.TEXT,
    ".log": Kind.TEXT,
    ".md": Kind.MARKDOWN,
    ".markdown": Kind.MARKDOWN,
    ".pdf": Kind.PDF,
    ".docx": Kind.DOCX,
    ".docm": Kind.DOCX,
    ".dotx": Kind.DOCX,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
    ".xhtml": Kind.HTML,
    ".csv": Kind.CSV,
    ".tsv": Kind.CSV,
    ".xlsx": Kind.XLSX,
    ".xlsm": Kind.XLSX,
}
_BINARY_KINDS = {Kind.PDF, Kind.DOCX, Kind.XLSX}
# Text by its bytes, but markup whose words cannot be had without a parser of its own.
_OTHER_TEXT_SUFFIXES = frozenset(
    {".eml", ".mht", ".mhtml", ".rtf", ".svg", ".fb2", ".ps", ".eps", ".ipynb", ".doc", ".xls"}
)
_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript file"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
    (b"ID3", "an audio file"),
    (b"OggS", "an audio file"),
    (b"AT&TFORM", "a DjVu document"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HEAD_BYTES = 8192
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html[\s>])",
    re.IGNORECASE | re.DOTALL,
)


def suffix_of(name: str) -> str:
    """The suffix of a name that nothing else is done with: it is never opened as a path."""
    return PurePosixPath(name.replace("\\", "/")[-300:]).suffix.lower()


def detect(path: Path, name: str) -> tuple[Kind, str | None]:
    """What to parse the file as, and a warning where its name says something else.

    Raises:
        UnsupportedDocument: no parser for this content.
        UnreadableDocument: empty, encrypted, or not at all what its name says.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip() and path.stat().st_size <= _HEAD_BYTES:
        raise UnreadableDocument("The file is empty.", reason="empty")
    suffix = suffix_of(name)
    named = _SUFFIXES.get(suffix)
    kind = _by_content(path, head, named) or _by_name(head, suffix, named)
    if named is None and suffix:
        return kind, f"The name ends in {suffix[:16]}; the file was read as {kind}."
    if named is not None and named != kind:
        return kind, f"The name ends in {suffix}, but the content is {kind}; it was read as {kind}."
    return kind, None


def _by_content(path: Path, head: bytes, named: Kind | None) -> Kind | None:
    if head.lstrip().startswith(b"%PDF-") or (named is Kind.PDF and b"%PDF-" in head[:1024]):
        return Kind.PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _inside_zip(path)
    if head.startswith(_OLE):
        raise _refuse_ole(path)
    for magic, what in _MAGIC:
        if head.startswith(magic) and (len(magic) > 2 or looks_binary(head)):
            raise _unsupported(what)
    if _HTML.match(head):
        return Kind.HTML
    return None


def _by_name(head: bytes, suffix: str, named: Kind | None) -> Kind:
    if looks_binary(head):
        raise UnsupportedDocument(
            f"The file is binary data of an unknown kind. Supported: {SUPPORTED}."
        )
    if named in _BINARY_KINDS:
        raise UnreadableDocument(
            f"The name ends in {suffix}, but the content is not {named}.", reason="corrupt"
        )
    if suffix in _OTHER_TEXT_SUFFIXES:
        raise _unsupported(f"a {suffix[1:].upper()} file")
    return named or Kind.TEXT


def _inside_zip(path: Path) -> Kind:
    with open_archive(path) as archive:
        names = set(archive.namelist())
        if "[Content_Types].xml" in names:
            if any(name.startswith("word/") for name in names):
                return Kind.DOCX
            if any(name.startswith("xl/") for name in names):
                if "xl/workbook.bin" in names:
                    raise _unsupported("a binary Excel workbook (xlsb)", "save it as XLSX")
                return Kind.XLSX
            if any(name.startswith("ppt/") for name in names):
                raise _unsupported("a PowerPoint presentation", "save it as PDF")
        if "mimetype" in names:
            with archive.open("mimetype") as entry:
                kind = entry.read(100).decode("ascii", "replace")
            if kind.startswith("application/vnd.oasis.opendocument"):
                raise _unsupported("an OpenDocument file", "save it as DOCX, XLSX or PDF")
            if kind.startswith("application/epub"):
                raise _unsupported("an EPUB book")
    raise _unsupported("a ZIP archive", "unpack it first")


def _refuse_ole(path: Path) -> UnsupportedDocument | UnreadableDocument:
    """OLE is the container of old Office files, and of new ones with a password."""
    directory = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in directory:
        return UnreadableDocument(
            "The Office file is protected by a password; save it without one.",
            reason="encrypted",
        )
    return _unsupported(
        "a file of Office 97–2003 (doc, xls, ppt) or Outlook (msg)", "save it as DOCX, XLSX or PDF"
    )


def _unsupported(what: str, advice: str = "") -> UnsupportedDocument:
    hint = f"; {advice}" if advice else ""
    return UnsupportedDocument(
        f"The file is {what}, which is not supported{hint}. Supported: {SUPPORTED}."
    )

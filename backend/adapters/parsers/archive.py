"""Looks into a ZIP before a library unpacks it: bombs and entities stop here."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.adapters.parsers.limits import MAX_UNPACKED_BYTES, ParserLimits
from backend.core.errors import TooLarge, UnreadableDocument

_MAX_ENTRIES = 20_000
# Office's own XML packs to 1/10, in sheets of equal rows to 1/60; deflate's best is 1/1032.
_MAX_RATIO = 200
_RATIO_MATTERS_BYTES = 5_000_000
_DTD_HEAD_BYTES = 65_536
_DTD_MARKS = ("<!DOCTYPE", "<!ENTITY")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises ``UnreadableDocument`` (corrupt) where it is not a whole ZIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except NotImplementedError as error:
        raise UnreadableDocument(
            "The archive is packed in a way that is not supported, or damaged.", reason="corrupt"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        # The last two are what zipfile makes of a damaged directory (offsets, names).
        raise UnreadableDocument(
            "The file is a damaged archive; it was probably cut off while being copied.",
            reason="corrupt",
        ) from error


def check_archive(archive: zipfile.ZipFile, limits: ParserLimits) -> None:
    """Refuse an archive that would unpack to too much, or whose XML declares entities.

    The declared sizes can be trusted as bounds: ``zipfile`` reads no further than them.

    Raises:
        UnreadableDocument: a bomb or a document type declaration (unsafe), a password
            (encrypted).
        TooLarge: honest, but over the configured limit.
    """
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise _unsafe(f"The archive holds {len(entries)} entries; documents hold a few hundred.")
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise UnreadableDocument("The archive is protected by a password.", reason="encrypted")
    total = sum(entry.file_size for entry in entries)
    for entry in entries:
        ratio = entry.file_size / max(entry.compress_size, 1)
        if entry.file_size > _RATIO_MATTERS_BYTES and ratio > _MAX_RATIO:
            raise _unsafe(
                f"Part of the archive unpacks to {ratio:.0f} times its size: "
                "it looks like a zip bomb."
            )
    packed = sum(entry.compress_size for entry in entries)
    if total > 10 * _RATIO_MATTERS_BYTES and total > packed * _MAX_RATIO:
        raise _unsafe(f"The archive unpacks to {total} bytes: it looks like a zip bomb.")
    if total > limits.max_unpacked_bytes:
        raise TooLarge(
            f"The file unpacks to {total} bytes, more than {limits.max_unpacked_bytes}; "
            f"raise {MAX_UNPACKED_BYTES} if it is to be trusted.",
            setting=MAX_UNPACKED_BYTES,
            limit=limits.max_unpacked_bytes,
        )
    for entry in entries:
        _refuse_entities(archive, entry)


def _refuse_entities(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """No Office file has a document type declaration (ECMA-376 part 2, section 6.2.5)."""
    if not entry.filename.lower().endswith((".xml", ".rels")):
        return
    with archive.open(entry) as part:
        head = part.read(_DTD_HEAD_BYTES)
    for mark in _DTD_MARKS:
        if any(mark.encode(encoding) in head for encoding in ("ascii", "utf-16-le", "utf-16-be")):
            raise _unsafe("The file's XML declares a document type or entities.")


def _unsafe(message: str) -> UnreadableDocument:
    return UnreadableDocument(message, reason="unsafe")

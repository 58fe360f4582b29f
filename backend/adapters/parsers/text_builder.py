"""Builds the text of a document: the one place where text is normalised."""

from __future__ import annotations

import re
import unicodedata

from backend.adapters.parsers.limits import MAX_TEXT_CHARS, ParserLimits
from backend.core.errors import TooLarge, UnreadableDocument
from backend.core.types import Heading, ParsedDocument

# Line ends of every kind; a form feed or a vertical tab ends a line too.
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Characters nobody sees and search stumbles over: soft hyphen, zero-width space,
# word joiner, byte order mark; and lone surrogates, which UTF-8 cannot hold.
_INVISIBLE = re.compile("[\xad\u200b\u2060\ufeff\ud800-\udfff]")
_TRAILING_SPACE = re.compile(r"[ \t\xa0]+$", re.MULTILINE)

_NO_TITLES = frozenset({"untitled", "word document", "microsoft word", "document", "документ"})
_FILE_SUFFIXES = (".doc", ".docx", ".dot", ".dotx", ".pdf", ".xls", ".xlsx", ".rtf", ".odt")


def normalise(text: str) -> tuple[str, int]:
    """Return the text as documents hold it, and how many control characters were removed."""
    text = _LINE_ENDS.sub("\n", text)
    text, removed = _CONTROL.subn("", text)
    text = _TRAILING_SPACE.sub("", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", text), removed


def _usable_title(title: str | None) -> str | None:
    """A title that names the document, not the program or the file it was made from."""
    clean = " ".join(normalise(title or "")[0].split())
    if not clean or clean.lower() in _NO_TITLES or clean.lower().endswith(_FILE_SUFFIXES):
        return None
    return clean


class TextBuilder:
    """Collects blocks of whole lines; offsets of headings and pages are those of the result."""

    def __init__(self, limits: ParserLimits) -> None:
        self._limit = limits.max_text_chars
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._page_starts: list[int] = []
        self._warnings: dict[str, None] = {}
        self._controls_removed = 0

    def add(self, text: str, *, gap: str = "\n") -> tuple[int, str]:
        """Append lines, set off by ``gap`` from what stands before.

        Returns where they begin and what they became. Leading and trailing blank lines
        are dropped; nothing is added for blank text.
        """
        clean, removed = normalise(text)
        self._controls_removed += removed
        clean = clean.strip("\n")
        if not clean.strip():
            return self._length, ""
        if self._parts:
            self._append(gap)
        start = self._length
        self._append(clean)
        return start, clean

    def paragraph(self, text: str) -> None:
        self.add(text, gap="\n\n")

    def heading(self, level: int, text: str) -> None:
        """Append a heading on a line of its own."""
        start, clean = self.add(" ".join(text.split()), gap="\n\n")
        if clean:
            self._headings.append(Heading(level, clean, start, start + len(clean)))

    def mark_heading(self, level: int, title: str, start: int, end: int) -> None:
        """Record a heading in text that was already added."""
        self._headings.append(Heading(level, title, start, end))

    def begin_page(self, gap: str = "\n\n") -> None:
        if self._parts:
            self._append(gap)
        self._page_starts.append(self._length)

    def page_text(self, text: str) -> tuple[int, str]:
        """Append the text of the page that was just begun."""
        return self.add(text, gap="")

    def warn(self, message: str) -> None:
        self._warnings[message] = None

    def build(self, file_format: str, title: str | None = None) -> ParsedDocument:
        """Raises ``UnreadableDocument`` (empty) where no text was added."""
        text = "".join(self._parts).rstrip("\n")
        if not text.strip():
            raise UnreadableDocument("The file holds no text.", reason="empty")
        if self._controls_removed:
            self.warn(f"{self._controls_removed} control characters were removed.")
        return ParsedDocument(
            text=text,
            format=file_format,
            headings=tuple(sorted(self._headings, key=lambda h: h.start)),
            page_starts=tuple(min(start, len(text)) for start in self._page_starts),
            title=_usable_title(title),
            warnings=tuple(self._warnings),
        )

    def _append(self, text: str) -> None:
        self._length += len(text)
        if self._length > self._limit:
            raise TooLarge(
                f"The text of the file is longer than {self._limit} characters; "
                f"split the file or raise {MAX_TEXT_CHARS}.",
                setting=MAX_TEXT_CHARS,
                limit=self._limit,
            )
        self._parts.append(text)

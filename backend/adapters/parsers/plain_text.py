"""Plain text and Markdown: the text stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from backend.adapters.parsers.decoding import Decoded, decode
from backend.adapters.parsers.limits import MAX_TEXT_CHARS, ParserLimits
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.errors import TooLarge
from backend.core.types import ParsedDocument

_MAX_BYTES_PER_CHAR = 4
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
# What a line above a row of dashes may be, when it is not a paragraph.
_NO_PARAGRAPH = re.compile(r" {0,3}(?:#{1,6}(?:\s|$)|>|[-*+][ \t]|\d{1,9}[.)][ \t]|\||<)| {4}|\t")
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*`]+|(?<!\w)_+|_+(?!\w)")


def read_text(path: Path, limits: ParserLimits, *, declared: str | None = None) -> Decoded:
    """Read a whole text file, unless its size alone says that it is too long."""
    size = path.stat().st_size
    if size > limits.max_text_chars * _MAX_BYTES_PER_CHAR:
        raise TooLarge(
            f"The file has {size} bytes, more than a text of {limits.max_text_chars} characters "
            f"can have; split the file or raise {MAX_TEXT_CHARS}.",
            setting=MAX_TEXT_CHARS,
            limit=limits.max_text_chars,
        )
    return decode(path.read_bytes(), declared=declared)


def parse_text(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    builder = _added(path, limits)[0]
    return builder.build("txt")


def parse_markdown(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    builder, start, text = _added(path, limits)
    title = None
    for level, heading, begin, end in markdown_headings(text):
        builder.mark_heading(level, heading, start + begin, start + end)
        title = title or (heading if level == 1 else None)
    return builder.build("md", title)


def _added(path: Path, limits: ParserLimits) -> tuple[TextBuilder, int, str]:
    decoded = read_text(path, limits)
    builder = TextBuilder(limits)
    if decoded.warning:
        builder.warn(decoded.warning)
    start, text = builder.add(decoded.text)
    return builder, start, text


def markdown_headings(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Level, title, start and end of every heading, as CommonMark sees them at top level.

    Headings inside quotes and lists are left alone, and so is front matter.
    """
    fence = ""
    previous = ""  # the line above, where it can be the text of a setext heading
    previous_start = 0
    offset = _front_matter_end(text)
    for line in text[offset:].split("\n"):
        start, offset = offset, offset + len(line) + 1
        mark = _FENCE.fullmatch(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            continue
        if mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence, previous = mark[1], ""
            continue
        if atx := _ATX.fullmatch(line):
            if title := _plain(atx[2] or ""):
                yield len(atx[1]), title, start, start + len(line)
            previous = ""
        elif previous and (setext := _SETEXT.fullmatch(line)):
            yield (1 if setext[1][0] == "=" else 2), _plain(previous), previous_start, offset - 1
            previous = ""
        elif not line.strip() or _NO_PARAGRAPH.match(line):
            previous = ""
        else:
            previous, previous_start = line, start


def _front_matter_end(text: str) -> int:
    if not text.startswith("---\n"):
        return 0
    end = text.find("\n---\n", 3)
    return end + 5 if end != -1 else 0


def _plain(title: str) -> str:
    return " ".join(_MARKUP.sub(lambda mark: mark[1] or "", title).split())

"""PDF through PDFium: the text layer, page by page, and the outline as headings."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pypdfium2
import pypdfium2.raw as pdfium_c

from backend.adapters.parsers.limits import MAX_PAGES, MAX_TEXT_CHARS, ParserLimits
from backend.adapters.parsers.plausibility import is_garbled, signs
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.errors import TooLarge, UnreadableDocument
from backend.core.types import ParsedDocument

_NEEDS_OCR = (
    "Run it through text recognition (OCR), or export it again as a PDF with text, "
    "and put in the result."
)
_LINE_HYPHEN = "\ufffe\x02"  # what PDFium puts where it joined a word over a line's end
_JOINED_WORD = re.compile(rf"(\w+)[{_LINE_HYPHEN}](\w+)")
_FEW_CHARS = 30  # a stamp or a page number over a scan, not its text
_MAX_BOOKMARKS = 5_000
_MAX_TITLE_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Page:
    text: str
    problem: Literal["", "scan", "garbled", "damaged"] = ""


def parse_pdf(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    _refuse_truncated(path)
    document = _open(path)
    try:
        count = len(document)
        if count > limits.max_pages:
            raise TooLarge(
                f"The PDF has {count} pages, more than {limits.max_pages}; "
                f"split it or raise {MAX_PAGES}.",
                setting=MAX_PAGES,
                limit=limits.max_pages,
            )
        pages = _read_pages(document, count, limits)
        _refuse_unreadable(pages)
        builder = TextBuilder(limits)
        spans = _add_pages(builder, pages)
        _mark_outline(builder, document, spans)
        _warn_of_problems(builder, pages)
        return builder.build("pdf", _title(document))
    finally:
        document.close()


def _refuse_truncated(path: Path) -> None:
    """PDFium mends a file that was cut off and says nothing of the pages it lost.

    A whole PDF has its end marker after its last object, whatever rubbish follows.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = max(data.rfind(b"%%EOF"), data.rfind(b"startxref"))
        last_object = max(data.rfind(b" obj"), data.rfind(b"endobj"))
    if end < last_object:
        raise UnreadableDocument(
            "The PDF breaks off before its end: it was probably cut off while being copied.",
            reason="corrupt",
        )


def _open(path: Path) -> Any:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise UnreadableDocument(
                "The PDF is protected by a password; save it without one.", reason="encrypted"
            ) from error
        if error.err_code == pdfium_c.FPDF_ERR_SECURITY:
            raise UnreadableDocument(
                "The PDF is encrypted in a way that is not supported; save it without protection.",
                reason="encrypted",
            ) from error
        raise UnreadableDocument(
            "The PDF is damaged: it cannot be opened.", reason="corrupt"
        ) from error


def _read_pages(document: Any, count: int, limits: ParserLimits) -> list[_Page]:
    pages: list[_Page] = []
    chars = 0
    for index in range(count):
        try:
            page = document[index]
        except pypdfium2.PdfiumError:
            pages.append(_Page("", "damaged"))
            continue
        pages.append(_read_page(page))
        page.close()
        chars += len(pages[-1].text)
        if chars > limits.max_text_chars:
            raise TooLarge(
                f"The PDF has more than {limits.max_text_chars} characters of text by page "
                f"{index + 1}; split it or raise {MAX_TEXT_CHARS}.",
                setting=MAX_TEXT_CHARS,
                limit=limits.max_text_chars,
            )
    return pages


def _read_page(page: Any) -> _Page:
    text_page = page.get_textpage()
    text = text_page.get_text_bounded()
    text_page.close()
    visible = len("".join(text.split()))
    if visible < _FEW_CHARS and _image_share(page) > (0.5 if visible else 0):
        return _Page(text, "scan")
    plain = text.translate({ord(char): "" for char in _LINE_HYPHEN})
    found = signs(plain)
    if is_garbled(found) or (is_garbled(found, recognised=True) and _image_share(page) > 0.5):
        return _Page("", "garbled")
    return _Page(text)


def _image_share(page: Any) -> float:
    """How much of the page its largest image covers, between 0 and 1."""
    width, height = page.get_size()
    largest = 0.0
    for image in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = image.get_bounds()
        largest = max(largest, abs((right - left) * (top - bottom)))
    return float(min(largest / max(width * height, 1.0), 1.0))


def _refuse_unreadable(pages: Sequence[_Page]) -> None:
    if any(page.text.strip() and not page.problem for page in pages):
        return
    problems = Counter(page.problem for page in pages)
    if problems["garbled"]:
        raise UnreadableDocument(
            "The PDF shows text, but its text layer does not hold readable characters. "
            + _NEEDS_OCR,
            reason="no_text",
        )
    if problems["damaged"]:
        raise UnreadableDocument("No page of the PDF can be read.", reason="corrupt")
    if problems["scan"]:
        raise UnreadableDocument(
            "The PDF holds only images of pages (a scan), no text. " + _NEEDS_OCR,
            reason="no_text",
        )
    raise UnreadableDocument("The PDF holds no text and no images of text.", reason="no_text")


def _add_pages(builder: TextBuilder, pages: Sequence[_Page]) -> list[tuple[int, str]]:
    hyphens = _Hyphens(pages)
    spans = []
    before = ""
    for page in pages:
        text = reflow(hyphens.resolve(page.text))
        flows_on = before[-1:] not in set(".!?:;") and text.lstrip()[:1].islower()
        builder.begin_page("\n" if flows_on else "\n\n")
        spans.append(builder.page_text(text))
        before = text.rstrip() or before
    return spans


class _Hyphens:
    """Decides which hyphens at line ends belong to the word: those it has elsewhere too."""

    def __init__(self, pages: Sequence[_Page]) -> None:
        self._hyphenated = {
            word.lower() for page in pages for word in re.findall(r"\w+-\w+", page.text)
        }

    def resolve(self, text: str) -> str:
        def join(match: re.Match[str]) -> str:
            first, second = match[1], match[2]
            if f"{first}-{second}".lower() in self._hyphenated or not second[0].islower():
                return f"{first}-{second}"
            return first + second

        return _JOINED_WORD.sub(join, text).translate({ord(char): "-" for char in _LINE_HYPHEN})


def reflow(text: str) -> str:
    """Join the lines of a paragraph: full lines whose sentence goes on in the next line.

    A line end becomes a space, so nothing is lost; rows of tables are short or begin with
    a capital or a digit, and stay lines.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lengths = sorted(len(line) for line in lines if line.strip())
    if not lengths:
        return text
    full = 0.7 * lengths[int(len(lengths) * 0.9)]
    parts: list[str] = []
    for index, line in enumerate(lines):
        parts.append(line.rstrip())
        if index + 1 == len(lines):
            break
        following = lines[index + 1].lstrip()
        goes_on = (
            len(line) >= max(full, 30)
            and line.rstrip()[-1:] not in set(".!?:;")
            and following[:1].islower()
        )
        parts.append(" " if goes_on else "\n")
    return "".join(parts)


def _mark_outline(builder: TextBuilder, document: Any, spans: Sequence[tuple[int, str]]) -> None:
    """Mark the outline's titles where they stand as lines of their page."""
    position: dict[int, int] = {}
    for number, bookmark in enumerate(document.get_toc(max_depth=6)):
        if number == _MAX_BOOKMARKS:
            builder.warn(f"Only the first {_MAX_BOOKMARKS} entries of the outline were used.")
            break
        destination = bookmark.get_dest()
        index = destination.get_index() if destination else None
        title = " ".join(bookmark.get_title().split())[:_MAX_TITLE_CHARS]
        if index is None or index >= len(spans) or not title:
            continue
        start, text = spans[index]
        match = _title_line(title).search(text, position.get(index, 0))
        if match:
            position[index] = match.end()
            heading = " ".join(match[0].split())
            builder.mark_heading(
                bookmark.level + 1, heading, start + match.start(), start + match.end()
            )


def _title_line(title: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in title.split())
    return re.compile(rf"^(?:[\dIVXА-ЯA-Z]{{1,4}}[.\d]*\s+)?{words}$", re.IGNORECASE | re.MULTILINE)


def _title(document: Any) -> str | None:
    """The title, unless it is in a code page that readers take for another, as old ones are."""
    try:
        title: str = document.get_metadata_value("Title")
    except UnicodeDecodeError:
        return None
    return None if is_garbled(signs(title)) else title


def _warn_of_problems(builder: TextBuilder, pages: Sequence[_Page]) -> None:
    for problem, message in (
        ("scan", "are images with little or no text; recognise them (OCR) to find what they show"),
        (
            "garbled",
            "have a text layer that cannot be read and were left out; recognise them (OCR)",
        ),
        ("damaged", "are damaged and were left out"),
    ):
        numbers = [number for number, page in enumerate(pages, 1) if page.problem == problem]
        if numbers:
            builder.warn(f"Pages {page_ranges(numbers)} {message}.")


def page_ranges(numbers: Sequence[int]) -> str:
    """``[1, 2, 3, 7]`` as ``1-3, 7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)

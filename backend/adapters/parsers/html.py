"""HTML: what a reader of the page sees, block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser, LexborNode

from backend.adapters.parsers.limits import ParserLimits
from backend.adapters.parsers.plain_text import read_text
from backend.adapters.parsers.tables import matrix_lines, one_line
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.types import ParsedDocument

_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)")
_HEAD_BYTES = 4096
_SKIPPED = frozenset(
    "script style noscript template svg math head iframe object canvas select datalist "
    "button audio video map".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog div dl dt fieldset "
    "figcaption figure footer form header hr html legend li main nav ol p pre section summary "
    "table tbody td tfoot th thead tr ul caption".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAK = "\x00"  # no text holds NUL: it was refused when decoding
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def parse_html(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    decoded = read_text(path, limits, declared=_declared_charset(head))
    tree = LexborHTMLParser(decoded.text)
    walker = _Walker(TextBuilder(limits))
    if decoded.warning:
        walker.builder.warn(decoded.warning)
    if tree.root is not None:
        walker.walk(tree.body or tree.root)
    title = tree.css_first("title")
    return walker.builder.build("html", title.text() if title else None)


def _declared_charset(head: bytes) -> str | None:
    match = _META_CHARSET.search(head) or _XML_ENCODING.search(head)
    return match[1].decode("ascii") if match else None


class _Walker:
    """Goes through the tree without recursion: depth is the author's choice, not ours."""

    def __init__(self, builder: TextBuilder) -> None:
        self.builder = builder
        self._inline: list[str] = []
        self._lists: list[int | None] = []  # the number of the last item, None for bullets
        self._in_list_item = False

    def walk(self, root: LexborNode) -> None:
        stack: list[tuple[LexborNode, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                self._leave(node)
            elif self._enter(node):
                stack.append((node, True))
                children = list(node.iter(include_text=True))
                stack.extend((child, False) for child in reversed(children))
        self._flush()

    def _enter(self, node: LexborNode) -> bool:
        """Take a node's own text; say whether its children are to be visited."""
        tag = node.tag or ""
        if tag == "-text":
            self._inline.append(node.text_content or "")
        elif tag == "br":
            self._inline.append(_BREAK)
        elif tag.startswith("-") or tag in _SKIPPED or self._is_hidden(node):
            pass
        elif tag in _HEADINGS or tag == "pre" or (tag == "table" and _is_data_table(node)):
            self._flush()
            self._take_whole(node, tag)
        else:
            if tag in _BLOCKS:
                self._flush()
                self._open_list(node, tag)
            return True
        return False

    def _take_whole(self, node: LexborNode, tag: str) -> None:
        if tag in _HEADINGS:
            self.builder.heading(_HEADINGS[tag], node.text(separator=""))
        elif tag == "pre":
            self.builder.paragraph(node.text())
        else:
            self._table(node)

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in _BLOCKS:
            self._flush()
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()

    def _open_list(self, node: LexborNode, tag: str) -> None:
        if tag in {"ul", "ol"}:
            start = node.attributes.get("start") or "1"
            first = int(start) if start.isdecimal() and len(start) < 9 else 1
            self._lists.append(first - 1 if tag == "ol" else None)
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            if number is None:
                self._inline.append("- ")
            else:
                self._lists[-1] = number + 1
                self._inline.append(f"{number + 1}. ")
            self._in_list_item = True

    def _flush(self) -> None:
        lines = "".join(self._inline).split(_BREAK)
        text = "\n".join(" ".join(line.split()) for line in lines).strip()
        if text in {"", "-"}:
            # A list item whose text is in a block of its own keeps its mark for that block.
            self._inline = ["- "] if text == "-" else []
            return
        self._inline = []
        self.builder.add(text, gap="\n" if self._in_list_item else "\n\n")
        self._in_list_item = False

    def _table(self, table: LexborNode) -> None:
        caption = table.css_first("caption")
        if caption is not None:
            self.builder.paragraph(one_line(caption.text(separator=" ")))
        nodes = table.css("tr")
        rows = [cells for row in nodes if any(cells := _cells(row))]
        gap = "\n\n"
        for line in matrix_lines(rows, header_marked=bool(nodes) and _is_header_row(nodes[0])):
            self.builder.add(line, gap=gap)
            gap = "\n"

    def _is_hidden(self, node: LexborNode) -> bool:
        """What the page does not show must not be cited as if it did."""
        attributes = node.attributes
        hidden = "hidden" in attributes or bool(_HIDDEN_STYLE.search(attributes.get("style") or ""))
        if hidden and node.text().strip():
            self.builder.warn("Hidden parts of the page were left out.")
        return hidden


def _is_data_table(table: LexborNode) -> bool:
    """Not a table that lays out a page: those hold tables, headings or lists of their own."""
    return len(table.css("table")) <= 1 and table.css_first("h1, h2, h3, h4, p + p") is None


def _cells(row: LexborNode) -> list[str]:
    cells: list[str] = []
    for cell in _cell_nodes(row):
        span = cell.attributes.get("colspan") or "1"
        width = min(int(span), 100) if span.isdecimal() and len(span) < 4 else 1
        cells.append(one_line(cell.text(separator=" ", skip_empty=True)))
        cells.extend([""] * (width - 1))
    return cells


def _is_header_row(row: LexborNode) -> bool:
    tags = [cell.tag for cell in _cell_nodes(row)]
    return len(tags) > 1 and all(tag == "th" for tag in tags)


def _cell_nodes(row: LexborNode) -> Iterator[LexborNode]:
    return (cell for cell in row.iter() if cell.tag in {"td", "th"})

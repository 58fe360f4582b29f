"""DOCX: the body in its order, with headings, tables, notes and comments.

The XML is walked here instead of through python-docx's paragraphs: those leave out what
stands in content controls, in tracked insertions and in text boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import qn

from backend.adapters.parsers.archive import check_archive, open_archive
from backend.adapters.parsers.docx_numbering import Numbering
from backend.adapters.parsers.limits import ParserLimits
from backend.adapters.parsers.tables import matrix_lines, one_line, row_line
from backend.adapters.parsers.text_builder import TextBuilder
from backend.core.types import ParsedDocument

_HEADING_STYLE = re.compile(r"(?:heading|заголовок)\s*([1-9])", re.IGNORECASE)
_TITLE_STYLE = re.compile(r"(?:title|название)", re.IGNORECASE)
_MAX_HEADING_CHARS = 300
_TITLE_LEVEL = 0  # of the document's title, above the headings of level 1
_P, _TBL, _TR, _TC = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_T, _VAL, _ID = qn("w:t"), qn("w:val"), qn("w:id")
# Wrappers whose content is content of the document.
_TRANSPARENT = {
    qn("w:sdt"),
    qn("w:sdtContent"),
    qn("w:ins"),
    qn("w:moveTo"),
    qn("w:smartTag"),
    qn("w:customXml"),
    qn("w:hyperlink"),
    qn("w:fldSimple"),
    qn("w:r"),
    qn("w:dir"),
    qn("w:bdo"),
}
_CHARS = {
    qn("w:tab"): "\t",
    qn("w:ptab"): "\t",
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:noBreakHyphen"): "-",
}
_NOTE_MARKS = {
    qn("w:footnoteReference"): "footnotes",
    qn("w:endnoteReference"): "endnotes",
    qn("w:commentReference"): "comments",
}
_NOTE_RELATIONS = {
    RELATIONSHIP_TYPE.FOOTNOTES: "footnotes",
    RELATIONSHIP_TYPE.ENDNOTES: "endnotes",
    RELATIONSHIP_TYPE.COMMENTS: "comments",
}
_TEXT_BOX = qn("w:txbxContent")
# A drawing's text stands twice: for new readers, and again for old ones.
_MATH_NS = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MATH, _MATH_TEXT = {f"{_MATH_NS}oMath", f"{_MATH_NS}oMathPara"}, f"{_MATH_NS}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def parse_docx(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    with open_archive(path) as archive:
        check_archive(archive, limits)
    with path.open("rb") as file:
        document = Document(file)
    builder = TextBuilder(limits)
    body = _Body(builder, document)
    body.add(document.element.body)
    if body.has_header_text():
        builder.warn("Page headers and footers were left out.")
    return builder.build("docx", body.title or document.core_properties.title)


class _Body:
    """Walks one document; ``title`` is the text of its title paragraph."""

    def __init__(self, builder: TextBuilder, document: Any) -> None:
        self.title: str | None = None
        self._after_label = False
        self._builder = builder
        self._document = document
        self._levels = _heading_levels(document.styles.element)
        self._notes = _notes(document.part)
        self._numbering = Numbering(document.part)

    def add(self, container: Any) -> None:
        for block in _blocks(container):
            if block.tag == _TBL:
                self._add_table(block)
            else:
                self._add_paragraph(block)

    def has_header_text(self) -> bool:
        parts = (
            part
            for section in self._document.sections
            for part in (section.header, section.footer)
            if not part.is_linked_to_previous
        )
        return any(paragraph.text.strip() for part in parts for paragraph in part.paragraphs)

    def _add_paragraph(self, paragraph: Any) -> None:
        text = _paragraph_text(paragraph).strip()
        style = _child_value(paragraph, "w:pPr", "w:pStyle")
        label = self._numbering.label(paragraph) if text else ""
        level = _outline_level(paragraph)
        if level is None:
            level = self._levels.get(style or "")
        if level is not None and text and len(text) <= _MAX_HEADING_CHARS:
            if level == _TITLE_LEVEL:
                self.title = self.title or one_line(text)
            self._builder.heading(max(level, 1), f"{label} {text}")
        else:
            in_list = bool(label) and self._after_label and len(text) < _MAX_HEADING_CHARS
            self._builder.add(f"{label} {text}".lstrip(), gap="\n" if in_list else "\n\n")
        self._after_label = bool(label)
        self._add_attached(paragraph)

    def _add_attached(self, paragraph: Any) -> None:
        """Text boxes of a paragraph, then its notes and comments, where a reader meets them."""
        for box in _text_boxes(paragraph):
            self.add(box)
        self._add_notes(paragraph)

    def _add_notes(self, element: Any) -> None:
        for mark in element.iter(*_NOTE_MARKS):
            note = self._notes.get((_NOTE_MARKS[mark.tag], mark.get(_ID)), "")
            if note:
                self._builder.add(f"[{note}]")

    def _add_table(self, table: Any) -> None:
        nodes = [list(_inside(row, _TC)) for row in _inside(table, _TR)]
        if all(len(cells) <= 1 for cells in nodes):
            # One column is a frame around text, not a table.
            for cells in nodes:
                for cell in cells:
                    self.add(cell)
            return
        rows = [row for row in self._rows(nodes) if any(row)]
        marked = _child(next(iter(_inside(table, _TR))), "w:trPr", "w:tblHeader") is not None
        gap = "\n\n"
        for line in matrix_lines(rows, header_marked=marked):
            self._builder.add(line, gap=gap)
            gap = "\n"
        self._add_notes(table)

    def _rows(self, nodes: list[list[Any]]) -> Iterator[list[str]]:
        """Cells by grid column; a cell merged downwards is repeated, so each row stands alone."""
        above: list[str] = []
        for row in nodes:
            cells: list[str] = []
            for cell in row:
                at = len(cells)
                merge = _child(cell, "w:tcPr", "w:vMerge")
                continues = merge is not None and merge.get(_VAL, "continue") == "continue"
                text = above[at] if continues and at < len(above) else self._cell_text(cell)
                span = _child_value(cell, "w:tcPr", "w:gridSpan") or "1"
                width = min(int(span), 100) if span.isdecimal() and len(span) < 4 else 1
                cells += [text] + [""] * (width - 1)
            above = cells
            yield cells

    def _cell_text(self, cell: Any) -> str:
        parts = []
        for block in _blocks(cell):
            if block.tag == _TBL:
                nodes = [list(_inside(row, _TC)) for row in _inside(block, _TR)]
                parts += [row_line(row, None) for row in self._rows(nodes)]
            else:
                # Word numbers empty cells too: that is how "No." columns are made.
                parts += [self._numbering.label(block), _paragraph_text(block)]
                parts += [self._cell_text(box) for box in _text_boxes(block)]
        return one_line(" ".join(parts))


def _blocks(container: Any) -> Iterator[Any]:
    for child in container:
        if child.tag in (_P, _TBL):
            yield child
        elif child.tag in _TRANSPARENT:
            yield from _blocks(child)


def _inside(container: Any, tag: str) -> Iterator[Any]:
    """Rows of a table or cells of a row, those in content controls included."""
    for child in container:
        if child.tag == tag:
            yield child
        elif child.tag in _TRANSPARENT:
            yield from _inside(child, tag)


def _paragraph_text(paragraph: Any) -> str:
    return "".join(_inline(paragraph))


def _inline(element: Any) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if tag == _T:
            yield child.text or ""
        elif tag in _CHARS:
            yield _CHARS[tag]
        elif tag in _TRANSPARENT:
            yield from _inline(child)
        elif tag in _MATH:
            yield "".join(part.text or "" for part in child.iter(_MATH_TEXT))


def _text_boxes(paragraph: Any) -> Iterator[Any]:
    for box in paragraph.iter(_TEXT_BOX):
        above = {ancestor.tag for ancestor in _ancestors_below(box, paragraph)}
        # A box within a box comes with the outer one.
        if not above & {_FALLBACK, _TEXT_BOX}:
            yield box


def _ancestors_below(element: Any, top: Any) -> Iterator[Any]:
    for ancestor in element.iterancestors():
        if ancestor is top:
            return
        yield ancestor


def _child(element: Any, *path: str) -> Any:
    for name in path:
        element = element.find(qn(name))
        if element is None:
            return None
    return element


def _child_value(element: Any, *path: str) -> str | None:
    found = _child(element, *path)
    return None if found is None else found.get(_VAL)


def _outline_level(element: Any) -> int | None:
    value = _child_value(element, "w:pPr", "w:outlineLvl")
    return int(value) + 1 if value and value.isdecimal() and int(value) < 9 else None


def _heading_levels(styles: Any) -> dict[str, int]:
    """Style id to heading level, through the styles a style is based on."""
    own: dict[str, int] = {}
    based_on: dict[str, str] = {}
    for style in styles.iter(qn("w:style")):
        style_id = style.get(qn("w:styleId")) or ""
        name = _child_value(style, "w:name") or ""
        base = _child_value(style, "w:basedOn")
        if base:
            based_on[style_id] = base
        if match := _HEADING_STYLE.fullmatch(name):
            own[style_id] = int(match[1])
        elif _TITLE_STYLE.fullmatch(name):
            own[style_id] = _TITLE_LEVEL
        elif level := _outline_level(style):
            own[style_id] = level
    levels = dict(own)
    for style_id in based_on:
        seen, current = {style_id}, style_id
        while current not in own and current in based_on and based_on[current] not in seen:
            current = based_on[current]
            seen.add(current)
        if current in own:
            levels[style_id] = own[current]
    return levels


def _notes(part: Any) -> dict[tuple[str, str], str]:
    """Text of footnotes, endnotes and comments by kind and id."""
    notes: dict[tuple[str, str], str] = {}
    for relation in part.rels.values():
        kind = _NOTE_RELATIONS.get(relation.reltype)
        if kind is None or relation.is_external:
            continue
        for note in parse_xml(relation.target_part.blob):
            text = one_line(" ".join(_paragraph_text(p) for p in note.iter(_P)))
            author = note.get(qn("w:author")) if kind == "comments" else None
            if text:
                notes[kind, note.get(_ID) or ""] = f"{author}: {text}" if author else text
    return notes

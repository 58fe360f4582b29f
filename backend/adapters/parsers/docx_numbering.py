"""The numbers Word shows before a paragraph and does not store in its text.

A contract is cited by them ("4.2"), so they belong to the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import qn

_VAL, _ID = qn("w:val"), qn("w:numId")
_PLACE = re.compile(r"%([1-9])")
_ROMAN = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
# Russian lists leave out letters that are easily misread.
_RUSSIAN = "абвгдежзиклмнопрстуфхцшщэюя"


@dataclass(frozen=True, slots=True)
class _Level:
    number_format: str
    pattern: str  # "%1.%2." — %n is the number of level n
    start: int


class Numbering:
    """Counts list paragraphs in document order; call ``label`` once for each paragraph."""

    def __init__(self, part: Any) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}  # by abstract numbering
        self._abstract: dict[str, str] = {}
        self._style_numbers: dict[str, tuple[str, int]] = {}
        self._counters: dict[str, list[int]] = {}
        for relation in part.rels.values():
            if relation.reltype == RELATIONSHIP_TYPE.NUMBERING and not relation.is_external:
                self._read(parse_xml(relation.target_part.blob))
            if relation.reltype == RELATIONSHIP_TYPE.STYLES and not relation.is_external:
                self._read_styles(relation.target_part.element)

    def label(self, paragraph: Any) -> str:
        """What stands before the paragraph: ``4.2.``, ``-`` or nothing."""
        properties = paragraph.find(qn("w:pPr"))
        if properties is None:
            return ""
        by_style = self._style_numbers.get(_value(properties, "w:pStyle") or "", ("", 0))
        number, depth = _number(properties) or by_style
        abstract = self._abstract.get(number)
        level = self._levels.get(abstract or "", {}).get(depth)
        if abstract is None or level is None or level.number_format == "none":
            return ""
        if level.number_format == "bullet":
            return "-"
        counters = self._counters.setdefault(abstract, [])
        for missing in range(len(counters), depth):
            counters.append(self._start(abstract, missing))
        if len(counters) > depth:
            counters[depth] += 1
        else:
            counters.append(level.start)
        del counters[depth + 1 :]
        return _PLACE.sub(lambda place: self._shown(abstract, int(place[1]) - 1), level.pattern)

    def _start(self, abstract: str, depth: int) -> int:
        level = self._levels[abstract].get(depth)
        return level.start if level else 1

    def _shown(self, abstract: str, depth: int) -> str:
        counters = self._counters[abstract]
        level = self._levels[abstract].get(depth)
        if level is None or depth >= len(counters):
            return ""
        return _format(counters[depth], level.number_format)

    def _read(self, numbering: Any) -> None:
        for abstract in numbering.findall(qn("w:abstractNum")):
            self._levels[abstract.get(qn("w:abstractNumId")) or ""] = {
                int(level.get(qn("w:ilvl")) or 0): _Level(
                    number_format=_value(level, "w:numFmt") or "decimal",
                    pattern=_value(level, "w:lvlText") or "",
                    start=_whole(_value(level, "w:start"), 1),
                )
                for level in abstract.findall(qn("w:lvl"))
            }
        for number in numbering.findall(qn("w:num")):
            self._abstract[number.get(_ID) or ""] = _value(number, "w:abstractNumId") or ""

    def _read_styles(self, styles: Any) -> None:
        for style in styles.iter(qn("w:style")):
            properties = style.find(qn("w:pPr"))
            number = None if properties is None else _number(properties)
            if number:
                self._style_numbers[style.get(qn("w:styleId")) or ""] = number


def _number(properties: Any) -> tuple[str, int] | None:
    element = properties.find(qn("w:numPr"))
    if element is None:
        return None
    return _value(element, "w:numId") or "", min(_whole(_value(element, "w:ilvl"), 0), 8)


def _value(element: Any, name: str) -> str | None:
    found = element.find(qn(name))
    return None if found is None else found.get(_VAL)


def _whole(value: str | None, default: int) -> int:
    return int(value) if value and value.isdecimal() and len(value) < 9 else default


def _format(number: int, number_format: str) -> str:
    if number_format in {"lowerLetter", "upperLetter"}:
        letter = chr(ord("a") + (number - 1) % 26)
        return letter.upper() if number_format[0] == "u" else letter
    if number_format in {"russianLower", "russianUpper"}:
        letter = _RUSSIAN[(number - 1) % len(_RUSSIAN)]
        return letter.upper() if number_format.endswith("Upper") else letter
    if number_format in {"lowerRoman", "upperRoman"} and 0 < number < 40:
        shown = ""
        for value, sign in _ROMAN:
            shown += sign * (number // value)
            number %= value
        return shown.upper() if number_format[0] == "u" else shown
    return str(number)

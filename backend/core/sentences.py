"""Where sentences end in Russian and English text, by rules.

Not a linguist's sentence: the unit that chunks are packed from and quotes are cut from.
So list items, table rows, chat lines and short title lines count as sentences too, and in
doubt nothing is cut: half a sentence in a quote is worse than two sentences in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

# The lookbehind lets a match begin only at the start of a run of marks: linear time on "......".
_END_MARKS = re.compile(r"(?<![.!?…])[.!?…]++[\"'»”’)\]]*+(?=\s)")
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")
_LIST_MARKER = re.compile(
    r"\s*(?:[-*+•·▪–—][^\S\n]|#{1,6}\s|>|\(?\d{1,3}(?:\.\d{1,3}){0,4}[.)]\s|\(?[a-zа-яё]\)\s)", re.I
)
_TIMESTAMP = re.compile(r"\s*\[?(?:\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\d{1,2}:\d{2})")
_FIELD = re.compile(r"\s*[^\W\d_][\w .()/№-]{0,30}:\s")
_ROW_CELLS = re.compile(r"[^:;]{1,60}:\s[^;]*;\s[^:;]{1,60}:\s")
# «• Т-01.», «4.1.», «Рис. 2.», «Пункт 3.»: belongs to what it numbers.
_LABEL = re.compile(r"\W*(?:[^\W\d_]{1,6}\.?[-\s]?)?\d+(?:\.\d+)*$")
_WORD_BEFORE = re.compile(r"(?:[^\W\d_]\.[^\S\n]?)*[^\W_]+(?:-[^\W_]+)?$")

_TITLE_LINE_CHARS = 50  # prose that wraps does so later than this
_LOOK_BACK_CHARS = 24
_OPENING_CHARS = 15  # «В 2026 г. Петров ушёл»: too short so far to be a sentence

# Never the last word of a sentence: something must follow.
_LEADING = frozenset(
    """ул пр просп пер наб пл стр рис табл гл п пп ст ч см ср им тов г-н г-жа акад проф доц
    отв д корп кв оф обл респ с к напр т.е т.к т.н т.о и.о вр.и.о зам зав ред изд тел тж св
    mr mrs ms dr prof st no nos fig figs eq sec ch vol vs e.g i.e cf
    approx dept est u.s u.k""".split()
)
# May end a sentence or stand inside one: the case of the next word decides.
_TRAILING = frozenset(
    """руб коп тыс млн млрд трлн т.д т.п т.ч др прим сут мес м мин сек час чел шт экз л
    etc inc ltd co corp jr sr al a.m p.m ph.d н.э""".split()
)
_YEAR_OR_TOWN = frozenset({"г", "гг"})


def sentence_spans(text: str) -> list[Span]:
    """Spans in order, without overlap, that hold every non-space character of ``text``."""
    return [
        span
        for start, end in paragraph_spans(text)
        for block in _blocks(text, start, end)
        for span in _sentences(text, *block)
    ]


def paragraph_spans(text: str) -> list[Span]:
    """Pieces between blank lines, trimmed of white space."""
    spans = []
    start = 0
    for gap in _PARAGRAPH_BREAK.finditer(text):
        spans.append((start, gap.start()))
        start = gap.end()
    spans.append((start, len(text)))
    return [trimmed for span in spans if (trimmed := _trim(text, *span))]


def _blocks(text: str, start: int, end: int) -> Iterator[Span]:
    """Cut a paragraph at line breaks that are not just wrapping."""
    block = line = start
    while (newline := text.find("\n", line, end)) != -1:
        following = newline + 1
        if _ends_block(text[line:newline], _line_at(text, following, end)):
            yield block, newline
            block = following
        line = following
    yield block, end


def _line_at(text: str, start: int, end: int) -> str:
    newline = text.find("\n", start, end)
    return text[start : end if newline == -1 else newline]


def _ends_block(line: str, following: str) -> bool:
    if _is_row_like(line) or _is_row_like(following) or _starts_block(following):
        return True
    next_word = following.lstrip()[:1]
    return len(line.strip()) < _TITLE_LINE_CHARS and not next_word.islower()


def _is_row(line: str) -> bool:
    """Surely a table row: full stops inside it end nothing."""
    return " | " in line or line.strip().count("\t") > 1 or bool(_ROW_CELLS.match(line))


def _is_row_like(line: str) -> bool:
    return "\t" in line.strip() or _is_row(line)


def _starts_block(line: str) -> bool:
    return any(pattern.match(line) for pattern in (_LIST_MARKER, _TIMESTAMP, _FIELD))


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    begin = start
    if not _is_row(text[start : min(end, start + 200)]):
        for marks in _END_MARKS.finditer(text, start, end):
            if _is_boundary(text, begin, marks, end):
                if span := _trim(text, begin, marks.end()):
                    yield span
                begin = marks.end()
    if span := _trim(text, begin, end):
        yield span


def _is_boundary(text: str, begin: int, marks: re.Match[str], end: int) -> bool:
    following = text[marks.end() : min(end, marks.end() + _LOOK_BACK_CHARS)].lstrip()
    if _continues(following):
        return False
    if marks.group()[0] != "." or marks.group().startswith(".."):
        return True
    if marks.end() - marks.start() > 1:  # «… и т. д.)» closes whatever the word was
        return True
    return not _is_abbreviation(text, begin, marks.start())


def _continues(following: str) -> bool:
    """«Стой!» — крикнул он; wait... what: the sentence goes on in lower case."""
    return following.lstrip("-–— ,;:").lstrip("\"'«“(")[:1].islower()


def _is_abbreviation(text: str, begin: int, dot: int) -> bool:
    found = _WORD_BEFORE.search(text[max(begin, dot - _LOOK_BACK_CHARS) : dot])
    if found is None:
        return False
    if dot - begin < _LOOK_BACK_CHARS and _LABEL.match(text[begin:dot].lstrip()):
        return True
    written = found.group()
    word = re.sub(r"\s", "", written).lower()
    if word in _YEAR_OR_TOWN:  # «в 2026 г. Москва» ends there, «г. Москва» does not
        before = text[max(begin, dot - _LOOK_BACK_CHARS) : dot - len(word)].rstrip()
        return not before[-1:].isdigit() or dot - begin < _OPENING_CHARS
    if word in _TRAILING:
        return False
    is_initial = len(word.rsplit(".", 1)[-1]) == 1 and written[-1].isupper()
    return word in _LEADING or is_initial


def _trim(text: str, start: int, end: int) -> Span | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None

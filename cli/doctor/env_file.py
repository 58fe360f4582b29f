"""An env file read the way Compose reads it (compose-go, package dotenv), with line numbers.

Its surprises, tried on Compose 2.26 and 2.40: ``KEY: value`` is an assignment; a comment after an
unquoted value needs a blank before its ``#``, and the blank after ``=`` does not count; what
follows a closing quote is dropped; later lines win; an unknown ``$NAME`` becomes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_SPACES = " \t\v\f\r\x85\xa0"
_NAME = re.compile(r"[\w.\-\[\]]+")
_ESCAPES = {"n": "\n", "r": "\r"}


class Unreadable(Exception):
    """Compose stops at this line, and so do we. ``reason`` is a code of the syntax rules."""

    def __init__(self, line: int, reason: str, text: str) -> None:
        super().__init__(f"line {line}: {reason}: {text}")
        self.line = line
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Assignment:
    """``value`` is None for a bare name, which takes its value from the shell.

    ``raw`` is the text right of the equals sign as written; ``dropped`` what Compose ignores after
    a closing quote; ``undefined`` the names interpolated without a value and without a default.
    """

    name: str
    value: str | None
    line: int
    raw: str
    written: str
    quote: str = ""
    dropped: str = ""
    undefined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvFile:
    """``stopped`` is why reading ended early, None where the whole file was read."""

    path: str
    text: str
    assignments: tuple[Assignment, ...]
    stopped: Unreadable | None = None

    def values(self) -> dict[str, Assignment]:
        """The last of each name, as Compose takes it."""
        last: dict[str, Assignment] = {}
        for found in self.assignments:
            if found.value is not None or found.name not in last:
                last[found.name] = found
        return last


Lookup = Callable[[str], str | None]


def read_env_file(path: str, text: str, environment: Mapping[str, str] | None = None) -> EnvFile:
    """``environment`` is what the shell sets: it wins over the file in interpolation."""
    return _Reader(path, text, environment or {}).read()


class _Reader:
    def __init__(self, path: str, text: str, environment: Mapping[str, str]) -> None:
        self._path = path
        self._text = text
        self._lines = text.removeprefix("\ufeff").split("\n")
        self._environment = environment
        self._found: list[Assignment] = []
        self._values: dict[str, str] = {}

    def read(self) -> EnvFile:
        number = 0
        stopped = None
        try:
            while number < len(self._lines):
                number = self._statement(number)
        except Unreadable as error:
            stopped = error
        return EnvFile(self._path, self._text, tuple(self._found), stopped)

    def _statement(self, number: int) -> int:
        """Reads the statement at line ``number`` (from 0); the line after it."""
        line = self._lines[number].lstrip(_SPACES)
        if not line or line.startswith("#"):
            return number + 1
        written = self._lines[number].rstrip("\r")
        body = re.sub(r"^export\s+", "", line)
        separator = re.search(r"[=:]", body)
        if separator is None:
            return self._bare_name(number, body.rstrip(_SPACES))
        name = body[: separator.start()].rstrip(_SPACES)
        self._check_name(number, name, written)
        raw = body[separator.end() :].lstrip(_SPACES)
        if raw[:1] in {"'", '"'}:
            return self._quoted(number, name, raw, written)
        text = raw.split(" #", 1)[0].rstrip(_SPACES)
        self._add(number, name, raw.rstrip("\r"), text, written, "")
        return number + 1

    def _bare_name(self, number: int, name: str) -> int:
        self._check_name(number, name, name)
        value = self._environment.get(name)
        self._found.append(Assignment(name, value, number + 1, "", name))
        return number + 1

    def _check_name(self, number: int, name: str, written: str) -> None:
        if any(space in name for space in _SPACES):
            raise Unreadable(number + 1, "space_in_name", written)
        if not _NAME.fullmatch(name):
            raise Unreadable(number + 1, "character_in_name", written)

    def _quoted(self, number: int, name: str, raw: str, written: str) -> int:
        rest = "\n".join([raw, *self._lines[number + 1 :]])
        end = _closing(rest)
        if end is None:
            raise Unreadable(number + 1, "unbalanced_quote", written)
        text = rest[1:end].replace(f"\\{rest[0]}", rest[0])
        after = rest[end + 1 :].split("\n", 1)[0].strip(_SPACES)
        dropped = "" if after.startswith("#") else after
        if rest[0] == '"':
            text = re.sub(r"\\([nr])", lambda found: _ESCAPES[found[1]], text)
            text = re.sub(r"\\([^$])", r"\1", text)
        self._add(number, name, rest[: end + 1], text, written, rest[0], dropped)
        return number + 1 + rest[: end + 1].count("\n")

    def _add(
        self,
        number: int,
        name: str,
        raw: str,
        text: str,
        written: str,
        quote: str,
        dropped: str = "",
    ) -> None:
        undefined: list[str] = []
        value = text if quote == "'" else self._expanded(number, text, undefined, written)
        self._values[name] = value
        self._found.append(
            Assignment(name, value, number + 1, raw, written, quote, dropped, tuple(undefined))
        )

    def _lookup(self, name: str) -> str | None:
        return self._environment.get(name, self._values.get(name))

    def _expanded(self, number: int, text: str, undefined: list[str], written: str) -> str:
        try:
            return expand(text, self._lookup, undefined)
        except ValueError as error:
            raise Unreadable(number + 1, str(error), written) from error


def _closing(text: str) -> int | None:
    """Where the quote that ``text`` starts with is closed."""
    position = 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == text[0]:
            return position
        position += 1
    return None


_PLAIN = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|(\{))", re.ASCII)
_BRACED = re.compile(r"([A-Za-z_]\w*)(?:(:?[-?+])(.*))?", re.ASCII | re.DOTALL)


def expand(text: str, lookup: Lookup, undefined: list[str]) -> str:
    """``text`` with its variables; names without a value or default are put into ``undefined``.

    Raises:
        ValueError: "bad_interpolation" or "required_missing", as Compose would stop.
    """
    parts = []
    position = 0
    while (found := _PLAIN.search(text, position)) is not None:
        parts.append(text[position : found.start()])
        position = found.end()
        if found[1]:
            parts.append("$")
        elif found[2]:
            parts.append(_value(found[2], lookup, undefined))
        else:
            end = _closing_brace(text, position)
            parts.append(_braced(text[position:end], lookup, undefined))
            position = end + 1
    return "".join([*parts, text[position:]])


def _closing_brace(text: str, position: int) -> int:
    depth = 1
    for index in range(position, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise ValueError("bad_interpolation")


def _braced(inside: str, lookup: Lookup, undefined: list[str]) -> str:
    found = _BRACED.fullmatch(inside)
    if found is None:
        raise ValueError("bad_interpolation")
    name, operator, word = found[1], found[2], found[3] or ""
    value = lookup(name)
    has_value = bool(value) if operator and operator.startswith(":") else value is not None
    if operator is None:
        return _value(name, lookup, undefined)
    if operator.endswith("+"):
        return expand(word, lookup, undefined) if has_value else ""
    if has_value:
        return value or ""
    if operator.endswith("?"):
        raise ValueError("required_missing")
    return expand(word, lookup, undefined)


def _value(name: str, lookup: Lookup, undefined: list[str]) -> str:
    value = lookup(name)
    if value is None:
        undefined.append(name)
        return ""
    return value

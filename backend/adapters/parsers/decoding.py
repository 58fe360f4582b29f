"""Bytes to text: which encoding a text file is in."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from backend.adapters.parsers.plausibility import is_garbled, signs, usual_pairs
from backend.core.errors import UnreadableDocument, UnsupportedDocument

_BOMS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CYRILLIC_ENCODINGS = ("cp1251", "koi8-r", "cp866", "iso8859-5")
_SAMPLE_BYTES = 10_000
_HIGH = re.compile(rb"[\x80-\xff]")
_WESTERN = re.compile("[À-ÖØ-öø-ÿŒœŠšŽžŸ€£§©®°«»–—‘’“”„•…\xa0]")
_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class Decoded:
    text: str
    encoding: str
    warning: str | None = None


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Decode a text file.

    A byte order mark decides; then UTF-8 if it fits without an error; then ``declared``
    (what the file says of itself); then the encoding that makes the likeliest text, for
    which a warning names it.

    Raises:
        UnsupportedDocument: the bytes are not text.
        UnreadableDocument: a byte order mark that the rest contradicts, or no encoding fits.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _strictly(data[len(mark) :], encoding)
    _refuse_binary(data)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    return _as_declared(data, declared) or _damaged_utf8(data) or _guess(data)


def looks_binary(head: bytes) -> bool:
    """Whether the first bytes of a file cannot be text of any encoding we read."""
    if any(head.startswith(mark) for mark, _ in _BOMS):
        return False
    return b"\x00" in head or len(_CONTROLS.findall(head)) > 4 + len(head) * 0.02


def _refuse_binary(data: bytes) -> None:
    if b"\x00" in data:
        raise UnsupportedDocument("The file holds NUL bytes: it is binary data, not text.")
    if looks_binary(data[:_SAMPLE_BYTES]):
        raise UnsupportedDocument("The file is full of control characters: it is not text.")


def _strictly(data: bytes, encoding: str) -> Decoded:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocument(
            f"The file begins as {encoding} text but breaks off or changes at byte {error.start}.",
            reason="corrupt",
        ) from error
    if "\x00" in text:
        raise UnsupportedDocument("The file holds NUL characters: it is binary data, not text.")
    return Decoded(text, encoding)


def _as_declared(data: bytes, declared: str | None) -> Decoded | None:
    try:
        name = codecs.lookup(declared or "").name
        return Decoded(data.decode(name), name)
    except (LookupError, UnicodeError):
        return None


def _damaged_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few broken bytes, as where a file was cut off inside a letter."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    beyond_ascii = len(_HIGH.findall(data)) - damaged
    if damaged * 20 > beyond_ascii:
        return None
    return Decoded(text, "utf-8", f"{damaged} bytes could not be decoded as UTF-8.")


def _guess(data: bytes) -> Decoded:
    first = _HIGH.search(data)  # there is one: ASCII is UTF-8
    start = max(0, (first.start() if first else 0) - 100)
    sample = data[start : start + _SAMPLE_BYTES]
    best = max(_CYRILLIC_ENCODINGS, key=lambda name: _cyrillic_share(sample, name))
    if _cyrillic_share(sample, best) >= 0.45:
        return _with_warning(data, best)
    if _is_western(sample):
        return _with_warning(data, "cp1252")
    from charset_normalizer import from_bytes

    match = from_bytes(sample).best()
    if match is None or is_garbled(signs(str(match))):
        raise UnreadableDocument(
            "The encoding of the text is not known; save the file as UTF-8.", reason="corrupt"
        )
    return _with_warning(data, match.encoding)


def _cyrillic_share(sample: bytes, encoding: str) -> float:
    """How Russian the bytes above ASCII read: frequent pairs among all their pairs."""
    text = sample.decode(encoding, "replace")
    # Mixed case inside a word ("рПЛТЩФЙЕ") is the mark of the wrong sibling.
    russian = " ".join(re.findall(r"\b(?:[А-ЯЁ]?[а-яё]+|[А-ЯЁ]{2,})\b", text))
    share, pairs = usual_pairs(russian)
    return share * min(1.0, pairs * 1.3 / max(len(_HIGH.findall(sample)), 1))


def _is_western(sample: bytes) -> bool:
    """Mostly ASCII letters, and what is not makes accents and typographic marks of cp1252."""
    text = sample.decode("cp1252", "replace")
    letters = sum(char.isalpha() for char in text)
    high = [char for char in text if ord(char) > 127]
    usual = sum(bool(_WESTERN.match(char)) for char in high)
    return len(high) < letters * 0.3 and usual >= len(high) * 0.95


def _with_warning(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    lost = text.count("\ufffd")
    warning = f"The file is not UTF-8; it was read as {encoding}."
    if lost:
        warning += f" {lost} bytes could not be decoded."
    return Decoded(text, encoding, warning)

"""Bounds on token counts from the tokenizers that come bundled, for servers that cannot count."""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final

import quicktok

from backend.core.errors import ConfigurationError

# The worst of the bundled tokenizers on Russian and the worst on runs of white space; the other
# two lie between them, and each takes 40 MB.
_ANY = ("cl100k_base", "o200k_base")
_LARGEST = "o200k_base"  # of the bundled vocabularies the one that needs the fewest tokens
_LOADING = threading.Lock()

# How far other tokenizers leave the bundled ones, measured on prose, tables and code. English words
# need up to 1.2 times the tokens of the worst bundled one (the 32k vocabulary of Mistral 7B),
# Russian words up to 1.6 times (SmolLM2, which was made for English); larger vocabularies (Gemma's
# 256k) need about as few as o200k.
_WORST_LATIN: Final = 1.4
_WORST_CYRILLIC: Final = 1.75
_BEST_TEXT: Final = 0.6
_SAME_TOKENIZER_UP, _SAME_TOKENIZER_DOWN = 1.02, 0.97  # pre-tokenizers differ in details

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A server reads these as one token wherever they stand, a tokenizer of plain text as several.
_CONTROL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?[a-z_]{1,40}>|\[/?[A-Z_]{1,40}\]")
_LATIN = re.compile(r" ?([A-Za-z]+)")
_CYRILLIC = re.compile(r" ?([\u0400-\u045f]+)")
_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Family:
    """Models with one tokenizer. What their chat templates add at most, in tokens:
    ``per_prompt`` once (a system prompt of its own, dates), ``per_message`` around each."""

    name: str
    encoding: str | None  # None: not bundled
    per_prompt: int
    per_message: int


UNKNOWN = Family("unknown", None, 160, 16)
_FAMILIES = {
    "qwen2.5": Family("qwen2.5", "qwen3", 40, 8),
    "qwen3": Family("qwen3", "qwen3", 40, 8),
    "llama3": Family("llama3", "llama3", 56, 8),
    "gpt-oss": Family("gpt-oss", "o200k_harmony", 144, 10),
}
# Only the generations that share a vocabulary: Qwen 3.5 and Llama 4 have others.
_BY_NAME = (
    (re.compile(r"(qwen2\.5|qwen2|qwq)(?![.\d])"), "qwen2.5"),
    (re.compile(r"qwen3(?![.\d])"), "qwen3"),
    (re.compile(r"(meta-)?llama-?3(\.[123])?(?![.\d])"), "llama3"),
    (re.compile(r"gpt-oss(?![.\d])"), "gpt-oss"),
)


def family_of(model: str) -> Family:
    """By name, with or without owner and tag: ``hf.co/bartowski/Qwen2.5-7B-GGUF:Q4_K_M``."""
    name = model.lower().rsplit("/", 1)[-1]
    for pattern, family in _BY_NAME:
        if pattern.match(name):
            return _FAMILIES[family]
    return UNKNOWN


def family_named(name: str) -> Family:
    """
    Raises:
        ConfigurationError: there is no such family.
    """
    if name in _FAMILIES:
        return _FAMILIES[name]
    known = ", ".join(_FAMILIES)
    raise ConfigurationError(f"There is no tokenizer for the family {name!r}. Known are: {known}.")


def most_tokens(text: str, family: Family) -> int:
    """No fewer than the model needs for ``text``. CPU work; call it in a thread."""
    text = _LONE_SURROGATE.sub("\ufffd", text)
    if family.encoding is None:
        return _most_of_any(text)
    # Qwen's tokenizer composes characters first, llama.cpp's version of it does not.
    composed, apart = [], 0
    for piece in re.split(r"(\s+)", text) if not unicodedata.is_normalized("NFC", text) else [text]:
        if unicodedata.is_normalized("NFC", piece):
            composed.append(piece)
        else:
            apart += len(piece.encode())
    same = _count(family.encoding, "".join(composed))
    return math.ceil(same * _SAME_TOKENIZER_UP) + apart


def usual_most_tokens(text: str) -> int:
    """What the worst of the bundled tokenizers needs, whichever the model has."""
    text = _LONE_SURROGATE.sub("\ufffd", text)
    return max(_count(encoding, text) for encoding in _ANY)


def fewest_tokens(text: str, family: Family) -> int:
    """No more than the model needs for ``text``, even where the template trims it and the
    server reads control tokens in it as such. CPU work; call it in a thread."""
    plain = _CONTROL.sub("", _LONE_SURROGATE.sub("\ufffd", text)).strip()
    if family.encoding is None:
        return math.floor(_count(_LARGEST, plain) * _BEST_TEXT)
    return math.floor(_count(family.encoding, plain) * _SAME_TOKENIZER_DOWN)


def _most_of_any(text: str) -> int:
    """Words as the worst tokenizer has them and more, everything else by its smallest parts:
    digits and signs one by one (Gemma, Mistral), other scripts and emoji by bytes, which is
    what any byte-level vocabulary falls back to."""
    latin = usual_most_tokens(" ".join(_LATIN.findall(text))) * _WORST_LATIN
    cyrillic = usual_most_tokens(" ".join(_CYRILLIC.findall(text))) * _WORST_CYRILLIC
    rest = _CYRILLIC.sub("", _LATIN.sub("", _SPACES.sub(_halved, text)))
    return math.ceil(latin + cyrillic) + len(rest.encode())


def _halved(spaces: re.Match[str]) -> str:
    return " " * math.ceil(len(spaces[0]) / 2)


def _count(encoding: str, text: str) -> int:
    return _loaded(encoding).count(text) if text else 0


def _loaded(encoding: str) -> quicktok.Tokenizer:
    with _LOADING:
        return _load(encoding)


@cache
def _load(encoding: str) -> quicktok.Tokenizer:
    return quicktok.get_encoding(encoding)

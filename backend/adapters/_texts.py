"""Texts on their way to a model that may be too small for them."""

from __future__ import annotations

import re

# A lone surrogate is no UTF-8, and what follows a NUL is lost on the way through C.
_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_BLANK = re.compile(r"\s")
_MIDDLE_SHARE = 4  # a blank is looked for in the half around the middle


def sendable(text: str) -> str:
    return _UNSAFE.sub(lambda found: " " if found[0] == "\x00" else "\ufffd", text)


def halves(text: str) -> tuple[str, str] | None:
    """Two parts that together are ``text``, cut at the blank nearest to the middle; None for a
    text that cannot be cut."""
    if len(text) < 2:
        return None
    middle, reach = len(text) // 2, len(text) // _MIDDLE_SHARE
    cuts = [found.end() for found in _BLANK.finditer(text, middle - reach, middle + reach)]
    cut = min(cuts, key=lambda place: abs(place - middle), default=middle)
    return text[:cut], text[cut:]

"""The files of ``config/prompts``: sections divided by lines ``---``, placeholders in braces."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from backend.core.errors import ConfigurationError

_DIVIDER = re.compile(r"^---[ \t]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_VERSION_DIGITS = 16


def sections(text: str, name: str, count: int) -> list[str]:
    """
    Raises:
        ConfigurationError: there are fewer or more than ``count``.
    """
    found = [section.strip() for section in _DIVIDER.split(text)]
    if len(found) != count:
        raise ConfigurationError(
            f"The prompt {name} has {len(found)} sections, not {count} divided by lines with "
            "only '---'."
        )
    return found


def require(section: str, placeholders: Iterable[str], name: str) -> None:
    """
    Raises:
        ConfigurationError: ``section`` lacks one of the placeholders.
    """
    missing = sorted(set(placeholders) - set(_PLACEHOLDER.findall(section)))
    if missing:
        names = ", ".join(f"{{{placeholder}}}" for placeholder in missing)
        raise ConfigurationError(f"The prompt {name} lacks {names}.")


def fill(section: str, values: Mapping[str, str]) -> str:
    """In one pass, so that a placeholder inside a document stays text; so does an unknown one."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), section)


def version_of(texts: Iterable[str]) -> str:
    """Changes with every character."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:_VERSION_DIGITS]

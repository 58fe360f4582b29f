"""What every command that talks to a backend reads the same way."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from backend.core.errors import InvalidRequest
from backend.core.identity import clean_space_id
from cli.client import Address
from cli.terminal import tell


def clean_space(parser: argparse.ArgumentParser, space_id: str) -> str:
    """Ends the program with the parser's message when it is not allowed."""
    try:
        return clean_space_id(space_id)
    except InvalidRequest as error:
        parser.error(str(error))


def address_of(url: str | None, environment: Mapping[str, str]) -> Address | None:
    """None, and a line that says why, when the address makes no sense."""
    try:
        return Address.of(url, environment)
    except ValueError as error:
        tell(str(error))
        return None

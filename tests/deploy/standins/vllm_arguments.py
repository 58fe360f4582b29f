"""Reads a command line as ``vllm serve`` does: what vLLM does not know is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

OPTIONS_FILE = Path(__file__).with_name("vllm_options.txt")

Options = dict[str, list[str]]


class WrongArguments(Exception):
    """The message is what vLLM's parser prints."""


def known_options() -> dict[str, str]:
    """What each option takes: nothing, ``NAME``, ``NAME [NAME ...]`` or ``{one,of,these}``."""
    lines = OPTIONS_FILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: takes for name, _, takes in pairs}


def parse_serve(arguments: Sequence[str]) -> tuple[str, Options]:
    """The model and the options with their values.

    Raises:
        WrongArguments: an unknown option, a missing or impossible value, a missing model.
    """
    known, options, rest = known_options(), Options(), list(arguments)
    model = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    while rest:
        name, given, value = rest.pop(0).partition("=")
        if name not in known:
            raise WrongArguments(f"unrecognized arguments: {name}")
        values = [value] if given else _values(known[name], rest)
        _check(name, known[name], values)
        options[name] = values
    model = model or (options.get("--model") or [""])[0]
    if not model:
        raise WrongArguments("no model is named")
    return model, options


def _values(takes: str, rest: list[str]) -> list[str]:
    values: list[str] = []
    most = 0 if not takes else len(rest) if "..." in takes else 1
    while rest and len(values) < most and not rest[0].startswith("--"):
        values.append(rest.pop(0))
    return values


def _check(name: str, takes: str, values: list[str]) -> None:
    if takes and not values:
        raise WrongArguments(f"argument {name}: expected one argument")
    if not takes and values:
        raise WrongArguments(f"argument {name}: ignored explicit argument {values[0]!r}")
    choices = takes.strip("{}").split(",") if takes.startswith("{") and takes[-1] == "}" else None
    if choices and values[0] not in choices:
        raise WrongArguments(f"argument {name}: invalid choice: {values[0]!r}")

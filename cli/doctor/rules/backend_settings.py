"""Whether the backend's own settings can be loaded; their messages are the backend's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from pydantic import ValidationError

from backend.settings import Settings
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding


def check(configuration: Configuration, problem: ValidationError) -> Iterator[Finding]:
    for error in problem.errors():
        message = str(error["msg"]).removeprefix("Value error, ")
        if not error["loc"]:
            continue  # what belongs together is said by the other rules, with the line
        name = str(error["loc"][0]).upper()
        value = configuration.value(name)
        shown = "<hidden>" if name.endswith("_KEY") else repr(value)
        yield configuration.finding(
            "error",
            "bad_value",
            name,
            f"{name}={shown} is not allowed: {message[:1].lower()}{message[1:]}.",
            "The backend does not start with it.",
            f"{name}={_mended_setting(name, value, dict(error), configuration.mode)}",
        )


def together(configuration: Configuration, problem: ValidationError) -> Iterator[Finding]:
    """What the settings say of several variables, where no other rule has said it."""
    for error in problem.errors():
        message = str(error["msg"]).removeprefix("Value error, ")
        names = [
            name
            for name in re.findall(r"[A-Z][A-Z0-9_]{3,}", message)
            if name in configuration.known
        ]
        anchor = next((name for name in reversed(names) if configuration.line(name)), "LLM_MODE")
        missing = names[0] if names else anchor
        yield configuration.beside(
            anchor,
            "error",
            "contradiction",
            missing,
            f"{message}.",
            "The backend does not start.",
            f"{missing}=…",
        )


def _mended_setting(name: str, value: str, error: dict[str, object], mode: str) -> str:
    context = error.get("ctx")
    context = context if isinstance(context, dict) else {}
    if "expected" in context:
        allowed = re.findall(r"'([^']+)'", str(context["expected"]))
        return _nearest_of(value, allowed, mode if mode in allowed else allowed[0])
    bounds = [str(context[bound]) for bound in ("le", "ge", "lt") if bound in context]
    if bounds:
        return bounds[0]
    if seconds := _seconds(name, value):
        return seconds
    number = _number(value, str(error.get("type")))
    if number and name != "CHUNK_OVERLAP_TOKENS":
        return number
    field = Settings.model_fields.get(name.lower())
    default = field.default if field is not None else None
    shown = "" if default is None else str(default)
    return shown.lower() if isinstance(default, bool) else shown


def _seconds(name: str, value: str) -> str:
    """2m as 120: times are written in seconds."""
    found = re.fullmatch(r"(\d+)\s*(s|m|h)[a-z]*\.?", value.strip(), re.IGNORECASE)
    if found is None or not name.endswith(("_TIMEOUT", "_TTL")):
        return ""
    return str(int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2].lower()])


def _nearest_of(value: str, allowed: list[str], default: str) -> str:
    switch = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}
    if switch.get(value.lower()) in allowed:
        return switch[value.lower()]
    plain = re.sub(r"[^a-z]", "", value.lower())
    for one in allowed:
        if one.lower() in {value.lower(), plain}:
            return one
    near = difflib.get_close_matches(value.lower(), allowed, n=1, cutoff=0.5)
    return near[0] if near else default


def _number(value: str, kind: str) -> str:
    """2k as 2048 and 0,2 as 0.2; empty where no number was asked for or given."""
    found = re.search(r"(-?\d+(?:\.\d+)?)\s*([kKmMgG]?)", value.replace(",", "."))
    if found is None or not kind.startswith(("int_", "float_")):
        return ""
    if kind.startswith("float_"):
        return found[1]
    power = "kmg".find(found[2].lower()) + 1 if found[2] else 0
    return str(int(float(found[1]) * 1024**power))

"""How the env file is written: what Compose refuses, or reads otherwise than it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from backend.core.deployment import CONTAINER_VARIABLES
from cli.doctor.configuration import Configuration
from cli.doctor.env_file import Assignment, EnvFile, Unreadable
from cli.doctor.findings import Finding
from cli.doctor.names import as_ascii, guess

# Free text and paths may be in any alphabet.
_FREE_TEXT = re.compile(r".*(_PREFIX|_DIR|_PASSWORD|_FILE)")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\xad\xa0\u202f\u3000]")
_TYPOGRAPHIC_QUOTES = re.compile("[“”„«»‘’‚＂＇]")

_STOPS = {
    "space_in_name": "there is a blank inside the name of the variable",
    "character_in_name": "the name of the variable holds a character no name may have",
    "unbalanced_quote": "a quote is opened and never closed",
    "bad_interpolation": "what stands after $ is no variable Compose can fill in",
    "required_missing": "a variable that ${…?…} asks for has no value",
}


def check(file: EnvFile, configuration: Configuration) -> Iterator[Finding]:
    if file.stopped is not None:
        yield _unreadable(file, file.stopped, configuration.known)
    if file.text.startswith("\ufeff"):
        first = file.text.removeprefix("\ufeff").split("\n", 1)[0].rstrip("\r")
        yield Finding(
            "warning",
            "byte_order_mark",
            "The file starts with an invisible byte order mark.",
            "Compose skips it, but the backend without Docker and the shell take it for a part of "
            "the first line, whose variable is then unknown.",
            first,
            file.path,
            1,
        )
    for assignment in file.assignments:
        yield from _assignment(file, assignment, configuration)
    yield from _duplicates(file)
    yield from _self_reference_order(file)


def _unreadable(file: EnvFile, stopped: Unreadable, known: frozenset[str]) -> Finding:
    return Finding(
        "error",
        stopped.reason,
        f"Compose cannot read the line: {_STOPS[stopped.reason]}.",
        "docker compose stops with an error before it starts anything, and the lines below this "
        "one have not been checked.",
        _mended(stopped, known),
        file.path,
        stopped.line,
    )


def _mended(stopped: Unreadable, known: frozenset[str]) -> str:
    text = as_ascii(stopped.text).strip()
    name, separator, value = text.partition("=")
    if stopped.reason == "unbalanced_quote":
        return f"{name.strip()}={value.strip().strip(chr(34) + chr(39))}"
    if stopped.reason == "bad_interpolation":
        closed = text.count("${") <= text.count("}")
        return re.sub(r"\$(?=\{)", "$$", text) if closed else text + "}"
    if stopped.reason == "required_missing":
        found = re.search(r"\$\{(\w+)", text)
        return f"{found[1] if found else 'NAME'}=…\n{text}"
    return _named(name, value, known) if separator else _without_equals(text, known)


def _named(name: str, value: str, known: frozenset[str]) -> str:
    cleaned = re.sub(r"^(export|set|setx)\s+", "", name.strip(), flags=re.IGNORECASE)
    meant = guess(re.sub(r"[^\w-]+", "_", cleaned.strip("'\" ")), known)
    right = meant.name if meant else re.sub(r"[^A-Za-z0-9_]+", "_", cleaned)
    return f"{right}={value.strip()}"


def _without_equals(text: str, known: frozenset[str]) -> str:
    words = text.split(None, 1)
    meant = guess(words[0], known) if len(words) == 2 else None
    return f"{meant.name}={words[1]}" if meant and meant.sure else f"# {text}"


def _assignment(
    file: EnvFile, found: Assignment, configuration: Configuration
) -> Iterator[Finding]:
    def says(severity: str, code: str, what: str, why: str, fix: str) -> Finding:
        level = "error" if severity == "error" else "warning"
        return Finding(level, code, what, why, fix, file.path, found.line)  # type: ignore[arg-type]

    if found.value is None or (not found.raw and found.name == found.written):
        if found.value is None:
            yield says(
                "warning",
                "no_value",
                f"{found.name} stands without an equals sign.",
                "Compose takes its value from the shell, where it is not set: the variable stays "
                "unset.",
                f"{found.name}=",
            )
        return
    if found.raw.startswith("#"):
        yield says(
            "error",
            "comment_is_value",
            f"{found.name} has no value but a comment, which Compose takes for the value.",
            "The variable becomes the text of the comment. A comment needs a value before it, or a "
            "line of its own.",
            f"{found.raw}\n{found.name}=",
        )
        return
    for rule in (_swallowed, _dropped, _spelling, _interpolated, _letters):
        yield from rule(found, says, configuration)


Says = Callable[[str, str, str, str, str], Finding]


def _swallowed(found: Assignment, says: Says, _: Configuration) -> Iterator[Finding]:
    value = found.value or ""
    joined = re.search(r"\S(\t+#|#(?=\s))", value)
    if found.quote or joined is None or "#" not in found.raw:
        return
    clean = value[: joined.start() + 1].rstrip()
    yield says(
        "error",
        "comment_in_value",
        f"{found.name} takes its comment with it: Compose reads {value!r}.",
        "A comment after a value starts at a blank followed by #; here the blank is missing.",
        f"{found.name}={clean} {value[joined.start() + 1 :].strip()}",
    )


def _dropped(found: Assignment, says: Says, _: Configuration) -> Iterator[Finding]:
    if found.dropped:
        yield says(
            "error",
            "text_after_quote",
            f"{found.name}: what stands after the closing quote is dropped ({found.dropped!r}).",
            f"Compose reads only {found.value!r}.",
            f"{found.name}={found.raw} # {found.dropped}",
        )
    if found.quote and "\n" in (found.value or ""):
        first = (found.value or "").split("\n", 1)[0].rstrip("\r ")
        yield says(
            "error",
            "value_over_lines",
            f"The quote of {found.name} is closed only on a later line.",
            "The lines between are read as a part of its value, and the variables in them are "
            "not set.",
            f"{found.name}={first}",
        )


def _spelling(found: Assignment, says: Says, _: Configuration) -> Iterator[Finding]:
    body = re.sub(r"^\s*export\s+", "", found.written)
    right = f"{found.name}={found.raw.rstrip()}"
    if re.match(rf"\s*{re.escape(found.name)}\s*:", body):
        yield says(
            "warning",
            "colon",
            f"{found.name} is written with a colon instead of an equals sign.",
            "Compose reads it, the backend without Docker and the shell do not.",
            right,
        )
    elif re.match(rf"\s*{re.escape(found.name)}(\s+=|=[^\S\n]+\S)", body):
        yield says(
            "warning",
            "space_around_equals",
            f"There are blanks around the equals sign of {found.name}.",
            "Compose reads it, but a shell that sources the file and docker run --env-file do not.",
            right,
        )


def _interpolated(found: Assignment, says: Says, configuration: Configuration) -> Iterator[Finding]:
    for name in found.undefined:
        entry = configuration.entries.get(name)
        if entry is not None and entry.line and entry.line < found.line:
            continue  # misspelt above, and said there
        secret = found.name.endswith(("_KEY", "_TOKEN", "_PASSWORD"))
        above = {one for one in configuration.entries if configuration.line(one) != found.line}
        meant = guess(name, above)
        if name in configuration.known and not secret:
            fix = f"{name}=…\n{found.written}"
        elif secret or meant is None:
            fix = f"{found.name}={found.raw.replace('$', '$$')}"
        else:
            fix = f"{found.name}={found.raw.replace(name, meant.name)}"
        yield says(
            "error",
            "undefined_interpolation",
            f"{found.name} uses ${name}, which is not set"
            + (" above it." if name in configuration.known else "."),
            "Compose puts nothing in its place. A dollar sign that belongs to the value is written "
            "twice, or the value in single quotes.",
            fix,
        )


def _letters(found: Assignment, says: Says, configuration: Configuration) -> Iterator[Finding]:
    value = found.value or ""
    if (
        value.isascii()
        or found.raw.isascii()
        or found.name not in configuration.known | CONTAINER_VARIABLES
    ):
        return
    plain = as_ascii(value).strip().strip("'\"")
    typographic = _TYPOGRAPHIC_QUOTES.search(value)
    if typographic is None and (_FREE_TEXT.fullmatch(found.name) or plain == value):
        return
    odd = next((letter for letter in value if not letter.isascii()), "")
    kind = "a typographic quote" if typographic else f"the character {odd!r} (U+{ord(odd):04X})"
    if _INVISIBLE.search(value):
        kind = f"an invisible character (U+{ord(_INVISIBLE.search(value)[0]):04X})"  # type: ignore[index]
    yield says(
        "error",
        "look_alike",
        f"The value of {found.name} holds {kind} that only looks like a plain one.",
        "It becomes a part of the value, and nothing of that name exists.",
        f"{found.name}={plain}",
    )


def _duplicates(file: EnvFile) -> Iterator[Finding]:
    last = file.values()
    for found in file.assignments:
        winner = last[found.name]
        if found is winner or found.value == winner.value:
            continue
        yield Finding(
            "error",
            "duplicate",
            f"{found.name} is set twice: {_shown(found)} here and {_shown(winner)} in line "
            f"{winner.line}.",
            "The later line wins without a word; this one has no effect.",
            found.written,
            file.path,
            found.line,
            "remove",
        )


def _self_reference_order(file: EnvFile) -> Iterator[Finding]:
    """NAME=${OTHER:-default} above the line that sets OTHER takes the default."""
    lines = {found.name: found for found in file.assignments}
    for found in file.assignments:
        if found.quote == "'":
            continue
        for name in re.findall(r"\$\{?([A-Za-z_]\w*)", found.raw):
            other = lines.get(name)
            if other is None or other.line <= found.line or name in found.undefined:
                continue
            if (other.value or "") in (found.value or ""):
                continue
            yield Finding(
                "error",
                "used_before_set",
                f"{found.name} uses ${name}, which is set only below, in line {other.line}.",
                f"Compose reads from top to bottom: {found.name} becomes {_shown(found)}.",
                f"{other.written}\n{found.written}",
                file.path,
                found.line,
            )


def _shown(found: Assignment) -> str:
    if found.name.endswith(("_KEY", "_TOKEN", "_PASSWORD")):
        return "<hidden>"
    return repr(found.value or "")

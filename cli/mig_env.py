"""Setting variables in an env file and leaving everything else in it as it is."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The env file with each variable set. Every line that sets none of them stays as it is; of
    those that do, the comment behind the value and the line's end stay."""
    for name, value in values.items():
        text = _with_value(text, name, value)
    return text


def _with_value(text: str, name: str, value: str) -> str:
    line = re.compile(
        rf"^(?P<head>[ \t]*(?:export[ \t]+)?{re.escape(name)}[ \t]*[=:])"
        r"(?:[ \t]*\"[^\"\r\n]*\"|[ \t]*'[^'\r\n]*'|[^\r\n]*?)"
        r"(?P<tail>[ \t]+#[^\r\n]*)?[ \t]*(?=\r?$)",
        re.MULTILINE,
    )
    if line.search(text):
        # All of them: a reader takes the last, and one that says otherwise misleads.
        return line.sub(lambda found: f"{found['head']}{value}{found['tail'] or ''}", text)
    end = "\r\n" if "\r\n" in text else "\n"
    missing = "" if not text or text.endswith("\n") else end
    return f"{text}{missing}{name}={value}{end}"


def set_values(path: Path, values: Mapping[str, str]) -> bool:
    """Whether the file had to be changed.

    Raises:
        OSError: it cannot be read or replaced.
    """
    before = path.read_bytes()
    text = before.decode("utf-8", errors="surrogateescape")
    after = with_values(text, values).encode("utf-8", errors="surrogateescape")
    if after == before:
        return False
    _replace(path, after)
    return True


def _replace(path: Path, content: bytes) -> None:
    """In one step, so that a reader sees the old file or the new one; permissions stay."""
    target = path.resolve()
    status = target.stat()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError):  # only root gives a file to another owner
            os.chown(name, status.st_uid, status.st_gid)
        Path(name).chmod(status.st_mode & 0o7777)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""The files of a folder that can be indexed, and what is left out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".txt", ".md", ".pdf", ".docx", ".html", ".htm", ".csv", ".xlsx"})

HIDDEN = "hidden"
LINKED_FOLDER = "linked folder"
NOT_A_FILE = "not a regular file"
NO_SUFFIX = "no suffix"


@dataclass(frozen=True, slots=True)
class FoundFile:
    path: Path
    source: str  # path within the folder, "/" between names
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder that cannot be listed, or an entry the system says nothing about."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """``skipped`` counts by suffix, or by one of the reasons above."""

    files: tuple[FoundFile, ...]
    skipped: Mapping[str, int]
    unreadable: tuple[Unreadable, ...]


def find_files(folder: Path) -> Found:
    """All of ``folder``, sorted by source. Links to folders are not followed, so there are no
    loops and no file is found twice; a hidden folder counts as one."""
    files: list[FoundFile] = []
    skipped: Counter[str] = Counter()
    unreadable: list[Unreadable] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            names = sorted(os.listdir(current))
        except OSError as error:
            unreadable.append(_unreadable(current, folder, error))
            continue
        for path in map(current.joinpath, names):
            try:
                found = _look_at(path)
            except OSError as error:
                unreadable.append(_unreadable(path, folder, error))
                continue
            if isinstance(found, str):
                skipped[found] += 1
            elif stat.S_ISDIR(found.st_mode):
                waiting.append(path)
            else:
                source = path.relative_to(folder).as_posix()
                files.append(FoundFile(path, source, found.st_size))
    files.sort(key=lambda file: file.source)
    return Found(tuple(files), dict(skipped), tuple(unreadable))


def _look_at(path: Path) -> os.stat_result | str:
    """A folder or file to take, or the reason why not."""
    # "~$plan.docx" is what Word keeps beside an open plan.docx.
    if path.name.startswith((".", "~$")):
        return HIDDEN
    try:
        found = path.stat()
    except OSError:
        if path.is_symlink():  # to nowhere, or to itself
            return NOT_A_FILE
        raise
    if stat.S_ISDIR(found.st_mode):
        return LINKED_FOLDER if path.is_symlink() else found
    if not stat.S_ISREG(found.st_mode):
        return NOT_A_FILE
    suffix = path.suffix.lower()
    return found if suffix in SUFFIXES else suffix or NO_SUFFIX


def _unreadable(path: Path, folder: Path, error: OSError) -> Unreadable:
    return Unreadable(path.relative_to(folder).as_posix(), error.strerror or str(error))

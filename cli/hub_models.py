"""Whole repositories for vLLM, in the cache layout of huggingface_hub.

``models--ORG--NAME/`` holds ``blobs/CHECKSUM``, ``snapshots/COMMIT/PATH`` (links to blobs) and
``refs/REVISION`` (the commit). A server with ``HF_HUB_OFFLINE=1`` finds the model by the ref, which
is therefore written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.hub_api import Hub, Listing, RepositoryFile, check_repository
from cli.hub_selection import Selection, select
from cli.model_fetch import FileFetcher, Reporter, Target, check_room, free_bytes

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubCache:
    """``folder``: what HF_HUB_CACHE names, ``hub`` within HF_HOME."""

    folder: Path

    def of(self, repository: str) -> Path:
        return self.folder / self._name(repository)

    def snapshot(self, repository: str, commit: str) -> Path:
        return self.of(repository) / "snapshots" / commit

    def target(self, repository: str, file: RepositoryFile) -> Target:
        digest = file.checksum.hex
        blob = self.of(repository) / "blobs" / digest
        return Target(
            path=blob,
            part=blob.with_name(f"{digest}.incomplete"),
            # Where huggingface_hub takes its lock: it and we wait for each other.
            lock=self.folder / ".locks" / self._name(repository) / f"{digest}.lock",
            size_bytes=file.size_bytes,
            checksum=file.checksum,
        )

    def link(self, listing: Listing, file: RepositoryFile) -> None:
        link = self.snapshot(listing.repository, listing.commit) / file.path
        blob = self.target(listing.repository, file).path
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(blob, link.parent))
        fresh.replace(link)

    def name_revision(self, listing: Listing, revision: str) -> None:
        if revision == listing.commit:
            return
        ref = self.of(listing.repository) / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_name(f".{ref.name}.{os.getpid()}")
        fresh.write_text(listing.commit, encoding="ascii")
        fresh.replace(ref)

    def found(self, repository: str, revision: str) -> Path | None:
        """The snapshot an offline server would take, if all its links lead somewhere."""
        check_repository(repository, revision)
        ref = self.of(repository) / "refs" / revision
        if _COMMIT.fullmatch(revision):
            commit = revision
        elif ref.is_file():
            commit = ref.read_text(encoding="ascii").strip()
        else:
            return None
        files = list(self.snapshot(repository, commit).rglob("*"))
        whole = bool(files) and all(file.exists() for file in files)
        return self.snapshot(repository, commit) if whole else None

    @staticmethod
    def _name(repository: str) -> str:
        return "models--" + repository.replace("/", "--")


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a repository is to be fetched."""

    listing: Listing
    selection: Selection

    def missing_bytes(self, cache: HubCache) -> int:
        targets = {
            file.checksum.hex: cache.target(self.listing.repository, file)
            for file in self.selection.files
        }
        return sum(target.missing_bytes for target in targets.values())


def plan(hub: Hub, repository: str, revision: str) -> Plan:
    """Asks the hub, fetches nothing.

    Raises:
        FetchError: it cannot be fetched, or vLLM could not serve it.
    """
    listing = hub.listing(repository, revision)
    selection = select(listing.files, repository)
    hub.check_access(listing, max(selection.files, key=lambda file: file.size_bytes))
    return Plan(listing, selection)


def fetch(
    plan: Plan,
    hub: Hub,
    cache: HubCache,
    revision: str,
    reporter: Reporter,
    free: Callable[[Path], int] = free_bytes,
) -> Path:
    """The snapshot's folder. Small files come first: an error in access or room costs little.

    Raises:
        FetchError: it could not be completed; what was fetched stays for the next time.
    """
    listing = plan.listing
    check_room(cache.folder, plan.missing_bytes(cache), free(cache.folder))
    fetcher = FileFetcher(reporter, free)
    for file in sorted(plan.selection.files, key=lambda file: file.size_bytes):
        fetcher.place(cache.target(listing.repository, file), [hub.download(listing, file)])
        cache.link(listing, file)
    cache.name_revision(listing, revision)
    return cache.snapshot(listing.repository, listing.commit)

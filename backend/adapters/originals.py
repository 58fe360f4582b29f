"""Uploaded files in a folder, named by the SHA-256 of their content."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class FolderOriginals:
    """``<folder>/ab/abcdef…``; a file is moved into its place when it is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    async def adopt(self, temporary: Path, sha256: str) -> None:
        await asyncio.to_thread(self._adopt, temporary, self.path(sha256))

    @staticmethod
    def _adopt(temporary: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(place)

    async def remove(self, sha256: str) -> None:
        await asyncio.to_thread(self.path(sha256).unlink, missing_ok=True)

"""What the embedded store of a folder was filled with, read while a backend may hold it open.

The engine opens a copy, in a process of its own (``python -m cli.doctor.embedded FOLDER``): it may
end the process on files it cannot read, and a copy taken while they are written may be such.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cli.doctor.host_probe import ask

# What backend.adapters.stores.schema writes; tests/unit/test_doctor_store.py compares.
META_ID = str(uuid5(NAMESPACE_URL, "meta"))

TIMEOUT_S = 2.0
LARGEST_COPY_BYTES = 300 * 1024 * 1024  # on disk; a record takes about a kilobyte
_PIECE_BYTES = 1024 * 1024


def remembered(folder: Path) -> str | None:
    """The fingerprint in ``folder`` (DATA_DIR/qdrant); None where none can be read in time."""
    if not (folder / "documents").is_dir():
        return None
    answer = ask((sys.executable, "-m", "cli.doctor.embedded", str(folder)), TIMEOUT_S)
    return (answer.output.strip() or None) if answer is not None and answer.code == 0 else None


def read(folder: Path) -> str | None:
    import qdrant_edge as edge

    documents = folder / "documents"
    files = [path for path in documents.rglob("*") if path.is_file()]
    if not files or sum(path.stat().st_blocks * 512 for path in files) > LARGEST_COPY_BYTES:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "documents"
        shutil.copytree(documents, copy, copy_function=_copy_sparse)
        shard = edge.EdgeShard.load(str(copy), None)
        try:
            found = shard.retrieve([META_ID], True, False)
        finally:
            shard.close()
    return str(found[0].payload["fingerprint"]) if found and found[0].payload else None


def _copy_sparse(source: str, target: str) -> None:
    """Without the holes: the engine's files are mostly those."""
    if not hasattr(os, "SEEK_DATA"):
        shutil.copyfile(source, target)
        return
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < end and (piece := os.pread(old.fileno(), min(_PIECE_BYTES, end - at), at)):
                at += os.pwrite(new.fileno(), piece, at)
        new.truncate(size)


if __name__ == "__main__":
    print(read(Path(sys.argv[1])) or "")

"""What makes a document this document, and a collection this collection."""

from __future__ import annotations

import re
import unicodedata
from uuid import NAMESPACE_URL, uuid5

from backend.core.errors import InvalidRequest
from backend.core.ports import Embedder

MAX_SOURCE_CHARS = 1024
MAX_NAME_CHARS = 255
_SPACE_ID = re.compile(r"^[\w.-]{1,128}$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def document_id(space_id: str, source: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"quadrate:{space_id}\x1f{source}"))


def clean_space_id(space_id: str) -> str:
    """
    Raises:
        InvalidRequest: not 1 to 128 letters, digits, ``_``, ``-`` or ``.``.
    """
    cleaned = unicodedata.normalize("NFC", space_id.strip())
    if not _SPACE_ID.match(cleaned):
        raise InvalidRequest(
            f"space_id {space_id[:140]!r} is not allowed: "
            "use 1 to 128 letters, digits, '_', '-' or '.'."
        )
    return cleaned


def clean_source(source: str) -> str:
    """The path within its folder, in one spelling: NFC, ``/`` between names.

    Raises:
        InvalidRequest: empty, too long, or it climbs out of its folder.
    """
    cleaned = unicodedata.normalize("NFC", source).replace("\\", "/").strip()
    if _CONTROL.search(cleaned):
        raise InvalidRequest("The file name holds control characters.")
    names = [name for name in cleaned.split("/") if name not in ("", ".")]
    if ".." in names:
        raise InvalidRequest(f"The source {source[:200]!r} climbs out of its folder with '..'.")
    if not names:
        raise InvalidRequest("The file has no name; send one, or set `source`.")
    if max(map(len, names)) > MAX_NAME_CHARS or len(cleaned) > MAX_SOURCE_CHARS:
        raise InvalidRequest(
            f"The source is too long: a name holds at most {MAX_NAME_CHARS} characters "
            f"and the whole path {MAX_SOURCE_CHARS}."
        )
    return "/".join(names)


# --- collections -------------------------------------------------------------------------------

_CHUNKER = "+chunks-v1/"  # the version rises when the same settings give other chunks


def collection_fingerprint(
    embedder: Embedder, chunk_size_tokens: int, chunk_overlap_tokens: int
) -> str:
    """What decides how a document is indexed, besides its content: chunks made by different
    ones must not meet in one collection."""
    return f"{embedder.fingerprint}{_CHUNKER}{chunk_size_tokens}/{chunk_overlap_tokens}"


def embedding_part(fingerprint: str) -> str:
    return _parts(fingerprint)[0]


def chunker_part(fingerprint: str) -> str:
    """Empty in collections of version 0.1, which remembered the embedding model only."""
    return _parts(fingerprint)[1]


def _parts(fingerprint: str) -> tuple[str, str]:
    embedding, mark, chunker = fingerprint.rpartition("+chunks-")
    return (embedding, mark.removeprefix("+") + chunker) if mark else (fingerprint, "")

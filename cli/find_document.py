"""Which document of a space a person means: by its doc_id, its source, or the end of its path."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial

from cli.client import Client
from cli.failures import ClientError, Patience
from cli.schemas import Document

PAGE_SIZE = 1000
_CANDIDATES = 10


class NotOneDocument(ClientError):
    """What was given names no document of the space, or several; the message lists candidates."""

    code = "not_one_document"


async def find_document(client: Client, space_id: str, given: str, patience: Patience) -> Document:
    """
    Raises:
        NotOneDocument: it names none, or more than one.
        ClientError: the space cannot be listed.
    """
    documents = await documents_of(client, space_id, patience)
    found = matching(given, documents)
    if len(found) == 1:
        return found[0]
    if found:
        raise NotOneDocument(
            f"{given!r} names {len(found)} documents of space {space_id}; give the whole source "
            f"or the doc_id:{_listed(found)}"
        )
    if not documents:
        raise NotOneDocument(f"Space {space_id} holds no documents.")
    nearest = _listed(_nearest(given, documents))
    raise NotOneDocument(f"Space {space_id} holds no document {given!r}. It holds:{nearest}")


async def documents_of(client: Client, space_id: str, patience: Patience) -> list[Document]:
    documents: list[Document] = []
    while True:
        offset = len(documents)
        next_page = partial(client.documents, space_id, limit=PAGE_SIZE, offset=offset)
        page = await patience.with_(next_page)
        documents += page.documents
        if not page.documents or len(documents) >= page.total:
            return documents


def matching(given: str, documents: Sequence[Document]) -> list[Document]:
    """Those that the most exact way of reading ``given`` names, by source."""
    for document in documents:
        if document.doc_id == given.strip().lower():
            return [document]
    for fold in (False, True):
        wanted = _names(given, fold=fold)
        by_names = [(document, _names(document.source, fold=fold)) for document in documents]
        for found in _readings(wanted, by_names):
            if found:
                return sorted(found, key=lambda document: document.source)
    return []


def _readings(
    wanted: tuple[str, ...], by_names: Sequence[tuple[Document, tuple[str, ...]]]
) -> Iterator[list[Document]]:
    if not wanted:
        return
    yield [document for document, names in by_names if names == wanted]
    yield [document for document, names in by_names if names[-len(wanted) :] == wanted]
    # The path of the file that was indexed, of which the source is the end.
    yield [document for document, names in by_names if wanted[-len(names) :] == names]


def _names(path: str, *, fold: bool) -> tuple[str, ...]:
    cleaned = unicodedata.normalize("NFC", path).replace("\\", "/").strip()
    names = tuple(name for name in cleaned.split("/") if name not in ("", ".", ".."))
    return tuple(name.casefold() for name in names) if fold else names


def _nearest(given: str, documents: Sequence[Document]) -> list[Document]:
    """All of a small space, else those spelt most like it."""
    ordered = sorted(documents, key=lambda document: document.source)
    if len(ordered) <= _CANDIDATES:
        return ordered
    word = given.casefold()
    alike = difflib.SequenceMatcher(b=word, autojunk=False)

    def likeness(document: Document) -> tuple[bool, float]:
        name = document.source.rpartition("/")[2].casefold()
        alike.set_seq1(name)
        return word in document.source.casefold(), alike.ratio()

    return sorted(ordered, key=likeness, reverse=True)


def _listed(documents: Sequence[Document]) -> str:
    shown = [f"\n  {document.source}  ({document.doc_id})" for document in documents[:_CANDIDATES]]
    more = len(documents) - len(shown)
    return "".join(shown) + (f"\n  and {more} more" if more else "")

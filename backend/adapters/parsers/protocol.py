"""How a request and its outcome cross the border between the service and its worker.

Lengths, JSON and UTF-8 instead of pickle: a worker that a hostile file has taken over must
not be able to run code in the service.

A request is one line of JSON. A reply is one line with the lengths of its two parts, then
a JSON object (an error, or a document without its text), then the text in UTF-8.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.adapters.parsers.limits import ParserLimits
from backend.core.errors import (
    InvalidRequest,
    RagError,
    TooLarge,
    UnreadableDocument,
    UnsupportedDocument,
)
from backend.core.types import Heading, ParsedDocument

READY = b"ready\n"


def encode_request(path: Path, name: str, limits: ParserLimits) -> bytes:
    # Absolute: the worker runs in another folder.
    request = {"path": str(path.absolute()), "name": name, "limits": asdict(limits)}
    return json.dumps(request).encode("ascii") + b"\n"


def decode_request(line: bytes) -> tuple[Path, str, ParserLimits]:
    request = json.loads(line)
    return Path(request["path"]), request["name"], ParserLimits(**request["limits"])


def encode_outcome(outcome: ParsedDocument | InvalidRequest) -> bytes:
    text = b""
    if isinstance(outcome, ParsedDocument):
        text = outcome.text.encode("utf-8")
        meta: dict[str, Any] = {
            "format": outcome.format,
            "headings": [(h.level, h.title, h.start, h.end) for h in outcome.headings],
            "page_starts": outcome.page_starts,
            "title": outcome.title,
            "warnings": outcome.warnings,
        }
    else:
        meta = {"error": outcome.code, "message": str(outcome), **outcome.details}
    body = json.dumps(meta).encode("ascii")
    return b"%d %d\n" % (len(body), len(text)) + body + text


def decode_lengths(line: bytes) -> tuple[int, int]:
    body, text = line.split()
    return int(body), int(text)


def decode_outcome(body: bytes, text: Iterable[bytes]) -> ParsedDocument:
    """The document, or its error raised; ``ValueError`` or ``KeyError`` where it is neither."""
    meta = json.loads(body)
    if "error" in meta:
        raise _error(meta)
    return ParsedDocument(
        text="".join(codecs.iterdecode(text, "utf-8")),
        format=str(meta["format"]),
        headings=tuple(
            Heading(int(level), str(title), int(start), int(end))
            for level, title, start, end in meta["headings"]
        ),
        page_starts=tuple(int(start) for start in meta["page_starts"]),
        title=None if meta["title"] is None else str(meta["title"]),
        warnings=tuple(str(warning) for warning in meta["warnings"]),
    )


def _error(meta: dict[str, Any]) -> RagError:
    message = str(meta["message"])
    if meta["error"] == UnsupportedDocument.code:
        return UnsupportedDocument(message)
    if meta["error"] == TooLarge.code:
        return TooLarge(message, setting=str(meta["setting"]), limit=int(meta["limit"]))
    return UnreadableDocument(message, reason=str(meta["reason"]))

"""A parser for tests of everything behind it: the file's bytes are its text."""

from __future__ import annotations

from pathlib import Path

from backend.core.errors import UnreadableDocument
from backend.core.types import ParsedDocument


class PlainParser:
    async def parse(self, path: Path, name: str) -> ParsedDocument:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise UnreadableDocument("The file is empty.", reason="empty")
        return ParsedDocument(text, format=Path(name).suffix.lstrip(".") or "txt")

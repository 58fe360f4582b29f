"""One file to one document, in this process: what the worker runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

from backend.adapters.parsers.detect import Kind, detect
from backend.adapters.parsers.limits import MEMORY_BYTES, ParserLimits
from backend.core.errors import InvalidRequest, TooLarge, UnreadableDocument
from backend.core.types import ParsedDocument

ParseFunction = Callable[[Path, str, ParserLimits], ParsedDocument]

# Imported where first needed: a worker that reads only text stays small and starts fast.
_PARSERS = {
    Kind.TEXT: ("plain_text", "parse_text"),
    Kind.MARKDOWN: ("plain_text", "parse_markdown"),
    Kind.PDF: ("pdf", "parse_pdf"),
    Kind.DOCX: ("docx", "parse_docx"),
    Kind.HTML: ("html", "parse_html"),
    Kind.CSV: ("csv_table", "parse_csv"),
    Kind.XLSX: ("xlsx", "parse_xlsx"),
}


def parse_file(path: Path, name: str, limits: ParserLimits) -> ParsedDocument:
    """Raises ``InvalidRequest`` only (see the port): a parser's own errors say "corrupt"."""
    kind = Kind.TEXT
    try:
        kind, warning = detect(path, name)
        module, function = _PARSERS[kind]
        parse = cast(ParseFunction, getattr(import_module(f"{__package__}.{module}"), function))
        document = parse(path, name, limits)
    except InvalidRequest:
        raise
    except MemoryError as error:
        raise out_of_memory(limits) from error
    except RecursionError as error:
        raise UnreadableDocument("The file is nested too deeply.", reason="unsafe") from error
    except Exception as error:
        # Whatever a library trips over in a damaged file; its words are not for users.
        raise UnreadableDocument(
            f"The {kind} file is damaged ({type(error).__name__}).", reason="corrupt"
        ) from error
    return replace(document, warnings=(warning, *document.warnings)) if warning else document


def out_of_memory(limits: ParserLimits) -> TooLarge:
    return TooLarge(
        f"Reading the file took more than {limits.memory_bytes} bytes of memory; "
        f"raise {MEMORY_BYTES} if it is to be trusted.",
        setting=MEMORY_BYTES,
        limit=limits.memory_bytes,
    )

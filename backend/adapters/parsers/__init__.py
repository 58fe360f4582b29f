"""Files to ``ParsedDocument``: see docs/decisions/0003-parsers.md."""

from backend.adapters.parsers.limits import ParserLimits
from backend.adapters.parsers.process import ProcessParser

__all__ = ["ParserLimits", "ProcessParser"]

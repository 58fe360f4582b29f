"""One log format for the whole process: readable blocks and lines, or JSON for collectors."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import fields
from datetime import UTC, datetime

from backend.telemetry.blocks import indented, one_line, render
from backend.telemetry.events import Event
from backend.telemetry.floor import FloorHandler
from backend.telemetry.scope import request_id

__all__ = ["JsonFormatter", "PrettyFormatter", "configure_logging", "request_id"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
    "block",
}
_NEEDS_QUOTES = re.compile(r"[\s=\"]")
# Raw inside JSON strings, but line ends for many readers of lines.
_LINE_ENDS = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _event(record: logging.LogRecord) -> Event | None:
    return getattr(record, "block", None)


class PrettyFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        event = _event(record)
        if event is not None:
            return render(event, moment, request_id.get()) + "\n"
        line = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} {record.levelname:<7} "
        line += one_line(record.getMessage())
        for key, value in _fields(record).items():
            line += f" {key}={_value(value)}"
        if request_id.get() != "-":
            line += f" request_id={request_id.get()}"
        if record.exc_info:
            line += "\n" + indented(self.formatException(record.exc_info))
        return line


def _value(value: object) -> str:
    text = one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            **_fields(record),
        }
        event = _event(record)
        if event is not None:
            entry["event"] = event.name
            entry |= {field.name: getattr(event, field.name) for field in fields(event)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        text = json.dumps(entry, ensure_ascii=False, default=str)
        return _LINE_ENDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def configure_logging(level: str, style: str) -> None:
    handler: logging.Handler
    if style == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
    else:
        handler = FloorHandler(sys.stderr)
        handler.setFormatter(PrettyFormatter())
    root = logging.getLogger()
    for former in root.handlers:
        former.flush()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # Their INFO lines hold one line per outgoing request.
    for name in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)

"""Server-Sent Events, read (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

# httpx's own line splitter also breaks at U+2028, U+0085 and form feeds, which JSON carries raw
# inside strings; an event stream knows these three line ends only.
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    event: str
    data: str


@dataclass(slots=True)
class EventReader:
    """Bytes in, whole events out. Comments and a last event that never ends are dropped."""

    _rest: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    )

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        text = self._rest + self._decoder.decode(chunk)
        # A "\r" at the very end may be the first half of "\r\n": it waits for the next chunk.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text.removesuffix(held))
        self._rest = rest + held
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._finish()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        return None

    def _finish(self) -> ServerSentEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return ServerSentEvent(event, "\n".join(data)) if data else None

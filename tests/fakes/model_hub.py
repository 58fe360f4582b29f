"""A model hub on loopback, written like the public one: its API, its redirects, its error codes.

Content is at another address (``/cdn/…``) than the repository, as on the hub; ``cdn_host`` can make
it another host too.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
PAGE = 5  # files of a page of the listing


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FakeHub:
    """``files``: the content of its one repository. ``cuts``: the bytes after which its next
    transfers break off. ``served``: content that is not what was listed."""

    repository: str = "org/model"
    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    accepted: str | None = None  # the token that may read what is gated
    known_tokens: tuple[str, ...] = ("hf_reader", "hf_stranger")
    cuts: list[int] = field(default_factory=list)
    served: dict[str, bytes] = field(default_factory=dict)
    broken: int | None = None  # answer this status to every transfer
    stall_after: int | None = None  # bytes after which a transfer waits for ``released``
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    cdn_host: str = "127.0.0.1"

    def transfers(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.path.startswith("/cdn/")]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        token = request.headers.get("Authorization")
        span = request.headers.get("Range")
        self.asked.append(Asked(request.command, request.path, span, token))
        path = urlsplit(request.path).path
        if path.startswith("/cdn/"):
            self._transfer(request, unquote(path.removeprefix("/cdn/")), span)
            return
        if token and token.removeprefix("Bearer ") not in self.known_tokens:
            message = "Invalid credentials in Authorization header"
            _refuse(request, 401, "", message)
        elif not path.startswith((f"/api/models/{self.repository}/", f"/{self.repository}/")):
            _refuse(request, 404 if token else 401, "RepoNotFound", "Repository not found")
        elif path.startswith("/api/"):
            self._describe(request, path.split(f"/{self.repository}/", 1)[1])
        else:
            self._resolve(request, path, token)

    def _describe(self, request: BaseHTTPRequestHandler, what: str) -> None:
        kind, _, revision = what.partition("/")
        if unquote(revision) not in {"main", "v1.0", COMMIT}:
            _refuse(request, 404, "RevisionNotFound", "Invalid rev id")
        elif kind == "revision":
            _send_json(request, {"id": self.repository, "sha": COMMIT, "gated": self.gated})
        else:
            self._list(request)

    def _list(self, request: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(request.path).query)
        start = int(query.get("cursor", ["0"])[0])
        entries = [_entry(path, content) for path, content in sorted(self.files.items())]
        entries.insert(0, {"type": "directory", "path": "folder", "oid": COMMIT, "size": 0})
        headers = {}
        if start + PAGE < len(entries):
            # The public hub's own address, whatever mirror is in between.
            following = f"https://hub.example/api/x?recursive=true&cursor={start + PAGE}"
            headers["Link"] = f'<{following}>; rel="next"'
        _send_json(request, entries[start : start + PAGE], headers)

    def _resolve(self, request: BaseHTTPRequestHandler, path: str, token: str | None) -> None:
        name = unquote(path.split("/resolve/", 1)[1].partition("/")[2])
        if self.gated and (not token or token.removeprefix("Bearer ") != self.accepted):
            _refuse(request, 403 if token else 401, "GatedRepo", "Access to model is restricted.")
        elif name not in self.files:
            _refuse(request, 404, "EntryNotFound", "Entry not found")
        else:
            content = self.files[name]
            port = self.url.rpartition(":")[2]
            request.send_response(302)
            request.send_header("Location", f"http://{self.cdn_host}:{port}/cdn/{name}?signed=1")
            request.send_header("X-Repo-Commit", COMMIT)
            request.send_header("ETag", f'"{_digest(name, content)}"')
            request.send_header("X-Linked-Etag", f'"{_digest(name, content)}"')
            request.send_header("X-Linked-Size", str(len(content)))
            request.send_header("Content-Length", "0")
            request.end_headers()

    def _transfer(self, request: BaseHTTPRequestHandler, name: str, span: str | None) -> None:
        if request.command == "HEAD":  # the address is signed for GET
            request.send_error(403)
            return
        if self.broken:
            request.send_error(self.broken)
            return
        content = self.served.get(name, self.files[name])
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if start >= len(content) > 0:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        if self.stall_after is not None:
            request.wfile.write(body[: self.stall_after])
            request.wfile.flush()
            self.stalled.set()
            self.released.wait(60)
            return
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


def _digest(name: str, content: bytes) -> str:
    if name.endswith(LFS_SUFFIXES):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content)}
    if path.endswith(LFS_SUFFIXES):
        lfs = {"oid": _digest(path, content), "size": len(content), "pointerSize": 134}
        return entry | {"oid": "f" * 40, "lfs": lfs}
    return entry | {"oid": _digest(path, content)}


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    _send_json(request, {"error": message}, headers, status)


def _send_json(
    request: BaseHTTPRequestHandler,
    body: object,
    headers: dict[str, str] | None = None,
    status: int = 200,
) -> None:
    content = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def do_HEAD(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

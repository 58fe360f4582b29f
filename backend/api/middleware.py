"""Request ids, the size limit of uploads, API keys. Plain ASGI, so that nothing stands between
a handler and the news that its client has left."""

from __future__ import annotations

import hmac
import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.errors import CLIENT_LEFT, error_response, internal_error_response
from backend.api.validation import upload_too_large
from backend.core.errors import InvalidRequest, RagError, Unauthorized
from backend.telemetry.events import RequestReceived, ResponseSent, record
from backend.telemetry.metrics import Metrics
from backend.telemetry.scope import RequestScope, note_failure, request_scope

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"^[\w.-]{1,64}$")
_BODY_BYTES = 1024 * 1024
_OPENAI_BODY_BYTES = 16 * 1024 * 1024  # a chat with its whole history, or a batch to embed
_MULTIPART_OVERHEAD_BYTES = 64 * 1024  # form fields and boundaries around the file
_WORK = frozenset(
    "ask summarize summarize-stream bulk-summarize ingest search documents v1".split()
)
_OPENAI_PATHS = frozenset(  # plain ASGI, so the router leaves no template of them
    f"/v1/{name}" for name in ("chat/completions", "completions", "embeddings", "models", "rerank")
)
_QUIET = frozenset("health metrics docs docs-assets openapi.json".split())
_JSON_PATHS = frozenset({"/ask", "/summarize", "/summarize-stream", "/bulk-summarize"})
_CURL_FORM = "application/x-www-form-urlencoded"
DOCS_ASSETS = "/docs-assets"
_OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json", "/docs/oauth2-redirect"})


class JsonByDefault:
    """``curl -d '{…}'`` says that it sends a form, other clients say nothing; where only JSON makes
    sense it is read as JSON. Not from a web page, whose browser names its origin: a form of a
    foreign page could otherwise put the model to work without being asked for leave first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _takes_json(scope["path"]):
            headers = MutableHeaders(scope=scope)
            if headers.get("content-type", _CURL_FORM) == _CURL_FORM and "origin" not in headers:
                headers["content-type"] = "application/json"
        await self._app(scope, receive, send)


class RequestLog:
    """Gives every request an id, returns it, and tells the log and the metrics how it began and
    how it ended: a stream ends with its last byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.match(given) else uuid4().hex[:16]
        with request_scope(identity) as known:
            exchange = _Exchange(send, identity)
            if _works(scope["path"]):
                record(RequestReceived(scope["method"], scope["path"]))
            try:
                await self._app(scope, receive, exchange.send)
            except Exception as error:
                log.error("internal error", exc_info=error, extra={"path": scope["path"]})
                note_failure("internal")
                if exchange.status:
                    raise  # the connection must break: half an answer is not a whole one
                await internal_error_response()(scope, receive, exchange.send)
            finally:
                self._ended(scope, exchange, exchange.failure(known))

    def _ended(self, scope: Scope, exchange: _Exchange, failure: str | None) -> None:
        method, path = scope["method"], scope["path"]
        status, seconds = exchange.status or 499, exchange.seconds()
        if _works(path):
            record(ResponseSent(method, path, status, round(seconds, 4), failure))
        else:
            fields = {"method": method, "path": path, "status": status}
            level = logging.DEBUG if _first_part(path) in _QUIET else logging.INFO
            log.log(level, "request", extra=fields | {"seconds": round(seconds, 4)})
        if self._metrics is not None:
            self._metrics.request(
                route=_template(scope),
                method=method,
                status=status,
                seconds=seconds,
                failure=failure,
            )


class _Exchange:
    """What has been sent to the client so far. ``status`` is 0 before the first byte."""

    def __init__(self, send: Send, identity: str) -> None:
        self._send = send
        self._identity = identity
        self._started = time.perf_counter()
        self.status = 0
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self._identity
        await self._send(message)
        if message["type"] == "http.response.pathsend":
            self._complete = True
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def failure(self, known: RequestScope) -> str | None:
        if known.failure is not None:
            return known.failure
        if not self._complete:
            return CLIENT_LEFT
        return f"http_{self.status}" if self.status >= 400 else None


def _takes_json(path: str) -> bool:
    return path in _JSON_PATHS or path.endswith("/regenerate-summary")


def _first_part(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


def _works(path: str) -> bool:
    return _first_part(path) in _WORK


def _template(scope: Scope) -> str:
    """The route's template: a path itself may be anything and would be a metric of its own."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        return template
    # Refused before it was routed; a path that is a template itself is still known.
    path: str = scope["path"]
    known = path in _OPENAI_PATHS or path.removeprefix("/") in _WORK
    return path if known else "unmatched"


class ApiKeys:
    """With keys configured, everything but the health check and the API's description needs one."""

    def __init__(self, app: ASGIApp, *, keys: tuple[str, ...]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]) or self._known(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("An API key is needed: send 'Authorization: Bearer <key>'.")
        await error_response(error)(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        if not self._keys:
            return True
        headers = Headers(scope=scope)
        given = headers.get("authorization", "").removeprefix("Bearer ").strip().encode()
        return any([hmac.compare_digest(given, key) for key in self._keys])


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(f"{DOCS_ASSETS}/")


class BodyLimit:
    """Refuses a body over the limit before it is stored anywhere, by its declared length or, when
    there is none, as it comes in. Only an upload, and a request to a
    model, may be larger than a megabyte."""

    def __init__(self, app: ASGIApp, *, upload_limit_bytes: int) -> None:
        self._app = app
        self._upload_limit = upload_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/ingest"
        limit = self._upload_limit + _MULTIPART_OVERHEAD_BYTES if is_upload else _most(scope)
        refusal = upload_too_large(self._upload_limit) if is_upload else _body_refusal(limit)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            await error_response(refusal)(scope, receive, send)
            return
        received, refused = 0, False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                refused = True
                raise refusal
            return message

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, counted, send_unless_refused)
        except RagError:
            if not refused:
                raise
        if refused:
            await error_response(refusal)(scope, receive, send)


def _most(scope: Scope) -> int:
    return _OPENAI_BODY_BYTES if scope["path"].startswith("/v1/") else _BODY_BYTES


def _body_refusal(limit: int) -> InvalidRequest:
    return InvalidRequest(f"A request body holds at most {limit} bytes.")

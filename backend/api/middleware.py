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

from backend.api.errors import error_response
from backend.api.validation import upload_too_large
from backend.core.errors import InvalidRequest, RagError, Unauthorized
from backend.telemetry.logging import request_id

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"^[\w.-]{1,64}$")
_BODY_BYTES = 1024 * 1024
_MULTIPART_OVERHEAD_BYTES = 64 * 1024  # form fields and boundaries around the file
DOCS_ASSETS = "/docs-assets"
_OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json", "/docs/oauth2-redirect"})


class RequestLog:
    """Gives every request an id, returns it, and logs one line when the request is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.match(given) else uuid4().hex[:16]
        token = request_id.set(identity)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "seconds": round(time.perf_counter() - started, 4),
                },
            )
            request_id.reset(token)


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
    there is none, as it comes in. Only an upload may be larger than a megabyte."""

    def __init__(self, app: ASGIApp, *, upload_limit_bytes: int) -> None:
        self._app = app
        self._upload_limit = upload_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/ingest"
        limit = self._upload_limit + _MULTIPART_OVERHEAD_BYTES if is_upload else _BODY_BYTES
        refusal = upload_too_large(self._upload_limit) if is_upload else _body_refusal()
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


def _body_refusal() -> InvalidRequest:
    return InvalidRequest(f"A request body holds at most {_BODY_BYTES} bytes.")

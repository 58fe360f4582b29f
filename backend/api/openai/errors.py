"""Errors as the OpenAI API has them, plus who failed (``source``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.errors import status_of
from backend.core import errors
from backend.telemetry.scope import note_failure, request_id

log = logging.getLogger(__name__)

GATEWAY = "gateway"
SOURCE_HEADER = "X-Quadrate-Source"
_SOURCE_KEY = SOURCE_HEADER.lower().encode()
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_KNOWN = frozenset({"code", "message", "request_id"})


class BadParameter(errors.InvalidRequest):
    """``param`` is the field of the request that is wrong, as a path: ``messages[0].content``."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def error_object(error: errors.RagError) -> dict[str, object]:
    """What stands under ``error``."""
    param: str | None = getattr(error, "param", None)
    if error.code == "model_not_found":
        param = "model"
    source = error.dependency if isinstance(error, errors.DependencyError) else GATEWAY
    return _object(str(error), status_of(error), error.code, source, param) | error.details


def internal_error_object() -> dict[str, object]:
    message = "Internal error; the log has the details under this request id."
    return _object(message, 500, "internal", GATEWAY)


def error_response(error: errors.RagError) -> Response:
    note_failure(error.code)
    content = error_object(error)
    headers = {SOURCE_HEADER: str(content["source"])}
    retry_after = getattr(error, "retry_after_s", None)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return _response(content, status_of(error), headers)


def internal_error_response() -> Response:
    note_failure("internal")
    return _response(internal_error_object(), 500, {SOURCE_HEADER: GATEWAY})


def error_event(error: errors.RagError | None) -> bytes:
    """The last event of a stream that failed; None is an error of ours."""
    content = internal_error_object() if error is None else error_object(error)
    note_failure(str(content["code"]))
    return b"data: " + _dump({"error": content}) + b"\n\n"


class OpenAIErrorShape:
    """Puts what is refused on ``/v1`` before or beside its handlers (no key, too large, no such
    path or method) into OpenAI's shape. Answers that name their source have it already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        refused: Message | None = None
        parts: list[bytes] = []

        async def shaped(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_foreign(message):
                refused = message
            elif refused is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    await _reshaped(refused, b"".join(parts))(scope, receive, send)

        await self._app(scope, receive, shaped)


def _is_foreign(start: Message) -> bool:
    if start["status"] < 400:
        return False
    return all(name.lower() != _SOURCE_KEY for name, _ in start["headers"])


def _reshaped(start: Message, body: bytes) -> Response:
    status = start["status"]
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in start["headers"]
        if name.lower() not in (b"content-length", b"content-type")
    } | {SOURCE_HEADER: GATEWAY}
    try:
        given = json.loads(body)["error"]
        message, code = str(given["message"]), str(given["code"])
        details = {name: value for name, value in given.items() if name not in _KNOWN}
    except (ValueError, KeyError, TypeError):
        message, code, details = f"The request was refused ({status}).", "invalid_request", {}
    return _response(_object(message, status, code, GATEWAY) | details, status, headers)


def _object(
    message: str, status: int, code: str, source: str, param: str | None = None
) -> dict[str, object]:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "message": message,
        "type": kind,
        "code": code,
        "param": param,
        "source": source,
        "request_id": request_id.get(),
    }


def _response(content: object, status: int, headers: Mapping[str, str]) -> Response:
    return Response(_dump({"error": content}), status, dict(headers), "application/json")


def _dump(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()

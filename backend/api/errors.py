"""The only place that knows which error is which HTTP status."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from backend.api.disconnect import ClientDisconnected
from backend.core import errors
from backend.telemetry.scope import note_failure, request_id

log = logging.getLogger(__name__)

CLIENT_LEFT = "client_left"

_STATUS: dict[type[errors.RagError], int] = {
    errors.InvalidRequest: 400,
    errors.ContextOverflow: 413,
    errors.TooLarge: 413,
    errors.UnsupportedDocument: 415,
    errors.UnreadableDocument: 422,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Overloaded: 429,
    errors.NotReady: 503,
    errors.ConfigurationError: 500,
    errors.DependencyError: 502,
    errors.DependencyTimeout: 504,
    errors.DependencyDown: 503,
    errors.RagError: 500,
}


def status_of(error: errors.RagError) -> int:
    """Status of the nearest ancestor that has one."""
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def error_body(error: errors.RagError) -> dict[str, object]:
    return {
        "error": {
            "code": error.code,
            "message": str(error),
            **error.details,
            "request_id": request_id.get(),
        }
    }


def internal_error_body() -> dict[str, object]:
    message = "Internal error; the log has the details under this request id."
    return {"error": {"code": "internal", "message": message, "request_id": request_id.get()}}


class ErrorResponse(JSONResponse):
    """An answer that the log and the metrics know by its error code."""

    def __init__(
        self, code: str, body: object, status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body, status, headers)
        self.code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note_failure(self.code)
        await super().__call__(scope, receive, send)


def error_response(error: errors.RagError) -> JSONResponse:
    headers = {}
    if isinstance(error, errors.Overloaded | errors.DependencyDown):
        headers["Retry-After"] = str(error.retry_after_s)
    return ErrorResponse(error.code, error_body(error), status_of(error), headers)


def internal_error_response() -> JSONResponse:
    return ErrorResponse("internal", internal_error_body(), 500)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.RagError):
        raise error
    if status_of(error) >= 500:
        log.error("request failed", exc_info=error, extra={"path": request.url.path})
    return error_response(error)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'][1:]) or 'body'}: {problem['msg']}"
        for problem in error.errors()
    ]
    invalid = errors.InvalidRequest("; ".join(problems))
    return ErrorResponse(invalid.code, error_body(invalid), 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    body = {"error": {"code": code, "message": str(error.detail), "request_id": request_id.get()}}
    return ErrorResponse(code, body, error.status_code, error.headers)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    log.error("internal error", exc_info=error, extra={"path": request.url.path})
    return internal_error_response()


async def _left(request: Request, error: Exception) -> JSONResponse:
    """Answers nobody; the status is what the access log shows (nginx's convention)."""
    return ErrorResponse(CLIENT_LEFT, None, 499)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.RagError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnected, _left)
    app.add_exception_handler(Exception, _unknown)

"""The only place that knows which error is which HTTP status."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from backend.api.disconnect import ClientDisconnected
from backend.core import errors
from backend.telemetry.logging import request_id

log = logging.getLogger(__name__)

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


def error_response(error: errors.RagError) -> JSONResponse:
    headers = {}
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(error_body(error), status_of(error), headers)


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
    return JSONResponse(error_body(errors.InvalidRequest("; ".join(problems))), 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    body = {"error": {"code": code, "message": str(error.detail), "request_id": request_id.get()}}
    return JSONResponse(body, error.status_code, error.headers)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    log.error("internal error", exc_info=error, extra={"path": request.url.path})
    return JSONResponse(internal_error_body(), 500)


async def _left(request: Request, error: Exception) -> JSONResponse:
    """Answers nobody; the status is what the access log shows (nginx's convention)."""
    return JSONResponse(None, 499)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.RagError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnected, _left)
    app.add_exception_handler(Exception, _unknown)

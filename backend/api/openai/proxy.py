"""``/v1``: requests go to whoever has the model, and answers come back byte for byte.

These endpoints are plain ASGI: what a handler of the framework adds to a request costs more
than all that is done here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from backend.api.disconnect import ClientDisconnected, until_disconnect
from backend.api.errors import CLIENT_LEFT, status_of
from backend.api.openai.chat import complete_chat
from backend.api.openai.embeddings import embed, rerank
from backend.api.openai.errors import BadParameter, error_response, internal_error_response
from backend.api.openai.rag import answer_from_space
from backend.api.openai.relay import Client, relay, send_reply
from backend.core.errors import InvalidRequest, RagError
from backend.services.chat import RAG_PREFIX
from backend.services.gateway import GatewayParts, Upstream
from backend.telemetry.scope import note_failure, request_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request; ``fields`` is its body read, ``body`` its bytes."""

    parts: GatewayParts
    path: str
    body: bytes
    fields: dict[str, object]
    content_type: str

    @property
    def model(self) -> str | None:
        model = self.fields.get("model")
        if model is not None and not isinstance(model, str):
            raise BadParameter("model", "`model` must be a string.")
        return model or None

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, "X-Request-ID": request_id.get()}


Serve = Callable[[Call, Client], Coroutine[object, object, Response | None]]


class Endpoint:
    """Reads a request, serves it for as long as its client stays, and answers for errors."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        client = Client(send)
        try:
            call = await _read(request)
            response = await until_disconnect(request, self._serve(call, client))
        except ClientDisconnected:
            note_failure(CLIENT_LEFT)
            if client.started:
                return
            response = Response(status_code=499)
        except RagError as error:
            if status_of(error) >= 500:
                log.error("request failed", exc_info=error, extra={"path": scope["path"]})
            response = error_response(error)
        except Exception:
            log.exception("internal error", extra={"path": scope["path"]})
            response = internal_error_response()
        if response is None:
            # Not sent before: the server takes the end of an answer for a client that left.
            await client.write(b"", more=False)
        else:
            await response(scope, receive, send)


async def _read(request: Request) -> Call:
    body = await request.body()
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.")
    kind = request.headers.get("content-type", "application/json")
    parts: GatewayParts = request.app.state.gateway
    return Call(parts, request.url.path, body, fields, kind)


# --- endpoints ---------------------------------------------------------------------------------


async def _chat(call: Call, client: Client) -> Response | None:
    model = call.model
    if model is not None and model.startswith(RAG_PREFIX):
        rag, space = await call.parts.rag_space(model)
        return await send_reply(client, answer_from_space(rag, space, call.fields))
    route = call.parts.route("chat", model)
    if route.upstream is not None:
        async with call.parts.slot():
            return await _relayed(call, client, route.upstream)
    if route.generator is None:
        raise InvalidRequest(f"The model {route.name!r} cannot chat.")
    async with call.parts.slot():
        reply = complete_chat(route.generator, call.fields, call.parts.defaults, route.name)
        return await send_reply(client, reply)


async def _completions(call: Call, client: Client) -> Response | None:
    route = call.parts.route("chat", call.model)
    if route.upstream is None:
        raise BadParameter(
            "model", f"The model {route.name!r} has no /v1/completions; use /v1/chat/completions."
        )
    async with call.parts.slot():
        return await _relayed(call, client, route.upstream)


async def _embeddings(call: Call, client: Client) -> Response | None:
    route = call.parts.route("embedding", call.model)
    if route.upstream is not None:
        return await _relayed(call, client, route.upstream)
    if route.embedder is None:
        raise InvalidRequest(f"The model {route.name!r} has no embeddings.")
    return JSONResponse(await embed(route.embedder, call.fields, route.name))


async def _rerank(call: Call, client: Client) -> Response | None:
    route = call.parts.route("rerank", call.model)
    if route.upstream is not None:
        return await _relayed(call, client, route.upstream)
    if route.reranker is None:
        raise InvalidRequest(f"The model {route.name!r} cannot rerank.")
    return JSONResponse(await rerank(route.reranker, call.fields, route.name))


async def _relayed(call: Call, client: Client, upstream: Upstream) -> Response | None:
    return await relay(upstream, call.path, call.body, call.headers, client)


async def _models(request: Request) -> Response:
    parts: GatewayParts = request.app.state.gateway
    try:
        entries, warnings = await parts.models()
    except RagError as error:
        return error_response(error)
    content: dict[str, object] = {"object": "list", "data": entries}
    if warnings:
        content["warnings"] = warnings
    return JSONResponse(content)


def openai_routes() -> list[HttpRoute]:
    """They find their ``GatewayParts`` at ``app.state.gateway``."""
    served: dict[str, Serve] = {
        "/v1/chat/completions": _chat,
        "/v1/completions": _completions,
        "/v1/embeddings": _embeddings,
        "/v1/rerank": _rerank,
    }
    posts = [HttpRoute(path, Endpoint(serve), methods=["POST"]) for path, serve in served.items()]
    return [*posts, HttpRoute("/v1/models", _models, methods=["GET"])]

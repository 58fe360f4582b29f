"""The backend's HTTP API in memory, for tests of its clients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.core.identity import document_id

Json = dict[str, object]


def document(source: str, content: bytes = b"text", **changes: object) -> Json:
    return {
        "doc_id": document_id("s", source),
        "source": source,
        "space_id": "s",
        "state": "ready",
        "doc_type": "unstructured",
        "size_bytes": len(content),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "chunks_indexed": 3,
        "warnings": [],
    } | changes


def answer(**changes: object) -> Json:
    return {
        "answer": "Срок 15 января [1].",
        "answered": True,
        "model": "small",
        "generation": "model",
        "sources": [source()],
        "citations": [citation()],
        "attributed": [],
        "uncited": [],
        "context": {"window": 8192, "prompt_tokens": 900, "chunks_in": 5, "finish_reason": "stop"},
        "warnings": [],
        "draft": None,
        "cached": False,
        "timings": {"generate": 1.5},
    } | changes


def source(**changes: object) -> Json:
    return {"n": 1, "doc_id": "d1", "source": "plans/plan.md", "page": 2, "cited": True} | changes


def citation(**changes: object) -> Json:
    return {
        "marker": 1,
        "statement": "Срок 15 января",
        "status": "exact",
        "quote": "Срок сдачи:\n15 января",
        "doc_id": "d1",
        "source": "plans/plan.md",
        "page": 2,
        "heading": "План > Сроки",
        "char_start": 10,
    } | changes


def error(code: str, message: str, status: int, **headers: str) -> Callable[[], Response]:
    body = {"error": {"code": code, "message": message, "request_id": "r1"}}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: JSONResponse(body, status, names)


def sse(*events: tuple[str, Mapping[str, object]]) -> bytes:
    lines = [": ping"]
    for name, data in events:
        lines += [f"event: {name}", f"data: {json.dumps(data, ensure_ascii=False)}", ""]
    return "\r\n".join([*lines, ""]).encode()


def streamed(text: str = "Срок 15 января [1].", **changes: object) -> bytes:
    """A whole answer as a stream."""
    return sse(
        ("sources", {"sources": [source()]}),
        *(("delta", {"text": part}) for part in (text[:5], text[5:])),
        ("complete", answer(**changes)),
    )


@dataclass
class FakeBackend:
    """``refusals`` are answered first, by source (or path), in their order."""

    documents: dict[str, Json] = field(default_factory=dict)
    refusals: dict[str, list[Callable[[], Response]]] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    given_types: list[object] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    pages: int = 0
    whole: Json = field(default_factory=answer)
    stream: bytes = field(default_factory=streamed)

    @property
    def transport(self) -> httpx.ASGITransport:
        routes = [
            Route("/documents", self._list),
            Route("/documents/{doc_id}", self._delete, methods=["DELETE"]),
            Route("/ingest", self._ingest, methods=["POST"]),
            Route("/ask", self._ask, methods=["POST"]),
        ]
        return httpx.ASGITransport(Starlette(routes=routes))

    def put(self, source: str, content: bytes, **changes: object) -> None:
        self.documents[source] = document(source, content, **changes)

    async def _list(self, request: Request) -> Response:
        self.keys.add(request.headers.get("authorization", ""))
        if refusal := self._refusal("/documents"):
            return refusal
        self.pages += 1
        limit, offset = (int(request.query_params[name]) for name in ("limit", "offset"))
        documents = list(self.documents.values())
        page = documents[offset : offset + limit]
        return JSONResponse({"space_id": "s", "total": len(documents), "documents": page})

    async def _delete(self, request: Request) -> Response:
        doc_id = request.path_params["doc_id"]
        gone = next(d for d in self.documents.values() if d["doc_id"] == doc_id)
        del self.documents[str(gone["source"])]
        return JSONResponse({"doc_id": doc_id, "deleted": True})

    async def _ingest(self, request: Request) -> Response:
        async with request.form() as form:
            file, source = form["file"], str(form["source"])
            assert isinstance(file, UploadFile)
            content = await file.read()
            self.given_types.append(form.get("doc_type"))
        self.uploads.append(source)
        if refusal := self._refusal(source):
            return refusal
        before = self.documents.get(source)
        self.put(source, content)
        same = before is not None and before == self.documents[source]
        facts = {"unchanged": same, "replaced": before is not None and not same, "seconds": 0.1}
        return JSONResponse(self.documents[source] | facts)

    async def _ask(self, request: Request) -> Response:
        if refusal := self._refusal("/ask"):
            return refusal
        if not (await request.json())["stream"]:
            return JSONResponse(self.whole)
        return Response(self.stream, media_type="text/event-stream")

    def _refusal(self, name: str) -> Response | None:
        waiting = self.refusals.get(name)
        return waiting.pop(0)() if waiting else None

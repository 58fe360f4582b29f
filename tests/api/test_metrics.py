"""What the log and the metrics say of a request, on an application made for the test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from backend.api import metrics as metrics_api
from backend.api.errors import add_error_handlers
from backend.api.middleware import ApiKeys, RequestLog
from backend.core.errors import DependencyTimeout, NotFound
from backend.telemetry.events import Event, RequestReceived, ResponseSent
from backend.telemetry.metrics import Metrics
from backend.telemetry.scope import note_failure

router = APIRouter()


@router.get("/documents/{doc_id}")
async def document(doc_id: str) -> str:
    if doc_id == "missing":
        raise NotFound("No such document.")
    if doc_id == "broken":
        raise ValueError("a secret detail")
    return doc_id


@router.get("/ask")
async def ask() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "a part"
        error = DependencyTimeout("too late", dependency="vllm")
        note_failure(error.code)
        yield "an error event"

    return StreamingResponse(parts())


@router.get("/search")
async def endless() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "a part"
        await asyncio.Event().wait()

    return StreamingResponse(parts())


def application(metrics: Metrics | None, *keys: str) -> FastAPI:
    app = FastAPI()
    app.state.metrics = metrics
    app.include_router(router)
    app.include_router(metrics_api.router)
    add_error_handlers(app)
    app.add_middleware(ApiKeys, keys=keys)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Values of a metric by its labels, in order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


class Seen(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(record.block)  # type: ignore[attr-defined]


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler, log = Seen(), logging.getLogger("backend.events")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


async def test_requests_are_counted_by_route_template_and_error_code() -> None:
    async with client_of(application(Metrics())) as client:
        for path in ("/documents/1", "/documents/2", "/documents/missing", "/documents/broken"):
            await client.get(path)
        await client.get("/no/such/path")
        response = await client.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=")
    assert samples(response.text, "quadrate_requests_total") == {
        ("GET", "/documents/{doc_id}", "200"): 2,
        ("GET", "/documents/{doc_id}", "404"): 1,
        ("GET", "/documents/{doc_id}", "500"): 1,
        ("GET", "unmatched", "404"): 1,
    }
    assert samples(response.text, "quadrate_request_failures_total") == {
        ("not_found", "/documents/{doc_id}"): 1,
        ("internal", "/documents/{doc_id}"): 1,
        ("not_found", "unmatched"): 1,
    }


async def test_a_request_without_a_key_is_counted_where_it_wanted_to_go() -> None:
    metrics = Metrics()
    async with client_of(application(metrics, "key")) as client:
        await client.get("/ask")

    text = metrics.render()[0].decode()
    assert samples(text, "quadrate_request_failures_total") == {("unauthorized", "/ask"): 1}


async def test_an_error_inside_a_stream_counts_though_its_status_was_200(seen: Seen) -> None:
    metrics = Metrics()
    async with client_of(application(metrics)) as client:
        await client.get("/ask")

    text = metrics.render()[0].decode()
    assert samples(text, "quadrate_requests_total") == {("GET", "/ask", "200"): 1}
    assert samples(text, "quadrate_request_failures_total") == {("dependency_timeout", "/ask"): 1}
    assert isinstance(seen.events[-1], ResponseSent)
    assert seen.events[-1].failure == "dependency_timeout"


async def test_a_client_that_leaves_a_stream_is_told_apart_from_one_that_stays() -> None:
    metrics, begun = Metrics(), asyncio.Event()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/search",
        "raw_path": b"/search",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [],
        "client": ("test", 1),
        "server": ("test", 80),
    }

    async def receive() -> Message:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    async with asyncio.timeout(10):
        await application(metrics)(scope, receive, send)

    text = metrics.render()[0].decode()
    assert samples(text, "quadrate_request_failures_total") == {("client_left", "/search"): 1}


async def test_only_routes_that_do_work_have_blocks(seen: Seen) -> None:
    async with client_of(application(Metrics())) as client:
        await client.get("/metrics")
        await client.get("/documents/7?q=secret")

    received, sent = seen.events
    assert received == RequestReceived("GET", "/documents/7")
    assert isinstance(sent, ResponseSent)
    assert (sent.status, sent.failure) == (200, None)


async def test_an_unexpected_failure_has_the_id_of_its_request() -> None:
    async with client_of(application(None)) as client:
        response = await client.get("/documents/broken", headers={"X-Request-ID": "r7"})

    assert response.status_code == 500
    assert response.json()["error"]["request_id"] == "r7" == response.headers["x-request-id"]
    assert "secret" not in response.text

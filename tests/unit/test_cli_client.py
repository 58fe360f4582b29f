from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from backend.core.sse import EventReader
from cli.client import Address, AskEvent, Client, Question
from cli.failures import (
    ApiError,
    ClientError,
    ConnectionLost,
    Patience,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from cli.schemas import Answer, Delta, SourcesEvent
from tests.fakes import api

QUESTION = Question("Когда срок?", "s")
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, key: str | None = None) -> Client:
    return Client(Address("http://backend:1", key), httpx.MockTransport(handler))


def failing(error: type[httpx.RequestError]) -> Handler:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return fail


async def streamed(body: bytes) -> list[AskEvent]:
    kind = {"content-type": "text/event-stream; charset=utf-8"}
    async with client(lambda _: httpx.Response(200, headers=kind, content=body)) as backend:
        return [event async for event in backend.ask_stream(QUESTION)]


@pytest.mark.parametrize(
    ("raised", "expected", "word"),
    [
        (httpx.ConnectError, Unreachable, "make run"),
        (httpx.ConnectTimeout, Unreachable, "make run"),
        (httpx.ReadTimeout, TimedOut, "in time"),
        (httpx.ReadError, ConnectionLost, "hung up"),
        (httpx.RemoteProtocolError, ConnectionLost, "hung up"),
    ],
)
async def test_a_broken_connection_is_one_line_that_names_the_address(
    raised: type[httpx.RequestError], expected: type[ClientError], word: str
) -> None:
    async with client(failing(raised)) as backend:
        with pytest.raises(expected) as caught:
            await backend.ask(QUESTION)

    assert "http://backend:1" in str(caught.value)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_an_error_of_the_api_keeps_its_code_and_message() -> None:
    body = {"error": {"code": "too_large", "message": "top_k is at most 100.", "limit": 100}}

    async with client(lambda _: httpx.Response(413, json=body)) as backend:
        with pytest.raises(ApiError, match="top_k is at most 100") as caught:
            await backend.search(QUESTION)

    assert caught.value.code == "too_large"


async def test_an_internal_error_names_the_request_for_the_log() -> None:
    body = {"error": {"code": "internal", "message": "Internal error", "request_id": "abc"}}

    async with client(lambda _: httpx.Response(500, json=body)) as backend:
        with pytest.raises(ApiError, match="request abc"):
            await backend.ask(QUESTION)


async def test_a_missing_key_is_explained_with_the_variable() -> None:
    body = {"error": {"code": "unauthorized", "message": "An API key is needed."}}

    async with client(lambda _: httpx.Response(401, json=body)) as backend:
        with pytest.raises(ApiError, match="API_KEY"):
            await backend.ask(QUESTION)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<h1>router</h1>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(404, text="nothing here"),
    ],
)
async def test_something_else_at_the_address_is_said_to_be_something_else(
    response: httpx.Response,
) -> None:
    async with client(lambda _: response) as backend:
        with pytest.raises(UnexpectedAnswer, match="http://backend:1 is not"):
            await backend.documents("s", limit=1, offset=0)


async def test_the_first_key_of_the_list_is_sent() -> None:
    address = Address.of("http://backend:1/", {"API_KEY": "one, two"})
    seen: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json=api.answer())

    async with Client(address, httpx.MockTransport(note)) as backend:
        await backend.ask(QUESTION)

    assert address.url == "http://backend:1"
    assert seen == ["Bearer one"]


@pytest.mark.parametrize("given", ["localhost:8000", "ftp://x", "http://", "http://[::1"])
def test_an_address_without_http_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Address.of(given, {})


def test_the_address_of_the_environment_is_used_without_an_option() -> None:
    assert Address.of(None, {"QUADRATE_URL": "http://x:1"}).url == "http://x:1"
    assert Address.of("http://y:2", {"QUADRATE_URL": "http://x:1"}).url == "http://y:2"


async def test_a_backend_that_starts_still_reports_its_health() -> None:
    body = {
        "status": "starting",
        "version": "1",
        "components": {"generator": {"state": "starting", "detail": "loading", "seconds": 0.1}},
    }

    async with client(lambda _: httpx.Response(503, json=body)) as backend:
        health = await backend.health()

    assert health.waiting_for == "generator: loading"


async def test_a_stream_is_sources_deltas_and_one_answer() -> None:
    events = await streamed(api.streamed())

    assert [type(event) for event in events] == [SourcesEvent, Delta, Delta, Answer]


async def test_a_stream_without_its_last_event_is_an_error() -> None:
    body = api.sse(("sources", {"sources": []}), ("delta", {"text": "Срок"}))

    with pytest.raises(ConnectionLost, match="middle of the answer"):
        await streamed(body)


async def test_an_error_within_a_stream_is_the_error_of_the_api() -> None:
    error = {"error": {"code": "dependency_failed", "message": "The model died."}}

    with pytest.raises(ApiError, match="The model died") as caught:
        await streamed(api.sse(("delta", {"text": "Срок"}), ("error", error)))

    assert caught.value.code == "dependency_failed"
    assert caught.value.retry_after_s is None


async def test_line_separators_of_unicode_do_not_break_an_event() -> None:
    events = await streamed(api.streamed("a\u2028b\u0085c [1]."))

    text = "".join(event.text for event in events if isinstance(event, Delta))
    assert text == "a\u2028b\u0085c [1]."


def test_events_are_found_however_the_bytes_are_cut() -> None:
    body = api.streamed()

    whole = EventReader().feed(body)
    reader = EventReader()
    single = [event for byte in body for event in reader.feed(bytes([byte]))]

    assert single == whole
    assert json.loads(whole[1].data) == {"text": "Срок "}


async def test_a_busy_backend_is_waited_for_as_long_as_it_asks() -> None:
    slept: list[float] = []
    told: list[str] = []
    answers = [
        httpx.Response(
            429,
            json={"error": {"code": "overloaded", "message": "Busy."}},
            headers={"Retry-After": "7"},
        ),
        httpx.Response(
            503, json={"error": {"code": "not_ready", "message": "Soon.", "retry_after_s": 2}}
        ),
        httpx.Response(200, json=api.answer()),
    ]
    patience = Patience(sleep=_noted(slept), told=lambda seconds, why: told.append(why))

    async with client(lambda _: answers.pop(0)) as backend:
        answer = await patience.with_(lambda: backend.ask(QUESTION))

    assert answer.answered
    assert slept == [7, 2]
    assert told == ["Busy.", "Soon."]


async def test_patience_ends() -> None:
    slept: list[float] = []
    busy = {"error": {"code": "overloaded", "message": "Busy.", "retry_after_s": 1000}}

    async with client(lambda _: httpx.Response(429, json=busy)) as backend:
        with pytest.raises(ApiError, match="Busy"):
            await Patience(limit_s=70, sleep=_noted(slept)).with_(lambda: backend.ask(QUESTION))

    assert slept == [30, 30]


async def test_a_refusal_is_not_tried_again() -> None:
    calls: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(400, json={"error": {"code": "invalid_request", "message": "No."}})

    async with client(refuse) as backend:
        with pytest.raises(ApiError):
            await Patience().with_(lambda: backend.ask(QUESTION))

    assert len(calls) == 1


def _noted(slept: list[float]) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return sleep

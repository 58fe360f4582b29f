"""The backend's HTTP API, typed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from backend.core.sse import EventReader, ServerSentEvent
from cli.failures import ApiError, ConnectionLost, TimedOut, UnexpectedAnswer, Unreachable
from cli.schemas import (
    Answer,
    Delta,
    DocumentPage,
    ErrorBody,
    Health,
    Ingested,
    SearchAnswer,
    SourcesEvent,
)

DEFAULT_URL = "http://127.0.0.1:8000"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONNECT_S = 5.0
_SHORT_S = 30.0
_INGEST_S = 3600.0  # a large file on a small machine
_ANSWER_S = 1500.0  # a whole answer of a slow local model
_SILENCE_S = 60.0  # within a stream, which has a heartbeat every 15 s

Read = TypeVar("Read", bound=BaseModel)
AskEvent = SourcesEvent | Delta | Answer


@dataclass(frozen=True, slots=True)
class Question:
    q: str
    space_id: str
    top_k: int | None = None
    doc_types: tuple[str, ...] = ()

    def body(self, *, stream: bool) -> dict[str, object]:
        body: dict[str, object] = {"q": self.q, "space_id": self.space_id, "stream": stream}
        if self.top_k is not None:
            body["top_k"] = self.top_k
        if self.doc_types:
            body["doc_types"] = list(self.doc_types)
        return body


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    api_key: str | None = None

    @classmethod
    def of(cls, given: str | None, environment: Mapping[str, str]) -> Address:
        """
        Raises:
            ValueError: it is not an http address.
        """
        url = (given or environment.get("QUADRATE_URL") or DEFAULT_URL).rstrip("/")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is not an address: {error}.") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"{url!r} is not an address like {DEFAULT_URL}.")
        key = environment.get("API_KEY", "").split(",")[0].strip()
        return cls(url, key or None)


class Client:
    """Use it as ``async with``. Everything may raise a ``ClientError``."""

    def __init__(self, address: Address, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = address.url
        self._http = httpx.AsyncClient(
            base_url=address.url,
            headers={"Authorization": f"Bearer {address.api_key}"} if address.api_key else {},
            timeout=_limit(_SHORT_S),
            transport=transport,
            # A proxy of the environment cannot reach our own machine.
            trust_env=httpx.URL(address.url).host not in _LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def health(self) -> Health:
        """Also of a backend that is not ready."""
        with self._translated():
            response = await self._http.get("/health")
        if (
            response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            and b'"status"' in response.content
        ):
            return self._read(Health, response.content)
        return self._checked(Health, response)

    async def documents(self, space_id: str, *, limit: int, offset: int) -> DocumentPage:
        parameters: dict[str, str | int] = {"space_id": space_id, "limit": limit, "offset": offset}
        with self._translated():
            response = await self._http.get("/documents", params=parameters)
        return self._checked(DocumentPage, response)

    async def delete(self, doc_id: str) -> None:
        with self._translated():
            response = await self._http.delete(f"/documents/{doc_id}")
        self._raise_for_error(response)

    async def ingest(
        self, path: Path, *, space_id: str, source: str, doc_type: str | None
    ) -> Ingested:
        """
        Raises:
            OSError: the file cannot be read.
        """
        fields = {"space_id": space_id, "source": source}
        if doc_type:
            fields["doc_type"] = doc_type
        # Opened here and not in a thread: an interruption in between would lose the open file.
        with path.open("rb") as content, self._translated():
            response = await self._http.post(
                "/ingest",
                data=fields,
                files={"file": (PurePosixPath(source).name, content)},
                timeout=_limit(_INGEST_S),
            )
        return self._checked(Ingested, response)

    async def search(self, question: Question) -> SearchAnswer:
        parameters: dict[str, str | int | list[str]] = {
            "q": question.q,
            "space_id": question.space_id,
            "doc_types": list(question.doc_types),
        }
        if question.top_k is not None:
            parameters["top_k"] = question.top_k
        with self._translated():
            response = await self._http.get("/search", params=parameters)
        return self._checked(SearchAnswer, response)

    async def ask(self, question: Question) -> Answer:
        with self._translated():
            response = await self._http.post(
                "/ask", json=question.body(stream=False), timeout=_limit(_ANSWER_S)
            )
        return self._checked(Answer, response)

    async def ask_stream(self, question: Question) -> AsyncGenerator[AskEvent, None]:
        """Sources, deltas, then exactly one ``Answer``.

        Raises:
            ConnectionLost: the stream ended without its last event.
        """
        reader = EventReader()
        with self._translated():
            async with self._http.stream(
                "POST", "/ask", json=question.body(stream=True), timeout=_limit(_SILENCE_S)
            ) as response:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    await response.aread()
                    self._raise_for_error(response)
                    raise self._unexpected("no event stream")
                async for block in response.aiter_bytes():
                    for found in reader.feed(block):
                        event = self._event(found)
                        if event is not None:
                            yield event
                        if isinstance(event, Answer):
                            return
        raise ConnectionLost(f"The backend at {self.url} broke off in the middle of the answer.")

    def _event(self, event: ServerSentEvent) -> AskEvent | None:
        content = event.data.encode()
        if event.event == "sources":
            return self._read(SourcesEvent, content)
        if event.event == "delta":
            return self._read(Delta, content)
        if event.event == "complete":
            return self._read(Answer, content)
        if event.event == "error":
            error = self._read(ErrorBody, content).error
            raise ApiError(error.message, code=error.code, request_id=error.request_id)
        return None

    # --- answers and failures ----------------------------------------------------------------

    def _checked(self, kind: type[Read], response: httpx.Response) -> Read:
        self._raise_for_error(response)
        return self._read(kind, response.content)

    def _read(self, kind: type[Read], content: bytes) -> Read:
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise self._unexpected(f"{where}: {problem['msg']}".lstrip(": ")) from error

    def _unexpected(self, what: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"What answers at {self.url} is not this version's backend ({what})."
        )

    def _raise_for_error(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        try:
            error = ErrorBody.model_validate_json(response.content).error
        except ValidationError:
            raise self._unexpected(f"status {response.status_code}") from None
        message = error.message
        if response.status_code == httpx.codes.UNAUTHORIZED:
            message += " The command line takes it from the variable API_KEY."
        raise ApiError(
            message,
            code=error.code,
            status=response.status_code,
            retry_after_s=_seconds(response.headers.get("retry-after")) or error.retry_after_s,
            request_id=error.request_id,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(
                f"The backend at {self.url} does not answer: start it with `make run`, "
                "or name another with --url or QUADRATE_URL."
            ) from error
        except httpx.TimeoutException as error:
            raise TimedOut(f"The backend at {self.url} did not answer in time.") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"The backend at {self.url} hung up ({reason}).") from error
        except httpx.HTTPError as error:
            raise self._unexpected(str(error) or type(error).__name__) from error


def _limit(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=_CONNECT_S)


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After; its other form, a date, is not waited for."""
    try:
        return float(header) if header else None
    except ValueError:
        return None

"""Calling other servers: one place where httpx errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from backend.core.errors import DependencyError, DependencyRejected, DependencyTimeout

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)

_IDLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server we call.

    ``name`` is how errors speak of it. ``locate`` gives its root URL (without ``/v1``) and is
    asked for every request: a local server that was restarted listens on another port, and
    one that is down says so by raising.
    """

    client: httpx.AsyncClient
    name: str
    locate: Callable[[], str]
    api_key: str | None = None

    def url(self, path: str) -> str:
        return self.locate().rstrip("/") + path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def open_client(*, trust_env: bool = True) -> httpx.AsyncClient:
    """A client for one server. Every generation holds a connection, and so does each question
    about the server beside it. An idle one is kept for less than uvicorn keeps it (5 s), which
    vLLM runs on: one that the server closes at the moment it is used again is a failure."""
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=100, keepalive_expiry=_IDLE_S
    )
    return httpx.AsyncClient(trust_env=trust_env, limits=limits)


def fixed(url: str) -> Callable[[], str]:
    """``locate`` for a configured URL, with or without the ``/v1`` of the OpenAI API."""
    root = url.rstrip("/").removesuffix("/v1")
    return lambda: root


@contextmanager
def dependency_errors(dependency: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise DependencyTimeout(
            f"{dependency} did not answer in time.", dependency=dependency
        ) from error
    except httpx.HTTPStatusError as error:
        raise DependencyRejected(
            f"{dependency} answered {error.response.status_code}.",
            dependency=dependency,
            status=error.response.status_code,
        ) from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise DependencyError(
            f"{dependency} broke the connection.", dependency=dependency
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DependencyError(f"{dependency} is unreachable.", dependency=dependency) from error


async def within(awaitable: Awaitable[T], deadline: float, late: DependencyTimeout) -> T:
    """Await until ``deadline`` (on the loop's clock), then raise ``late``."""
    try:
        async with asyncio.timeout_at(deadline):
            return await awaitable
    except TimeoutError as error:
        raise late from error


def read_json(response: httpx.Response, shape: type[Shape], dependency: str) -> Shape:
    """The body as ``shape``.

    Raises:
        DependencyError: a page of a proxy, a login form, or another protocol altogether.
    """
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        kind = response.headers.get("content-type", "something without a content type")
        raise DependencyError(
            f"{dependency} answered {response.status_code} with {kind} that is not its protocol. "
            "Check its URL.",
            dependency=dependency,
        ) from error


async def post_json(
    endpoint: Endpoint,
    path: str,
    body: dict[str, object],
    shape: type[Shape],
    timeout_s: float,
) -> Shape:
    """Post ``body`` to the endpoint and read the answer as ``shape``."""
    with dependency_errors(endpoint.name):
        response = await endpoint.client.post(
            endpoint.url(path), json=body, headers=endpoint.headers, timeout=timeout_s
        )
        response.raise_for_status()
    return read_json(response, shape, endpoint.name)

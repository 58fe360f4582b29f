"""One file over HTTP from a model hub: resumed with Range, its size never exceeded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

import httpx

from cli.model_fetch import FetchError, Reporter

HUB_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_HUB_ANSWER_S = 15.0  # name lookup, connection, redirects: an offline machine is not kept waiting
_HUB_ATTEMPTS = 50  # only those that brought something count; one that did not is the last


def check_address(variable: str, url: str) -> str:
    """``url``, which came from ``variable``.

    Raises:
        FetchError: nothing could be asked there.
    """
    try:
        good = httpx.URL(url).scheme in {"http", "https"} and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        good = False
    if not good:
        raise FetchError(f"{variable}={url} is no address: those are written http://HOST:PORT.")
    return url


def answered(response: httpx.Response) -> str:
    return f"answered {response.status_code}."


@dataclass(frozen=True, slots=True)
class HubDownload:
    """A broken transfer goes on where it broke. ``refused`` words an answer that is no content."""

    name: str
    url: str
    size_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    refused: Callable[[httpx.Response], str] = answered
    extra_disk_bytes: int = 0

    def append(self, target: BinaryIO, reporter: Reporter) -> None:
        with httpx.Client(timeout=HUB_TIMEOUT, follow_redirects=True) as client:
            for _ in range(_HUB_ATTEMPTS):
                have = target.seek(0, 2)
                if have == self.size_bytes:
                    return
                if have > self.size_bytes:
                    target.truncate(0)  # no beginning of the file
                    have = 0
                try:
                    self._transfer(client, target, reporter)
                except httpx.HTTPError as error:
                    if target.seek(0, 2) == have:  # no progress: trying again is no use
                        raise FetchError(f"unreachable ({type(error).__name__}).") from error
            raise FetchError("the connection broke too often.")

    def _transfer(self, client: httpx.Client, target: BinaryIO, reporter: Reporter) -> None:
        with closing(self._answer(client, target.seek(0, 2))) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                target.truncate(0)  # ours is longer than the file, so it is no beginning of it
                return
            if response.status_code not in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
                raise FetchError(self.refused(response))
            start = _start(response)
            if start > target.seek(0, 2):
                raise FetchError("answered another range than asked for.")
            target.seek(start)
            target.truncate()
            for block in response.iter_raw():
                if target.tell() + len(block) > self.size_bytes:
                    raise FetchError("sent more bytes than the file has.")
                target.write(block)
                reporter.at(target.tell())

    def _answer(self, client: httpx.Client, offset: int) -> httpx.Response:
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = client.build_request("GET", self.url, headers=headers)
        return in_time(lambda: client.send(request, stream=True))


def _start(response: httpx.Response) -> int:
    """Offset of the first byte of the body; 0 from a server that ignores ranges."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    span = response.headers.get("content-range", "")
    try:
        return int(span.removeprefix("bytes ").partition("-")[0])
    except ValueError as error:
        raise FetchError("answered a range without saying which.") from error


def in_time(send: Callable[[], httpx.Response], limit_s: float = _HUB_ANSWER_S) -> httpx.Response:
    """What ``send`` returns or raises. A thread: the lookup of a name has no timeout of its own."""
    results: queue.Queue[httpx.Response | httpx.HTTPError] = queue.Queue()

    def work() -> None:
        try:
            results.put(send())
        except httpx.HTTPError as error:
            results.put(error)
        except RuntimeError:  # nobody waits any more: the client is closed
            return

    threading.Thread(target=work, daemon=True).start()
    try:
        result = results.get(timeout=limit_s)
    except queue.Empty:
        raise httpx.ConnectTimeout("no answer in time") from None
    if isinstance(result, httpx.HTTPError):
        raise result
    return result

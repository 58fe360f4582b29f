"""Token counts from the server that will read the text."""

from __future__ import annotations

import hashlib
import threading

import httpx
from cachetools import LRUCache
from pydantic import BaseModel

from backend.adapters._http import dependency_errors
from backend.adapters._model_services import ModelService
from backend.adapters._texts import halves, sendable

_REMEMBERED_COUNTS = 20_000
_COUNTED_CHARS = 50_000  # of one request


class _Tokenized(BaseModel):
    tokens: list[int]


class ServerTokenizer:
    """Asked from threads, hence with a client that blocks. Chunks are counted when they are cut
    and again before they are sent, so counts are remembered."""

    def __init__(self, service: ModelService, client: httpx.Client) -> None:
        self._service = service
        self._client = client
        self._counts: LRUCache[bytes, int] = LRUCache(_REMEMBERED_COUNTS)
        self._counts_lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def count(self, text: str) -> int:
        """A text of many pages is counted in pieces, which may add a token for each joint."""
        text = sendable(text)
        if len(text) <= _COUNTED_CHARS:
            return self._count_piece(text)
        parts = halves(text)
        assert parts is not None  # noqa: S101 - it is longer than two characters
        return sum(map(self.count, parts)) - self._count_piece("")

    def _count_piece(self, text: str) -> int:
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        with self._counts_lock:
            known = self._counts.get(key)
        if known is not None:
            return known
        counted = self._ask_tokenizer(text)
        with self._counts_lock:
            self._counts[key] = counted
        return counted

    def _ask_tokenizer(self, text: str) -> int:
        """In the words of both servers at once: each ignores those of the other."""
        endpoint = self._service.endpoint
        body = {
            "model": self._service.model,
            "prompt": text,
            "add_special_tokens": True,
            "content": text,
            "add_special": True,
            "parse_special": True,
        }
        with dependency_errors(endpoint.name):
            response = self._client.post(
                endpoint.url("/tokenize"), json=body, headers=endpoint.headers
            )
        return len(self._service.read(response, _Tokenized).tokens)

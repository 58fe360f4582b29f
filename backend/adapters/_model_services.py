"""Asking a server that embeds or reranks, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, Field, ValidationError

from backend.adapters._http import Endpoint, Shape, dependency_errors, read_json
from backend.core.errors import DependencyRejected, ModelNotServed, NotReady

_LONGEST_QUOTE = 300  # characters of the server's own words that are passed on
_TOO_LONG = re.compile(
    r"maximum (?:context|model) length|max_model_len|too large to process"
    r"|(?:exceeds|larger than) the (?:available|max) context size|upper bound for \d+ input tokens"
)
_WINDOW = re.compile(
    r"(?:maximum context length is|max_model_len=|maximum model length of"
    r"|current batch size:|max context size \(|available context size \() ?(\d+)"
)


@dataclass(frozen=True, slots=True)
class SettingNames:
    """The environment variables an operator can change."""

    url: str
    model: str
    api_key: str
    timeout: str


class InputTooLong(Exception):
    """The server refused an input for its length. Never leaves the adapters.

    ``window_tokens`` is None where the server did not say what fits.
    """

    def __init__(self, words: str, window_tokens: int | None) -> None:
        super().__init__(words)
        self.window_tokens = window_tokens


class _ServerError(BaseModel):
    message: str = ""
    type: str = ""
    n_ctx: int | None = None  # llama.cpp, with exceed_context_size_error


class _ErrorBody(BaseModel):
    """``{"error": {…}}``; vLLM also sends ``{"error": "Unauthorized"}`` and ``{"detail": …}``."""

    error: _ServerError | str | None = None
    detail: object = None


class _Model(BaseModel):
    id: str
    aliases: tuple[str, ...] = ()
    max_model_len: int | None = None


class ModelList(BaseModel):
    data: tuple[_Model, ...] = Field(min_length=1)

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may ask for, without repetition."""
        return tuple(dict.fromkeys(name for m in self.data for name in (m.id, *m.aliases)))


class ModelService:
    """One model on one server; ``names`` are what its errors tell the operator to look at."""

    def __init__(
        self, endpoint: Endpoint, *, model: str, names: SettingNames, timeout_s: float
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self.names = names
        self._timeout_s = timeout_s

    async def post(self, path: str, body: dict[str, object], shape: type[Shape]) -> Shape:
        """
        Raises:
            InputTooLong: an input does not fit the model.
            NotReady: the model is still loading.
            DependencyError: the server failed, timed out or refused.
        """
        request = self.endpoint.client.post(
            self.endpoint.url(path),
            json={"model": self.model} | body,
            headers=self.endpoint.headers,
            timeout=self._timeout_s,
        )
        return await self._answer(request, shape)

    async def get(self, path: str, shape: type[Shape]) -> Shape:
        request = self.endpoint.client.get(
            self.endpoint.url(path), headers=self.endpoint.headers, timeout=self._timeout_s
        )
        return await self._answer(request, shape)

    async def listed(self) -> ModelList:
        """The server's models, ours among them.

        Raises:
            ModelNotServed: ours is not.
        """
        listed = await self.get("/v1/models", ModelList)
        if self.model not in listed.names:
            raise self._not_served(listed.names)
        return listed

    async def _answer(self, request: Awaitable[httpx.Response], shape: type[Shape]) -> Shape:
        with dependency_errors(self.endpoint.name):
            response = await request
        return self.read(response, shape)

    def read(self, response: httpx.Response, shape: type[Shape]) -> Shape:
        if not response.is_success:
            raise self._refusal(response)
        return read_json(response, shape, self.endpoint.name)

    def _refusal(self, response: httpx.Response) -> Exception:
        try:
            body = _ErrorBody.model_validate_json(response.content)
        except ValidationError:
            body = _ErrorBody()
        error = body.error if isinstance(body.error, _ServerError) else _ServerError()
        said = body.error if isinstance(body.error, str) else error.message or body.detail
        words = said.strip() if isinstance(said, str) else ""
        if error.type == "exceed_context_size_error" or _TOO_LONG.search(words):
            found = _WINDOW.search(words)
            return InputTooLong(words, error.n_ctx or (int(found[1]) if found else None))
        if response.status_code == 503 and "loading" in words.lower():
            return NotReady(f"{self.endpoint.name} is still loading its model.", retry_after_s=2)
        return self._rejected(response.url.path, response.status_code, words)

    def _rejected(self, path: str, status: int, words: str) -> DependencyRejected:
        server, names = self.endpoint.name, self.names
        quote = f" It says: {words[:_LONGEST_QUOTE]}" if words else ""
        if status in {401, 403}:
            message = f"{server} refused the API key ({status}). Check {names.api_key}."
        elif status == 404 and "model" in words.lower():
            return self._not_served((), quote)
        elif status in {404, 405, 501}:
            message = f"{server} does not offer {path} ({status}).{quote} Check {names.url}."
        else:
            message = f"{server} answered {status}.{quote}"
        return DependencyRejected(message, dependency=server)

    def _not_served(self, served: tuple[str, ...], quote: str = "") -> ModelNotServed:
        has = f" It has: {', '.join(served)}." if served else quote
        return ModelNotServed(
            f"{self.endpoint.name} does not serve the model {self.model!r}.{has} "
            f"Check {self.names.model} and {self.names.url}.",
            dependency=self.endpoint.name,
            model=self.model,
            served=served,
        )

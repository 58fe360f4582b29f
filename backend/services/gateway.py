"""Which model server answers which name on ``/v1``, and the list of those names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

from backend.core.errors import NotFound, RagError
from backend.core.ports import DocumentStore, Embedder, Generator, Reranker
from backend.core.types import Sampling
from backend.services.chat import RAG_PREFIX, RagChat
from backend.services.rewrite import Slots

Kind = Literal["chat", "embedding", "rerank"]
JsonObject = dict[str, object]

_LISTING_S = 3.0


class UpstreamAnswer(Protocol):
    """What a model server answers, unread."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the response that concern the client, besides the content type."""
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            DependencyError: it broke off or stalled.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes in; raises as ``read`` does."""
        ...


class Upstream(Protocol):
    """A server that speaks the OpenAI API; ``name`` is how errors speak of it."""

    @property
    def name(self) -> str: ...

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Leaving the context early closes the connection, which stops the server.

        Raises:
            DependencyTimeout: it took too long to connect or to begin its answer.
            DependencyError: it cannot be reached or broke the connection.
        """
        ...

    async def models(self) -> list[JsonObject]:
        """The entries of its ``/v1/models``.

        Raises:
            DependencyError: it has no such list to give.
        """
        ...


class Spaces(Protocol):
    """The spaces that hold documents."""

    async def names(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class StoredSpaces:
    """Spaces as the document store has them."""

    documents: DocumentStore

    async def names(self) -> list[str]:
        records = await self.documents.records()
        return sorted({record.space_id for record in records if not record.deleting})


@dataclass(frozen=True, slots=True)
class Route:
    """A model under its name. Bytes go to ``upstream``; without one, one of the others answers:
    the generator of a server that must not be sent OpenAI requests (Ollama), or a model in this
    process."""

    name: str
    kind: Kind
    upstream: Upstream | None = None
    generator: Generator | None = None
    embedder: Embedder | None = None
    reranker: Reranker | None = None

    @property
    def owner(self) -> str:
        return self.upstream.name if self.upstream else "quadrate"


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """All the gateway works with. The first route of a kind answers requests without a model.

    ``defaults`` is for requests that do not say, where the answer is generated through our own
    ``Generator``.
    """

    routes: tuple[Route, ...] = ()
    defaults: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024))
    rag: RagChat | None = None
    spaces: Spaces | None = None
    slots: Slots | None = None

    def slot(self) -> AbstractAsyncContextManager[object]:
        return self.slots.slot("interactive") if self.slots else nullcontext()

    def route(self, kind: Kind, model: str | None) -> Route:
        """
        Raises:
            NotFound: nothing of this kind has the name.
        """
        of_kind = [route for route in self.routes if route.kind == kind]
        if model is None and of_kind:
            return of_kind[0]
        for route in of_kind:
            if route.name == model:
                return route
        raise UnknownModel(model, [route.name for route in of_kind], kind)

    async def rag_space(self, model: str) -> tuple[RagChat, str]:
        """Who answers from the space that ``rag/<space>`` names, and its id.

        Raises:
            NotFound: it holds no documents.
        """
        known = await self.spaces.names() if self.spaces else []
        space = model.removeprefix(RAG_PREFIX)
        if space not in known or self.rag is None:
            names = [route.name for route in self.routes if route.kind == "chat"]
            raise UnknownModel(model, [*names, *(RAG_PREFIX + name for name in known)], "chat")
        return self.rag, space

    async def models(self) -> tuple[list[JsonObject], tuple[str, ...]]:
        """Entries of ``/v1/models``, and what could not be asked."""
        listings = await asyncio.gather(*(_listed(route) for route in self.routes))
        entries = [entry for entry, _ in listings]
        if self.spaces and self.rag:
            entries += [
                _entry(RAG_PREFIX + name, "quadrate", "chat") for name in await self.spaces.names()
            ]
        return entries, tuple(warning for _, warning in listings if warning)


class UnknownModel(NotFound):
    code = "model_not_found"

    def __init__(self, model: str | None, names: Sequence[str], kind: Kind) -> None:
        there = ", ".join(names) or "none"
        asked = f"The model {model[:200]!r} does not exist" if model else "There is no default"
        super().__init__(f"{asked} for {kind} requests here. There is: {there}.")
        self.names = tuple(names)

    @property
    def details(self) -> dict[str, object]:
        return {"models": list(self.names)}


async def _listed(route: Route) -> tuple[JsonObject, str]:
    """The server's own entry where it has one under this name: it tells the window."""
    plain = _entry(route.name, route.owner, route.kind)
    if route.upstream is None:
        return plain, ""
    try:
        async with asyncio.timeout(_LISTING_S):
            entries = await route.upstream.models()
    except TimeoutError:
        return plain, f"{route.upstream.name} did not list its models within {_LISTING_S:g} s."
    except RagError as error:  # down, or still loading
        return plain, str(error)
    own = next((entry for entry in entries if entry.get("id") == route.name), None)
    return (plain | own, "") if own else (plain, "")


def _entry(name: str, owner: str, kind: Kind) -> JsonObject:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner, "kind": kind}

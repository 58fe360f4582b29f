"""What Ollama says of its model, and whether it read a prompt whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import uuid4

import httpx

from backend.adapters._http import Endpoint, Shape, dependency_errors, read_json
from backend.adapters.generators._answers import Usage
from backend.adapters.generators._kept import KeptModel
from backend.adapters.generators._ollama_wire import (
    Installed,
    Shown,
    error_words,
    model_missing,
    ollama_refusal,
)
from backend.adapters.token_counters.bundled import family_of
from backend.adapters.token_counters.estimating import PromptBounds, prompt_bounds
from backend.core.errors import (
    ContextOverflow,
    DependencyError,
    ModelNotServed,
    Overloaded,
    PromptTruncated,
)
from backend.core.types import Message, Sampling, ServedModel

# Tokens an answer may count past the window: 0.12 counts one it did not keep.
_COUNTED_PAST = 8

Probe = Callable[[Sequence[Message], Sampling], Awaitable[Usage]]


class OllamaModel:
    """Our model on one server. ``window`` is what we ask for as ``num_ctx``; ``kept`` is what the
    server said lately."""

    def __init__(self, endpoint: Endpoint, model: str, window: int, *, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._model = model
        self._window = window
        self._timeout_s = timeout_s
        self._family = family_of(model)
        self.kept = KeptModel(self._ask)

    async def names(self) -> tuple[str, ...]:
        return (await self.get("/api/tags", Installed)).names

    async def missing(self) -> ModelNotServed:
        """The error for a server that does not know our model, with the names it has."""
        try:
            names = await self.names()
        except (DependencyError, Overloaded):
            names = ()
        return model_missing(self._endpoint.name, self._model, names)

    async def bounds(self, messages: Sequence[Message]) -> PromptBounds:
        return await asyncio.to_thread(prompt_bounds, tuple(messages), self._family)

    async def prove_whole(
        self, messages: Sequence[Message], sampling: Sampling, usage: Usage, probe: Probe
    ) -> None:
        """Make sure that the prompt was not cut. Its reported count alone proves nothing: what
        the server had cached of the prompt may be missing from it.

        Raises:
            PromptTruncated: part of the prompt never reached the model.
        """
        bounds, seen = await self.bounds(messages), usage.prompt_tokens
        loaded = await self._loaded_window()
        room = self._room(loaded, seen)
        most_held = max(self._window, loaded or 0)
        if seen + usage.completion_tokens > most_held + _COUNTED_PAST:
            # It went on past the window, so it dropped the beginning while it answered.
            raise self._truncated(bounds, most_held, loaded)
        if loaded is not None and bounds.most <= room:
            return
        if loaded is not None and bounds.least > room:
            raise self._truncated(bounds, seen, loaded)
        if bounds.least <= seen < room:
            return
        await self._judge_uncached(messages, sampling, probe, bounds, loaded)

    async def _judge_uncached(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        probe: Probe,
        bounds: PromptBounds,
        loaded: int | None,
    ) -> None:
        """Send the prompt once more with something new at its very front: nothing of it is
        cached then, so its count is the tokens the server reads."""
        first = messages[0]
        marked = replace(first, content=f"[{uuid4().hex}] {first.content}")
        short = Sampling(max_tokens=1, reasoning=sampling.reasoning)
        try:
            seen = (await probe([marked, *messages[1:]], short)).prompt_tokens
        except ContextOverflow:
            return  # it refuses what does not fit, and it took the prompt itself
        if seen < bounds.least or seen >= self._room(loaded, seen):
            raise self._truncated(bounds, seen, loaded)

    def _room(self, loaded: int | None, seen: int) -> int:
        """The window our prompt had. One smaller than what was read from the prompt is another
        client's, for whom the model was loaded again meanwhile."""
        return self._window if loaded is None or seen > loaded else min(self._window, loaded)

    def _truncated(self, bounds: PromptBounds, seen: int, loaded: int | None) -> PromptTruncated:
        self.kept.forget()
        too_small = loaded is not None and loaded < self._window
        return PromptTruncated(
            dependency=self._endpoint.name,
            sent_tokens=max(bounds.most, seen + 1),
            seen_tokens=seen,
            setting="OLLAMA_CONTEXT_LENGTH" if too_small else "LLM_CONTEXT_WINDOW",
        )

    async def _loaded_window(self) -> int | None:
        """None where it does not say: an older server, a proxy, a model unloaded at once."""
        try:
            loaded = await self.get("/api/ps", Installed)
        except (DependencyError, Overloaded):
            return None
        return next((e.context_length for e in loaded.models if e.is_called(self._model)), None)

    async def _ask(self) -> ServedModel:
        shown = await self._show()
        loaded = await self._loaded_window()
        windows = {
            "LLM_CONTEXT_WINDOW, sent as num_ctx": self._window,
            "/api/show": shown.trained_window,
            "/api/ps": loaded,
        }
        said = {origin: window for origin, window in windows.items() if window}
        origin = min(said, key=lambda name: said[name])  # the first of equal ones
        return ServedModel(
            name=self._model,
            context_window=said[origin],
            origin=origin,
            asked_window=self._window,
            trained_window=shown.trained_window,
            quantization=shown.details.quantization_level,
        )

    async def _show(self) -> Shown:
        with dependency_errors(self._endpoint.name):
            response = await self._endpoint.client.post(
                self._endpoint.url("/api/show"),
                json={"model": self._model},
                headers=self._endpoint.headers,
                timeout=self._timeout_s,
            )
        if response.status_code == httpx.codes.NOT_FOUND and error_words(response.content):
            raise await self.missing()
        return self._read(response, Shown)

    async def get(self, path: str, shape: type[Shape]) -> Shape:
        with dependency_errors(self._endpoint.name):
            response = await self._endpoint.client.get(
                self._endpoint.url(path),
                headers=self._endpoint.headers,
                timeout=self._timeout_s,
            )
        return self._read(response, shape)

    def _read(self, response: httpx.Response, shape: type[Shape]) -> Shape:
        if not response.is_success:
            raise ollama_refusal(
                self._endpoint.name,
                self._model,
                response,
                error_words(response.content),
                needed=0,
                window=self._window,
            )
        return read_json(response, shape, self._endpoint.name)

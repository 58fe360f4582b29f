"""What the generators of all providers share: they always stream, and each wait has an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backend.adapters._http import Endpoint
from backend.adapters._streams import too_slow, whole_answer
from backend.core.errors import DependencyError, DependencyTimeout, ModelNotServed, RagError
from backend.core.types import Completion, GeneratorEvent, Message, Sampling


@dataclass(frozen=True, slots=True)
class ModelTimeouts:
    """Seconds. ``first_token_s`` covers the server's queue and its reading of the prompt,
    ``answer_s`` is for who waits for the whole answer."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    between_tokens_s: float = 30.0
    answer_s: float = 300.0


class StreamedGenerator(ABC):
    """``complete`` and the errors of a stream; a provider adds how its server streams."""

    def __init__(self, endpoint: Endpoint, model: str, timeouts: ModelTimeouts | None) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeouts = timeouts or ModelTimeouts()

    @property
    def model(self) -> str:
        return self._model

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        # Streamed all the same: llama.cpp notices that a client has left only while it writes,
        # so a cancelled answer that is not streamed would keep its slot to the end; and a model
        # that has gone silent is told from a slow one.
        late = self._too_slow("whole answer")
        return await whole_answer(self.stream(messages, sampling), self._timeouts.answer_s, late)

    async def stream(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        try:
            async with aclosing(self._streamed(messages, sampling)) as events:
                async for event in events:
                    yield event
        except ModelNotServed as error:
            self._forget()
            raise await self._explained(error) from error
        except RagError:
            self._forget()
            raise

    @abstractmethod
    def _streamed(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> AsyncGenerator[GeneratorEvent, None]:
        """The events of ``stream``."""

    @abstractmethod
    def _forget(self) -> None:
        """The server may be another one by now."""

    @abstractmethod
    async def _explained(self, error: ModelNotServed) -> ModelNotServed:
        """The same error with the names that the server has."""

    @property
    def _name(self) -> str:
        return self._endpoint.name

    def _error(self, what: str) -> DependencyError:
        return DependencyError(f"{self._name} {what}", dependency=self._name)

    def _too_slow(self, what: str) -> DependencyTimeout:
        return too_slow(self._name, what)

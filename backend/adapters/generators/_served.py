"""What vLLM and llama.cpp say of the model they serve."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from backend.adapters._http import Endpoint, Shape, dependency_errors, read_json
from backend.adapters.generators._kept import KeptModel
from backend.adapters.generators._names import ServedName, not_served
from backend.adapters.generators._refusals import refusal
from backend.core.errors import DependencyError, ModelNotServed
from backend.core.types import ServedModel


class _Meta(BaseModel):
    n_ctx_train: int | None = None


class _Entry(BaseModel):
    id: str
    owned_by: str = ""
    root: str | None = None
    max_model_len: int | None = None
    meta: _Meta | None = None  # llama.cpp


class _ModelList(BaseModel):
    data: list[_Entry]


class _Props(BaseModel):
    """llama.cpp. ``/v1/models`` tells the window of all slots together; a request has one."""

    class Settings(BaseModel):
        n_ctx: int

    default_generation_settings: Settings
    total_slots: int | None = None
    model_ftype: str | None = None


class ServedModelReader:
    """Reads what the server says of our model; ``kept`` is what it said lately."""

    def __init__(self, endpoint: Endpoint, model: str, *, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeout_s = timeout_s
        self.kept = KeptModel(self._ask)

    async def explained(self, error: ModelNotServed) -> ModelNotServed:
        """The same error with all that the list of models tells, if the server gives it."""
        try:
            await self._entries_for_us()
        except ModelNotServed as better:
            return better
        except DependencyError:
            return error
        return error

    async def _ask(self) -> ServedModel:
        ours, *others = await self._entries_for_us()
        if ours.owned_by == "llamacpp":
            props = await self._get("/props", _Props)
            return ServedModel(
                ours.id,
                props.default_generation_settings.n_ctx,
                f"n_ctx in /props of {self._endpoint.name}",
                trained_window=ours.meta.n_ctx_train if ours.meta else None,
                parallel=props.total_slots,
                quantization=props.model_ftype,
            )
        # An adapter (LoRA) has no window of its own, it has that of the model it changes.
        windows = (entry.max_model_len for entry in (ours, *others))
        if window := next((window for window in windows if window is not None), None):
            origin = f"max_model_len in /v1/models of {self._endpoint.name}"
            return ServedModel(ours.id, window, origin)
        raise DependencyError(
            f"{self._endpoint.name} does not say how long its context window is.",
            dependency=self._endpoint.name,
        )

    async def _entries_for_us(self) -> Sequence[_Entry]:
        """Our model's entry in the server's list, then the others.

        A llama.cpp with one model answers to any name, so there the one it has is ours.
        """
        entries = (await self._get("/v1/models", _ModelList)).data
        for entry in entries:
            if entry.id == self._model or (len(entries) == 1 and entry.owned_by == "llamacpp"):
                return [entry, *(other for other in entries if other is not entry)]
        names = [ServedName(entry.id, entry.root) for entry in entries]
        raise not_served(self._endpoint.name, self._model, names)

    async def _get(self, path: str, shape: type[Shape]) -> Shape:
        name = self._endpoint.name
        with dependency_errors(name):
            response = await self._endpoint.client.get(
                self._endpoint.url(path),
                headers=self._endpoint.headers,
                timeout=self._timeout_s,
            )
        if not response.is_success:
            raise refusal(name, self._model, response.status_code, response.content)
        return read_json(response, shape, name)

"""A real llama.cpp in this process, on the tiny models of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Task = Literal["chat", "embed", "rerank"]


@dataclass(frozen=True, slots=True)
class Served:
    """``window`` tokens for each of ``slots`` requests at a time."""

    model: str
    task: Task
    window: int
    names: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 0
    slots: int = 2
    api_key: str = ""
    threads: int = 1


def start(served: Served) -> Any:
    """The server; ``listening_address`` is its URL. It lives as long as the reference to it."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = served.model
    params.model_alias = set(served.names)
    params.hostnames = [served.host]
    params.port = served.port
    params.api_keys = [served.api_key] if served.api_key else []
    params.n_parallel = served.slots
    params.n_threads_http = served.slots + 32
    params.n_ctx = served.window * served.slots
    params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = served.threads
    params.embedding = served.task != "chat"
    if params.embedding:
        params.n_batch = params.n_ubatch = served.window
    if served.task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.warmup = False
    params.no_extra_bufts = True
    params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = True
    params.ui = False
    params.verbosity = 1
    return xllamacpp.Server(params)

"""The chat model's server: one the operator runs, or a llama.cpp of our own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.adapters._http import Endpoint, fixed, open_client
from backend.adapters.generators._streamed import ModelTimeouts
from backend.adapters.generators.ollama import OllamaGenerator
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.local.llamacpp_server import LocalLlamaServer
from backend.adapters.token_counters.estimating import EstimatingTokenCounter
from backend.adapters.token_counters.llamacpp import LlamaCppTokenCounter
from backend.adapters.token_counters.vllm import VllmTokenCounter
from backend.core.local_models import is_present, load_catalogue, model_path
from backend.core.models import KnownModel, ModelCatalogue, ReasoningSwitch
from backend.core.ports import Generator, TokenCounter
from backend.settings import Settings

CONFIG = Path(__file__).parents[2] / "config"

# What a server is expected to work on at once where neither it nor the operator says.
_VLLM_CONCURRENCY = 64
_ONE_AT_A_TIME = 1

# Reading a prompt takes a busy laptop minutes, and whether our own child lives we see ourselves.
_CHILD_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Provider:
    """``known`` is the model's entry in the catalogue. ``endpoint`` is None where OpenAI requests
    must not be passed on (Ollama cuts them); ``ours`` is a server that the backend started."""

    name: str
    generator: Generator
    counter: TokenCounter
    endpoint: Endpoint | None
    concurrency: int
    known: KnownModel | None
    exact_counts: bool = True
    ours: bool = False


class NoProvider(Exception):
    """There is no chat model; the text says why and what to do."""


async def open_provider(
    settings: Settings, catalogue: ModelCatalogue, stack: AsyncExitStack
) -> Provider:
    """
    Raises:
        NoProvider: answers will be extractive.
    """
    if settings.llm_mode == "none":
        raise NoProvider("LLM_MODE=none.")
    if settings.llm_mode == "llamacpp" and settings.llm_llamacpp_url is None:
        return await _open_local(settings, catalogue, stack)
    client = await stack.enter_async_context(open_client())
    model = settings.llm_model or "default"
    known = catalogue.find(model)
    if settings.llm_mode == "ollama":
        return _ollama(settings, client, model, known)
    if settings.llm_mode == "vllm":
        endpoint = Endpoint(client, "vllm", fixed(settings.llm_vllm_url), settings.llm_api_key)
        return vllm(settings, endpoint, model, known)
    url = fixed(settings.llm_llamacpp_url or "")
    endpoint = Endpoint(client, "llamacpp", url, settings.llm_api_key)
    return _llamacpp(settings, endpoint, model, known)


def vllm(settings: Settings, endpoint: Endpoint, model: str, known: KnownModel | None) -> Provider:
    switch = _switch(known)
    generator = OpenAICompatibleGenerator(
        endpoint, model=model, timeouts=_timeouts(settings), reasoning_switch=switch
    )
    counter = VllmTokenCounter(endpoint, model=model, reasoning_switch=switch)
    return Provider(endpoint.name, generator, counter, endpoint, _VLLM_CONCURRENCY, known)


def _ollama(
    settings: Settings, client: httpx.AsyncClient, model: str, known: KnownModel | None
) -> Provider:
    endpoint = Endpoint(client, "ollama", fixed(settings.llm_ollama_url), settings.llm_api_key)
    generator = OllamaGenerator(
        endpoint,
        model=model,
        window=settings.llm_context_window,
        timeouts=_timeouts(settings),
        keep_alive=settings.ollama_keep_alive,
    )
    counter = EstimatingTokenCounter(model, family=known.tokenizer if known else None)
    concurrency = settings.ollama_num_parallel or _ONE_AT_A_TIME
    return Provider("ollama", generator, counter, None, concurrency, known, exact_counts=False)


def _llamacpp(
    settings: Settings,
    endpoint: Endpoint,
    model: str,
    known: KnownModel | None,
    *,
    ours: bool = False,
) -> Provider:
    switch = _switch(known)
    generator = OpenAICompatibleGenerator(
        endpoint,
        model=model,
        timeouts=_timeouts(settings, _CHILD_PATIENCE if ours else 1.0),
        dialect="llamacpp",
        reasoning_switch=switch,
    )
    counter = LlamaCppTokenCounter(endpoint, reasoning_switch=switch)
    return Provider("llamacpp", generator, counter, endpoint, _ONE_AT_A_TIME, known, ours=ours)


async def _open_local(
    settings: Settings, catalogue: ModelCatalogue, stack: AsyncExitStack
) -> Provider:
    """Our own llama.cpp, with a model file or one of the catalogue that was fetched before."""
    path, name = await _local_model(settings)
    server = LocalLlamaServer(
        path,
        model_name=name,
        threads=settings.llm_thread_count,
        context_window=settings.llm_context_window,
        log_path=settings.data_dir / "logs" / "llamacpp.log",
    )
    stack.push_async_callback(server.stop)
    await server.start()
    # A proxy of the environment has no business between us and our child.
    client = await stack.enter_async_context(open_client(trust_env=False))
    endpoint = Endpoint(client, "llamacpp", lambda: server.url, server.api_key)
    return _llamacpp(settings, endpoint, name, catalogue.find(name), ours=True)


async def _local_model(settings: Settings) -> tuple[Path, str]:
    named = settings.llm_model or ""
    if named.endswith(".gguf"):
        path = Path(named)
        if not await asyncio.to_thread(path.is_file):
            raise NoProvider(f"LLM_MODEL={named}: there is no such file.")
        return path, path.stem
    model = load_catalogue(CONFIG / "local_models.json").find(settings.llm_model)
    if not is_present(settings.models_dir, model):
        raise NoProvider(
            f"The model {model.name} is not on this machine. Fetch it with "
            f"'python -m cli.models pull {model.name}', or set LLM_MODE and LLM_MODEL."
        )
    return model_path(settings.models_dir, model), model.name


def _switch(known: KnownModel | None) -> ReasoningSwitch:
    """A model that is not in the catalogue is switched as most are."""
    return known.reasoning if known else "enable_thinking"


def _timeouts(settings: Settings, patience: float = 1.0) -> ModelTimeouts:
    return ModelTimeouts(
        first_token_s=patience * settings.llm_timeout,
        between_tokens_s=patience * settings.llm_timeout,
    )

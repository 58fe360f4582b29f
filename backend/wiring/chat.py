"""The chat model: a server of the operator's, a llama.cpp of our own, or none."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.adapters._http import Endpoint, fixed
from backend.adapters.generators.openai_compatible import (
    LLAMACPP_BODY,
    ModelTimeouts,
    OpenAICompatibleGenerator,
)
from backend.adapters.local.llamacpp_server import LocalLlamaServer
from backend.adapters.token_counters.llamacpp import LlamaCppTokenCounter
from backend.adapters.token_counters.vllm import VllmTokenCounter
from backend.core.local_models import is_present, load_catalogue, model_path
from backend.core.ports import Generator, TokenCounter
from backend.core.prompts import PromptSet
from backend.services.ask import ChatModel
from backend.services.health import Check
from backend.services.prompt_fitting import PromptFitter
from backend.settings import Settings

_CONFIG = Path(__file__).parents[2] / "config"

# Reading a prompt takes a busy laptop minutes, and whether our own child lives we see ourselves.
_CHILD_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Chat:
    """``model`` is None when answers are extractive; then ``why_not`` says what to do."""

    model: ChatModel | None
    check: Check
    why_not: str = ""


async def open_chat(settings: Settings, stack: AsyncExitStack) -> Chat:
    if settings.llm_mode == "none":
        return _extractive("LLM_MODE=none.")
    if settings.llm_mode == "llamacpp" and settings.llm_llamacpp_url is None:
        return await _open_local(settings, stack)
    client = await stack.enter_async_context(httpx.AsyncClient())
    name = settings.llm_model or "default"
    if settings.llm_mode == "vllm":
        endpoint = Endpoint(client, "vllm", fixed(settings.llm_vllm_url), settings.llm_api_key)
        generator = OpenAICompatibleGenerator(endpoint, model=name, timeouts=_timeouts(settings))
        return _served(settings, generator, VllmTokenCounter(endpoint, model=name))
    url = fixed(settings.llm_llamacpp_url or "")
    endpoint = Endpoint(client, "llamacpp", url, settings.llm_api_key)
    return _llamacpp(settings, endpoint, name, _timeouts(settings))


async def _open_local(settings: Settings, stack: AsyncExitStack) -> Chat:
    """Our own llama.cpp, with a model file or one of the catalogue that was fetched before."""
    named = settings.llm_model or ""
    if named.endswith(".gguf"):
        path, name = Path(named), Path(named).stem
        if not await asyncio.to_thread(path.is_file):
            return _extractive(f"LLM_MODEL={named}: there is no such file.")
    else:
        model = load_catalogue(_CONFIG / "local_models.json").find(settings.llm_model)
        if not is_present(settings.models_dir, model):
            return _extractive(
                f"The model {model.name} is not on this machine. Fetch it with "
                f"'python -m cli.models pull {model.name}', or set LLM_MODE and LLM_MODEL."
            )
        path, name = model_path(settings.models_dir, model), model.name
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
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
    endpoint = Endpoint(client, "llamacpp", lambda: server.url, server.api_key)
    return _llamacpp(settings, endpoint, name, _timeouts(settings, patience=_CHILD_PATIENCE))


def _llamacpp(settings: Settings, endpoint: Endpoint, model: str, timeouts: ModelTimeouts) -> Chat:
    generator = OpenAICompatibleGenerator(
        endpoint, model=model, timeouts=timeouts, extra_body=LLAMACPP_BODY
    )
    return _served(settings, generator, LlamaCppTokenCounter(endpoint))


def _served(settings: Settings, generator: Generator, counter: TokenCounter) -> Chat:
    fitter = PromptFitter(counter, _prompts(), source_limit=settings.ask_context_tokens)
    chat = ChatModel(
        generator,
        fitter,
        settings.llm_max_tokens,
        settings.llm_temperature,
        settings.llm_safety_margin,
    )
    return Chat(chat, generator.check)


def _timeouts(settings: Settings, patience: float = 1.0) -> ModelTimeouts:
    return ModelTimeouts(
        first_token_s=patience * settings.llm_timeout,
        between_tokens_s=patience * settings.llm_timeout,
        answer_s=10 * patience * settings.llm_timeout,
    )


def _extractive(why: str) -> Chat:
    async def check() -> str:
        return f"none: answers are extractive. {why}"

    return Chat(None, check, why)


def _prompts() -> PromptSet:
    folder = _CONFIG / "prompts"
    return PromptSet.from_texts(
        answer_ru=(folder / "answer.ru.md").read_text(encoding="utf-8"),
        answer_en=(folder / "answer.en.md").read_text(encoding="utf-8"),
    )

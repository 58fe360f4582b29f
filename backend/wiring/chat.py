"""The chat model with its queue, retries and measurements around it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from backend.adapters._http import Endpoint, fixed, open_client
from backend.adapters.instrumented import InstrumentedGenerator
from backend.adapters.limited import LimitedGenerator
from backend.adapters.resilient import ResilientGenerator, RetryPolicy
from backend.core.errors import RagError
from backend.core.models import AnswerLimits, load_model_catalogue
from backend.core.ports import Generator
from backend.core.prompts import PromptSet
from backend.core.types import Sampling
from backend.services.canary import Canary
from backend.services.chat_model import ChatModel
from backend.services.gate import PRIORITIES, Gate
from backend.services.health import Check
from backend.services.model_info import ModelInspector
from backend.services.prompt_fitting import PromptFitter
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.wiring.providers import CONFIG, NoProvider, Provider, open_provider, vllm

_WHOLE_ANSWER = 20  # times LLM_TIMEOUT: how long somebody waits who takes no stream


@dataclass(frozen=True, slots=True)
class Served:
    """A model behind its gate, and what the gateway needs to pass requests on to it.
    ``unqueued`` is for who holds a slot of ``gate`` already."""

    model: ChatModel
    unqueued: Generator
    inspector: ModelInspector
    gate: Gate
    endpoint: Endpoint | None
    check: Check


@dataclass(frozen=True, slots=True)
class Chat:
    """``main`` is None when answers are extractive; then ``why_not`` says what to do."""

    main: Served | None
    small: Served | None = None
    why_not: str = ""
    canary: Canary | None = None

    @property
    def model(self) -> ChatModel | None:
        return self.main.model if self.main else None

    async def check(self) -> str:
        if self.main is None:
            return f"none: answers are extractive. {self.why_not}"
        return await self.main.check()


async def open_chat(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Chat:
    catalogue = load_model_catalogue(CONFIG / "llm_models.json")
    try:
        provider = await open_provider(settings, catalogue, stack)
    except NoProvider as why:
        return Chat(None, why_not=str(why))
    main = await _served(settings, provider, metrics)
    for priority in PRIORITIES:
        metrics.watch_queue(
            priority,
            waiting=lambda name=priority: main.gate.waiting[name],  # type: ignore[misc]
            running=lambda name=priority: main.gate.running[name],  # type: ignore[misc]
        )
    canary = None
    if settings.llm_canary == "on" or (settings.llm_canary == "auto" and not provider.ours):
        canary = Canary(main.model)
    small = None
    if settings.llm_small_model and settings.llm_small_url:
        client = await stack.enter_async_context(open_client())
        url = fixed(settings.llm_small_url)
        endpoint = Endpoint(client, "vllm-small", url, settings.llm_api_key)
        known = catalogue.find(settings.llm_small_model)
        second = vllm(settings, endpoint, settings.llm_small_model, known)
        small = await _served(settings, second, metrics)
    return Chat(main, small, canary=canary)


async def _served(settings: Settings, provider: Provider, metrics: Metrics) -> Served:
    gate = Gate(
        capacity=await _capacity(settings, provider),
        queue_limit=settings.llm_queue_limit,
        on_start=metrics.queue_wait,
    )
    measured = InstrumentedGenerator(provider.generator, provider=provider.name, metrics=metrics)
    policy = RetryPolicy(answer_s=_WHOLE_ANSWER * settings.llm_timeout)
    resilient = ResilientGenerator(measured, policy=policy, dependency=provider.name)
    model = ChatModel(
        generator=LimitedGenerator(resilient, gate),
        counter=provider.counter,
        fitter=PromptFitter(
            provider.counter,
            _prompts(),
            source_limit=settings.ask_context_tokens,
            reasoning=settings.llm_reasoning,
        ),
        sampling=_sampling(settings),
        safety_margin=settings.llm_safety_margin,
        provider=provider.name,
        background=LimitedGenerator(resilient, gate, priority="background", yields=True),
        known=provider.known,
        parallel=lambda: gate.capacity,
    )
    inspector = ModelInspector(
        generator=model.generator,
        provider=provider.name,
        known=provider.known,
        limits=answer_limits(settings),
        fallback_window=settings.llm_context_window,
        exact_counts=provider.exact_counts,
        speed=lambda: metrics.tokens_per_second(provider.name),
    )

    async def check() -> str:
        told = await model.generator.check()
        if not settings.llm_max_concurrency:
            gate.set_capacity(await _capacity(settings, provider))
        return told

    return Served(model, resilient, inspector, gate, provider.endpoint, check)


async def _capacity(settings: Settings, provider: Provider) -> int:
    """What the operator says, else what the server says, else what such servers usually do."""
    if settings.llm_max_concurrency:
        return settings.llm_max_concurrency
    try:
        return (await provider.generator.served()).parallel or provider.concurrency
    except RagError:
        return provider.concurrency  # it is not up yet; the health check tells


def answer_limits(settings: Settings) -> AnswerLimits:
    return AnswerLimits(
        settings.llm_max_tokens,
        settings.llm_safety_margin,
        settings.ask_context_tokens,
        settings.chunk_size_tokens,
    )


def _sampling(settings: Settings) -> Sampling:
    return Sampling(
        max_tokens=settings.llm_max_tokens,
        temperature=settings.llm_temperature,
        top_p=settings.llm_top_p,
        top_k=settings.llm_top_k,
        min_p=settings.llm_min_p,
        presence_penalty=settings.llm_presence_penalty,
        frequency_penalty=settings.llm_frequency_penalty,
        repetition_penalty=settings.llm_repetition_penalty,
        seed=settings.llm_seed,
        reasoning=settings.llm_reasoning,
    )


def _prompts() -> PromptSet:
    folder = CONFIG / "prompts"
    return PromptSet.from_texts(
        answer_ru=(folder / "answer.ru.md").read_text(encoding="utf-8"),
        answer_en=(folder / "answer.en.md").read_text(encoding="utf-8"),
        compress_ru=(folder / "compress.ru.md").read_text(encoding="utf-8"),
        compress_en=(folder / "compress.en.md").read_text(encoding="utf-8"),
    )

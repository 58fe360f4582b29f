"""The whole application on a real embedded store, with doubles for the models and the parser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from backend.adapters.limited import LimitedGenerator
from backend.adapters.stores.edge import EdgeDocumentStore, EdgeVectorStore
from backend.adapters.stores.schema import HnswSettings
from backend.app import create_app
from backend.core.errors import NotReady
from backend.core.models import AnswerLimits
from backend.core.ports import Embedder, Generator, Parser
from backend.core.prompts import PromptSet
from backend.core.types import Sampling
from backend.services.chat_model import ChatModel
from backend.services.gate import Gate
from backend.services.gateway import GatewayParts
from backend.services.health import Check
from backend.services.model_info import ModelInspector
from backend.services.prompt_fitting import PromptFitter
from backend.settings import Settings
from backend.wiring import Adapters, compose
from backend.wiring.chat import Chat, Served
from backend.wiring.embedding import Embedding
from backend.wiring.stores import Stores
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.generator import ScriptedGenerator, WordCounter
from tests.fakes.parser import PlainParser
from tests.fakes.summary_store import MemorySummaryStore

PROMPT = "Say {no_answer} if you must.\n---\n{sources}\n{question}"
NO_GATEWAY = GatewayParts()
OpenClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def chat_with(generator: Generator | None) -> Chat:
    if generator is None:
        return Chat(None, why_not="LLM_MODE=none.")
    counter = WordCounter()
    prompts = PromptSet.from_texts(answer_ru=PROMPT, answer_en=PROMPT)
    gate = Gate(capacity=4, queue_limit=4)
    queued = LimitedGenerator(generator, gate)
    model = ChatModel(
        generator=queued,
        counter=counter,
        fitter=PromptFitter(counter, prompts, source_limit=0),
        sampling=Sampling(200),
        safety_margin=8,
        provider="vllm",
        background=LimitedGenerator(generator, gate, priority="background", yields=True),
    )
    inspector = ModelInspector(
        generator=queued,
        provider="vllm",
        known=None,
        limits=AnswerLimits(200, 8, 0, 256),
        fallback_window=8192,
        exact_counts=True,
        speed=lambda: None,
    )
    return Chat(Served(model, generator, inspector, gate, None, generator.check))


class LoadingGenerator(ScriptedGenerator):
    """A model server that is up while its model is not."""

    async def check(self) -> str:
        raise NotReady("The model is loading.")


def loading_chat() -> Chat:
    return chat_with(LoadingGenerator())


def settings_for(folder: Path, **changes: object) -> Settings:
    values: dict[str, object] = {"data_dir": folder, "llm_mode": "none"} | changes
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


@asynccontextmanager
async def edge_stores(folder: Path, embedder: Embedder) -> AsyncIterator[Stores]:
    documents = EdgeDocumentStore(folder / "qdrant", fingerprint=embedder.fingerprint)
    vectors = EdgeVectorStore(
        folder / "qdrant", dimensions=embedder.dimensions, hnsw=HnswSettings()
    )
    await documents.open()
    await vectors.open()

    async def check() -> str:
        return "edge"

    yield Stores(vectors, documents, MemorySummaryStore(), check)
    await vectors.close()
    await documents.close()


def embedder_check(embedder: Embedder) -> Check:
    async def check() -> str:
        await embedder.embed_query("health")
        return embedder.fingerprint

    return check


@asynccontextmanager
async def running_app(
    settings: Settings,
    *,
    chat: Chat | None = None,
    embedder: Embedder | None = None,
    parser: Parser | None = None,
    gateway: GatewayParts = NO_GATEWAY,
) -> AsyncIterator[FastAPI]:
    used = embedder or HashingEmbedder()
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(edge_stores(settings.data_dir, used))
        embedding = Embedding(used, used, embedder_check(used))
        adapters = Adapters(
            stores, embedding, parser or PlainParser(), chat or chat_with(None), gateway=gateway
        )
        warnings = ("LLM_FOO is unknown.",)
        services = await stack.enter_async_context(compose(settings, adapters, warnings))
        yield create_app(settings, services)


@pytest.fixture
def open_client(tmp_path: Path) -> OpenClient:
    """``async with open_client(generator=…, **settings) as client``."""

    @asynccontextmanager
    async def opened(
        *,
        generator: ScriptedGenerator | None = None,
        chat: Chat | None = None,
        embedder: Embedder | None = None,
        parser: Parser | None = None,
        **changes: object,
    ) -> AsyncIterator[httpx.AsyncClient]:
        settings = settings_for(tmp_path, **changes)
        async with running_app(
            settings, chat=chat or chat_with(generator), embedder=embedder, parser=parser
        ) as app:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client

    return opened


async def put(
    client: httpx.AsyncClient, text: str, source: str = "notes.txt", **form: str
) -> httpx.Response:
    fields = {"space_id": "s", "source": source} | form
    return await client.post("/ingest", files={"file": (source, text.encode())}, data=fields)


async def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that happens in the background."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)

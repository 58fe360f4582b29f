"""The application with its real chat adapters in front of a scripted model server, and doubles
only for what would take minutes: parser and embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from backend.app import create_app
from backend.core.summaries import FinishedPart, SummaryRecord
from backend.telemetry.metrics import Metrics
from backend.wiring import Adapters, compose
from backend.wiring.chat import open_chat
from backend.wiring.embedding import Embedding
from backend.wiring.stores import Stores
from tests.api.conftest import edge_stores, embedder_check, settings_for
from tests.fakes.embedder import E5LikeEmbedder
from tests.fakes.parser import PlainParser
from tests.fakes.summary_server import MODEL, SummaryServer
from tests.fakes.summary_store import MemorySummaryStore


@asynccontextmanager
async def summary_app(
    folder: Path,
    server: SummaryServer,
    store: MemorySummaryStore | None = None,
    **changes: object,
) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(
        folder,
        llm_mode="vllm",
        llm_model=MODEL,
        llm_vllm_url=f"{server.url}/v1",
        llm_max_concurrency=server.sequences,
        llm_canary="off",
        **changes,
    )
    embedder = E5LikeEmbedder()
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(edge_stores(folder, embedder))
        stores = Stores(
            opened.vectors, opened.documents, store or MemorySummaryStore(), opened.check
        )
        metrics = Metrics()
        chat = await open_chat(settings, metrics, stack)
        embedding = Embedding(embedder, embedder, embedder_check(embedder))
        adapters = Adapters(stores, embedding, PlainParser(), chat, metrics=metrics)
        services = await stack.enter_async_context(compose(settings, adapters))
        app = create_app(settings, services)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60)
        yield await stack.enter_async_context(client)


async def put(client: httpx.AsyncClient, text: str, source: str) -> str:
    """The id of the document."""
    form = {"space_id": "s", "source": source}
    response = await client.post("/ingest", files={"file": (source, text.encode())}, data=form)
    response.raise_for_status()
    return str(response.json()["doc_id"])


def texts_kept(store: MemorySummaryStore) -> list[str]:
    """All that a later answer could be made of, ready or half."""
    ready = [_text(record) for record in store.records.values()]
    return [text for text in [*ready, *map(_part_text, store.finished.values())] if text]


def _text(record: SummaryRecord) -> str:
    return record.summary.text if record.summary else ""


def _part_text(part: FinishedPart) -> str:
    return "" if part.level == -1 else part.text  # which is how the document was cut

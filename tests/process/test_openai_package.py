"""The ``openai`` package as a client of the gateway, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI

from backend.adapters.upstream import HttpUpstream, open_session
from backend.services.gateway import GatewayParts, Route
from tests.api.test_rag_model import LONG, Spaces
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.gateway import running_gateway
from tests.fakes.openai_upstream import (
    CHAT,
    DONE,
    FakeOpenAI,
    event,
    json_answer,
    running_openai,
    stream_head,
    streamed,
)
from tests.unit.test_chat_service import GOOD, rag

pytestmark = pytest.mark.loopback

QUESTION = [{"role": "user", "content": "Когда сдача проекта?"}]


@asynccontextmanager
async def client_of(*script: bytes, key: str = "good") -> AsyncIterator[AsyncOpenAI]:
    async with running_openai(FakeOpenAI(script)) as fake, open_session() as session:
        upstream = HttpUpstream(session, name="vllm", locate=lambda: fake.url)
        routes = (
            Route("medium", "chat", upstream),
            Route("e5", "embedding", embedder=HashingEmbedder(8)),
        )
        parts = GatewayParts(routes, rag=rag(LONG)[0], spaces=Spaces())
        async with running_gateway(parts, "good") as http:
            base = f"{http.base_url}/v1".replace("//v1", "/v1")
            async with AsyncOpenAI(api_key=key, base_url=base, max_retries=0) as client:
                yield client


async def test_chat_whole() -> None:
    async with client_of(json_answer(CHAT)) as client:
        got = await client.chat.completions.create(model="medium", messages=QUESTION)

    assert got.choices[0].message.content == "Привет\u2028!"


async def test_chat_streamed() -> None:
    events = [event("Пр"), event("ивет"), event("", finish_reason="stop"), DONE]
    async with client_of(*streamed(*events)) as client:
        stream = await client.chat.completions.create(
            model="medium", messages=QUESTION, stream=True
        )
        texts = [chunk.choices[0].delta.content async for chunk in stream]

    assert "".join(texts) == "Привет"


async def test_a_stream_that_breaks_raises() -> None:
    async with client_of(*streamed(event("Пр"))) as client:
        stream = await client.chat.completions.create(
            model="medium", messages=QUESTION, stream=True
        )
        with pytest.raises(openai.APIError, match="early"):
            [chunk async for chunk in stream]


async def test_chat_with_a_space_whole_and_streamed() -> None:
    async with client_of(stream_head()) as client:
        whole = await client.chat.completions.create(model="rag/s", messages=QUESTION)
        stream = await client.chat.completions.create(
            model="rag/s",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    message = whole.choices[0].message
    assert message.content == text
    assert text.startswith(GOOD)
    assert message.citations[0]["quote"]  # type: ignore[attr-defined]
    assert chunks[-2].choices[0].delta.citations == message.citations  # type: ignore[attr-defined]
    assert chunks[-1].usage == whole.usage


async def test_models_and_embeddings() -> None:
    async with client_of() as client:
        listed = [model.id async for model in client.models.list()]
        vectors = await client.embeddings.create(model="e5", input=["один", "two"])

    assert listed == ["medium", "e5", "rag/docs", "rag/s"]
    assert [len(entry.embedding) for entry in vectors.data] == [8, 8]


async def test_a_bad_key() -> None:
    async with client_of(key="bad") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_an_unknown_model() -> None:
    async with client_of() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-9", messages=QUESTION)

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")

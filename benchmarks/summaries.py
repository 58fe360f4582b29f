"""Summaries in parts: the speed-up of the map step beside the server's own, and how far off the
estimate of the time left is half way.

    python -m benchmarks.summaries                          # a scripted server of eight sequences
    python -m benchmarks.summaries --vllm URL --model NAME  # a real one, started with eight

The map step runs with as many calls as the server has sequences and with one at a time; its
speed-up is divided by that of the same requests sent to the bare server by a plain client. Targets:
a ratio of 0.9, and an error of the estimate of at most 20 % in the median over uneven documents.
What the model writes is not judged, so that any model will do.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from backend.adapters.generators._requests import chat_request
from backend.core.chunking import chunk_document
from backend.core.language import AnswerLanguage
from backend.core.ports import Generator
from backend.core.summaries import FinishedPart, Summary, SummaryKey, SummaryProgress
from backend.core.summary_prompts import KINDS, LANGUAGES, SummaryPrompts
from backend.core.types import (
    DocType,
    Message,
    ParsedDocument,
    Sampling,
    StoredChunk,
)
from backend.services.summarize.engine import Summarizer
from backend.services.summarize.ports import Judges
from backend.services.summarize.structured import ThreadStructuring
from backend.services.summarize.work import SummaryTask
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.wiring.chat import Served, open_chat
from backend.wiring.providers import CONFIG
from tests.fakes.prose import prose
from tests.fakes.recording import Recording
from tests.fakes.summaries import tokens_of
from tests.fakes.summary_server import MODEL, Asked, SummaryServer, summary_server

_CUT_LEVEL = -1
_CHUNK_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Ran:
    """``half_way``: the error of the estimate, as a share of what was left then."""

    summary: Summary
    kept: tuple[FinishedPart, ...]
    half_way: float | None


# --- our side ------------------------------------------------------------------------------------


def engine_on(served: Served, generator: Generator, most_text: int) -> Summarizer:
    def text(kind: str, language: AnswerLanguage) -> str:
        return (CONFIG / "prompts" / f"summary_{kind}.{language}.md").read_text(encoding="utf-8")

    prompts = {(kind, language): text(kind, language) for kind in KINDS for language in LANGUAGES}
    return Summarizer(
        chat=replace(served.model, generator=generator),
        prompts=SummaryPrompts(prompts),
        judges=Judges(_anything, lambda summary, document: ()),
        structuring=ThreadStructuring(
            {language: text("structured", language) for language in LANGUAGES},
            lambda text: frozenset(),
            dependency="vllm",
        ),
        parallel=lambda: served.gate.capacity,
        most_text=most_text,
    )


def _anything(text: str, **_: object) -> None:
    """Passes."""


def chunks_of(text: str) -> list[StoredChunk]:
    parsed = ParsedDocument(text, format="txt")
    chunks = chunk_document(parsed, tokens_of, size=_CHUNK_TOKENS, overlap=32)
    return [StoredChunk("d", "d.txt", DocType.UNSTRUCTURED, chunk) for chunk in chunks]


async def run(engine: Summarizer, text: str, finished: Sequence[FinishedPart] = ()) -> Ran:
    kept: list[FinishedPart] = []
    told: list[tuple[float, float]] = []

    async def keep(part: FinishedPart) -> None:
        kept.append(part)

    key = SummaryKey("d", "s", "sha", engine.model, "v", "en", "", 256, structured=False)
    task = SummaryTask(key, "d.txt", chunks_of(text), lambda: False, finished, keep)
    began = time.perf_counter()
    summary: Summary | None = None
    async with aclosing(engine.run(task)) as events:
        async for event in events:
            if isinstance(event, SummaryProgress) and event.eta is not None:
                told.append((time.perf_counter() - began, event.eta.seconds))
            if isinstance(event, Summary):
                summary = event
    assert summary is not None
    return Ran(summary, tuple(kept), _error_half_way(told, time.perf_counter() - began))


def _error_half_way(told: Sequence[tuple[float, float]], total: float) -> float | None:
    before = [one for one in told if one[0] <= total / 2]
    if not before:
        return None
    at, seconds = before[-1]
    return abs(seconds - (total - at)) / (total - at)


# --- the bare server -----------------------------------------------------------------------------


async def bare_seconds(
    url: str, model: str, calls: Sequence[tuple[Sequence[Message], Sampling]], at_once: int
) -> float:
    """How long the server alone takes for the same requests."""
    slots = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=600, limits=limits) as client:

        async def one(messages: Sequence[Message], sampling: Sampling) -> None:
            body = chat_request(
                model, messages, sampling, dialect="vllm", switch="enable_thinking", extra={}
            )
            async with slots:
                response = await client.post(f"{url}/v1/chat/completions", json=body)
            response.raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(one(*call) for call in calls))
        return time.perf_counter() - began


# --- measuring -----------------------------------------------------------------------------------


async def speed_up(served: Served, url: str, model: str, text: str, arguments: Arguments) -> float:
    recording = Recording(served.model.generator)
    engine = engine_on(served, recording, arguments.part_tokens)
    await run(engine, text)  # connections and caches
    recording.calls.clear()
    served.gate.set_capacity(arguments.sequences)
    many = await run(engine, text)
    calls = recording.calls[: many.summary.parts]
    cut = [part for part in many.kept if part.level == _CUT_LEVEL]
    served.gate.set_capacity(1)
    alone = await run(engine, text, cut)
    served.gate.set_capacity(arguments.sequences)
    bare = [await bare_seconds(url, model, calls, n) for n in (1, arguments.sequences)]
    ours = alone.summary.timings["map"] / many.summary.timings["map"]
    theirs = bare[0] / bare[1]
    print(f"{many.summary.parts} parts, {arguments.sequences} at once")
    print(
        f"  map step    one at a time {alone.summary.timings['map']:7.2f} s   "
        f"together {many.summary.timings['map']:7.2f} s   speed-up {ours:5.2f}"
    )
    print(
        f"  bare server one at a time {bare[0]:7.2f} s   together {bare[1]:7.2f} s   "
        f"speed-up {theirs:5.2f}"
    )
    print(f"  ratio {ours / theirs:.2f} (target 0.90 or more)")
    return ours / theirs


async def estimates(served: Served, arguments: Arguments) -> float:
    """The median error half way, over documents whose chapters differ in length and language."""
    served.gate.set_capacity(arguments.sequences)
    engine = engine_on(served, served.model.generator, arguments.part_tokens)
    errors = []
    for seed in range(arguments.documents):
        ran = await run(engine, uneven(arguments.tokens, seed))
        if ran.half_way is not None:
            errors.append(ran.half_way)
    median = statistics.median(errors)
    shown = ", ".join(f"{100 * error:.0f}" for error in errors)
    print(f"estimate half way: off by {shown} %; median {100 * median:.0f} % (target 20 or less)")
    return median


def uneven(tokens: int, seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - test data
    chapters = []
    left = tokens
    while left > 0:
        size = min(left, chance.randrange(200, 4000))
        language: AnswerLanguage = "ru" if chance.random() < 0.5 else "en"
        chapters.append(prose(language, size, seed=chance.randrange(10**6)))
        left -= size
    return "\n\n".join(chapters)


@dataclass(frozen=True, slots=True)
class Arguments:
    sequences: int
    tokens: int
    part_tokens: int
    documents: int


async def measure(url: str, model: str, arguments: Arguments, folder: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        llm_mode="vllm",
        llm_model=model,
        llm_vllm_url=url,
        llm_canary="off",
        llm_max_concurrency=arguments.sequences,
    )
    async with AsyncExitStack() as stack:
        chat = await open_chat(settings, Metrics(), stack)
        assert chat.main is not None
        text = uneven(arguments.tokens, seed=99)
        await speed_up(chat.main, url.rstrip("/").removesuffix("/v1"), model, text, arguments)
        await estimates(chat.main, arguments)


@contextmanager
def latency_server(sequences: int) -> Iterator[str]:
    """As a GPU behaves: reading is fast, writing slow, and a fuller batch a little slower."""
    server = SummaryServer(window=8192, sequences=sequences)

    def seconds(asked: Asked) -> float:
        read = sum(tokens_of(message.content) for message in asked.messages) / 50_000
        words = tokens_of(server.answer(asked)) * (1 + 0.04 * server.busy)
        return read + words / 2500

    server.seconds = seconds
    with summary_server(server):
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", help="URL of a real server")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=12_000, help="of a document")
    parser.add_argument("--part-tokens", type=int, default=600)
    parser.add_argument("--documents", type=int, default=5)
    given = parser.parse_args()
    arguments = Arguments(given.sequences, given.tokens, given.part_tokens, given.documents)
    with tempfile.TemporaryDirectory() as folder:
        if given.vllm:
            asyncio.run(measure(given.vllm, given.model, arguments, Path(folder)))
            return
        with latency_server(arguments.sequences) as url:
            asyncio.run(measure(url, MODEL, arguments, Path(folder)))


if __name__ == "__main__":
    main()

"""A client that leaves frees the real llama.cpp server, streaming or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import httpx
import pytest

from tests.fakes.llama_server import API_KEY, RunningLlama, running_llama
from tests.process.backend_process import RunningBackend, running_backend, until

pytestmark = pytest.mark.loopback

QUESTION = {"q": "Когда сдаются работы?", "space_id": "s"}


@dataclass(frozen=True, slots=True)
class Both:
    backend: RunningBackend
    llama: RunningLlama

    def busy(self) -> bool:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        slots = httpx.get(f"{self.llama.url}/slots", headers=headers).json()
        return any(slot["is_processing"] for slot in slots)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The tiny model babbles on for minutes if nobody stops it."""
    folder = tmp_path_factory.mktemp("disconnect")
    with (
        running_llama(folder, window=4096, layers=64, never_ends=True) as llama,
        running_backend(
            folder / "data",
            LLM_MODE="llamacpp",
            LLM_LLAMACPP_URL=llama.url,
            LLM_API_KEY=API_KEY,
            LLM_MAX_TOKENS="3000",
            CACHE_SIZE="0",
        ) as backend,
    ):
        text = "Работы сдаются 15 января 2027 года."
        backend.client.post(
            "/ingest", files={"file": ("plan.txt", text.encode())}, data={"space_id": "s"}
        )
        yield Both(backend, llama)


def test_leaving_a_stream_frees_the_slot(both: Both) -> None:
    with both.backend.client.stream("POST", "/ask", json=QUESTION | {"stream": True}) as response:
        lines = response.iter_lines()
        while not next(lines).startswith("event: delta"):
            pass
        assert both.busy()

    until(lambda: not both.busy(), seconds=5)


def test_leaving_a_whole_answer_frees_the_slot(both: Both) -> None:
    seen_busy = False

    def watch() -> None:
        nonlocal seen_busy
        until(both.busy, seconds=20)
        seen_busy = True

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    with pytest.raises(httpx.ReadTimeout):
        both.backend.client.post("/ask", json=QUESTION, timeout=5)
    watcher.join(20)

    assert seen_busy
    until(lambda: not both.busy(), seconds=5)

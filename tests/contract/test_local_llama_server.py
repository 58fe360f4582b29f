"""The llama.cpp child lives as long as its parent wants it, and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest

from backend.adapters._http import Endpoint
from backend.adapters.generators.openai_compatible import OpenAICompatibleGenerator
from backend.adapters.local.llamacpp_server import LocalLlamaServer
from backend.core.errors import DependencyError, NotReady
from backend.core.types import Message, Sampling
from tests.fakes.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.loopback


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def server_for(model: Path, **options: object) -> LocalLlamaServer:
    defaults: dict[str, object] = {
        "model_name": "tiny",
        "threads": 1,
        "context_window": 512,
        "log_path": model.parent / "logs" / "llamacpp.log",
        "restart_delays_s": (0.01, 0.01),
    }
    return LocalLlamaServer(model, **defaults | options)  # type: ignore[arg-type]


@pytest.fixture
async def server(model: Path) -> AsyncIterator[LocalLlamaServer]:
    server = server_for(model)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(pid: int | None) -> int:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_it_is_not_ready_at_first_and_then_answers(
    server: LocalLlamaServer, client: httpx.AsyncClient
) -> None:
    endpoint = Endpoint(client, server.name, lambda: server.url, server.api_key)
    generator = OpenAICompatibleGenerator(endpoint, model="tiny")

    with pytest.raises(NotReady):
        await generator.check()
    await server.wait_ready()

    assert await generator.check() == "llamacpp serves tiny, context window 512."
    completion = await generator.complete([Message("user", "hi")], Sampling(max_tokens=2))
    assert completion.usage.completion_tokens > 0


async def test_others_on_the_machine_cannot_use_it(
    server: LocalLlamaServer, client: httpx.AsyncClient
) -> None:
    url = await server.wait_ready()

    answer = await client.post(f"{url}/v1/chat/completions", json={"messages": []})
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert server.pid is not None
    assert server.api_key not in " ".join(psutil.Process(server.pid).cmdline())
    assert httpx.URL(url).host == "127.0.0.1"


async def test_stopping_leaves_no_process(server: LocalLlamaServer) -> None:
    await server.wait_ready()
    pid = server.pid
    assert pid is not None

    await server.stop()
    await server.stop()

    assert is_gone(pid)
    with pytest.raises(NotReady):
        _ = server.url


async def test_stopping_while_it_loads_leaves_no_process(model: Path) -> None:
    server = server_for(model)
    await server.start()
    pid = server.pid
    assert pid is not None

    await server.stop()

    assert is_gone(pid)


async def test_a_killed_child_is_started_again(
    server: LocalLlamaServer, client: httpx.AsyncClient
) -> None:
    endpoint = Endpoint(client, server.name, lambda: server.url, server.api_key)
    generator = OpenAICompatibleGenerator(endpoint, model="tiny")
    await server.wait_ready()

    killed = kill(server.pid)
    await until(lambda: server.pid != killed)
    await server.wait_ready()

    completion = await generator.complete([Message("user", "hi")], Sampling(max_tokens=2))
    assert completion.usage.completion_tokens > 0


async def killed_whenever_it_comes_up(server: LocalLlamaServer) -> None:
    while True:
        await server.wait_ready()
        with contextlib.suppress(ProcessLookupError):
            kill(server.pid)
        await asyncio.sleep(0.01)


async def test_a_child_that_cannot_be_kept_alive_is_given_up_with_the_place_of_its_log(
    server: LocalLlamaServer,
) -> None:
    with pytest.raises(DependencyError, match=r"stopped 3 times.*exit code -9.*llamacpp\.log"):
        await killed_whenever_it_comes_up(server)


@pytest.mark.parametrize("content", [None, b"", b"GGUF and nothing more"])
async def test_a_file_that_is_no_model_is_given_up_at_once(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    server = server_for(path, restart_delays_s=(60.0,))
    await server.start()

    with pytest.raises(DependencyError, match=r"could not load tiny.*llamacpp\.log"):
        await server.wait_ready()
    await server.stop()


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from backend.adapters.local.llamacpp_server import LocalLlamaServer

    async def main():
        model = Path(sys.argv[1])
        server = LocalLlamaServer(
            model, model_name="tiny", threads=1, context_window=512, log_path=model.parent / "log"
        )
        await server.start()
        await server.wait_ready()
        print(server.pid, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_child_dies_with_its_parent(model: Path, death: signal.Signals) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(model)]
    with subprocess.Popen(  # noqa: ASYNC220 - short-lived, and the test waits for it anyway
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(death)

    await until(lambda: is_gone(child))

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from backend.core.local_models import load_catalogue
from cli import demo_model, models
from cli.backend_process import BackendError, BackendProcess, backend_process, free_port
from cli.client import Address, Client
from cli.demo import Demo, run

LOCKED = """Traceback (most recent call last):
  File "app.py", line 1, in <module>
backend.core.errors.StoreLocked: The data folder data is in use by another process (pid 7).
12:00:00.000 ERROR   Application startup failed. Exiting.
"""


def child(
    tmp_path: Path, program: str, stop_grace_s: float = 20.0
) -> AbstractAsyncContextManager[BackendProcess]:
    return backend_process(
        dict(os.environ),
        tmp_path / "logs" / "backend.log",
        command=(sys.executable, "-c", program),
        stop_grace_s=stop_grace_s,
    )


def client(*answers: httpx.Response) -> Client:
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if not waiting:
            raise httpx.ConnectError("refused", request=request)
        return waiting.pop(0)

    return Client(Address("http://127.0.0.1:1"), httpx.MockTransport(answer))


def health(status: str, detail: str = "") -> httpx.Response:
    part = {"state": status, "detail": detail}
    body = {"status": status, "version": "1", "components": {"generator": part}}
    return httpx.Response(200 if status == "ok" else 503, json=body)


async def test_the_child_ends_by_itself_when_its_input_ends(tmp_path: Path) -> None:
    program = "import sys; sys.stdin.read(); print('stopped in order')"

    async with child(tmp_path, program) as backend:
        pass

    assert backend.process.returncode == 0
    assert backend.log_path.read_text(encoding="utf-8") == "stopped in order\n"


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async with child(tmp_path, "import time; time.sleep(60)", stop_grace_s=0.05) as backend:
        pass

    assert backend.process.returncode == -9


async def test_the_child_is_stopped_when_a_step_fails(tmp_path: Path) -> None:
    started: list[BackendProcess] = []

    async def fail() -> None:
        async with child(tmp_path, "import sys; sys.stdin.read()") as backend:
            started.append(backend)
            raise ValueError("a step")

    with pytest.raises(ValueError, match="a step"):
        await fail()

    assert started[0].process.returncode == 0


async def test_what_is_loading_is_told_until_all_is_ready(tmp_path: Path) -> None:
    told: list[str] = []

    async with (
        child(tmp_path, "import sys; sys.stdin.read()") as backend,
        client(health("starting", "loading the model"), health("ok")) as api,
    ):
        found = await backend.wait_ready(api, told.append)

    assert told == ["generator: loading the model"]
    assert found.status == "ok"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOCKED, "The data folder data is in use by another process (pid 7)."),
        ("Configuration error:\nPORT='x': not a number\n", "PORT='x': not a number"),
        ("[Errno 98] error: address already in use\nbye\n", "port was taken"),
    ],
)
async def test_a_child_that_ends_is_explained_by_its_log(
    tmp_path: Path, log: str, said: str
) -> None:
    program = f"import sys; print({log!r}); sys.exit(3)"

    async with child(tmp_path, program) as backend, client() as api:
        with pytest.raises(BackendError) as caught:
            await backend.wait_ready(api, lambda why: None)

    assert said in str(caught.value)


async def test_the_log_of_an_earlier_run_explains_nothing(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "backend.log"
    log.parent.mkdir()
    log.write_text(LOCKED, encoding="utf-8")

    async with child(tmp_path, "print('boom')") as backend, client() as api:
        with pytest.raises(BackendError, match="boom"):
            await backend.wait_ready(api, lambda why: None)


def test_a_port_in_use_is_one_line_and_nothing_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        exit_code = run(["--port", str(port), "--data-dir", str(tmp_path / "d")], {})

    said = capsys.readouterr().err
    assert exit_code == 1
    assert said.startswith(f"Port {port} cannot be used")
    assert said.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_port_zero_is_any_free_port() -> None:
    assert free_port(0) > 0


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_wrong_port_is_wrong_usage(port: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["--port", port], {})

    assert caught.value.code == 2


def test_the_demo_asks_with_the_key_its_backend_wants(tmp_path: Path) -> None:
    demo = Demo({"API_KEY": "one,two"}, tmp_path, 8123, once=True)

    assert demo.address == Address("http://127.0.0.1:8123", "one")


# --- the chat model ------------------------------------------------------------------------------


@pytest.fixture
def pulled(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    calls: list[Sequence[str]] = []

    def note(arguments: Sequence[str], environment: object) -> int:
        calls.append(arguments)
        return 0

    monkeypatch.setattr(models, "run", note)
    return calls


@pytest.mark.parametrize(
    "settings",
    [
        {"LLM_MODE": "none"},
        {"LLM_MODE": "vllm", "LLM_MODEL": "big"},
        {"LLM_LLAMACPP_URL": "http://llama:8080"},
        {"LLM_MODEL": "/models/own.gguf"},
    ],
)
def test_no_model_is_fetched_for_a_backend_that_runs_none(
    settings: dict[str, str], tmp_path: Path, pulled: list[Sequence[str]]
) -> None:
    demo_model.fetch_model({"MODELS_DIR": str(tmp_path), **settings})

    assert pulled == []


def test_the_default_model_is_fetched_when_it_is_not_here(
    tmp_path: Path, pulled: list[Sequence[str]]
) -> None:
    demo_model.fetch_model({"MODELS_DIR": str(tmp_path)})

    default = load_catalogue(models.CATALOGUE).default
    assert pulled == [["pull", default]]


def test_without_a_model_the_demo_goes_on_and_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "run", lambda arguments, environment: 1)

    demo_model.fetch_model({"MODELS_DIR": str(tmp_path)})

    assert "answers are extractive" in capsys.readouterr().err


def test_an_interrupted_download_ends_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "run", lambda arguments, environment: models.INTERRUPTED)

    exit_code = run(
        ["--port", "0", "--data-dir", str(tmp_path / "d")], {"MODELS_DIR": str(tmp_path)}
    )

    assert exit_code == 130
    assert capsys.readouterr().err.endswith("Stopped.\n")

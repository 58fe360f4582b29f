"""The whole product on one machine: ``python -m cli.demo``, which is ``make demo``.

Exit code: 0 all went well, 1 a step failed, 2 wrong usage, 130 stopped before it was done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dotenv import dotenv_values
from rich.rule import Rule

from cli.answer_view import AnswerView
from cli.ask import ask_and_show
from cli.backend_process import HOST, ROOT, BackendError, BackendProcess, backend_process, free_port
from cli.client import Address, Client, Question
from cli.demo_model import fetch_model
from cli.failures import ClientError, Patience
from cli.index_cli import index_with_bar
from cli.index_view import show
from cli.indexing import IndexRequest, IndexRun
from cli.schemas import Health
from cli.terminal import INTERRUPTED, console, never_fail_on_encoding, run_interruptibly, tell

SAMPLES = ROOT / "docs" / "samples"
SPACE = "demo"
# A laptop core reads some forty tokens a second: more sources would take minutes.
CONTEXT_TOKENS = "900"
QUESTIONS = (
    "Какие дедлайны по проекту?",
    "How many sensors failed the calibration check, and when do the replacements arrive?",
)


@dataclass(frozen=True, slots=True)
class Demo:
    environment: Mapping[str, str]  # of the backend
    data_dir: Path
    port: int
    once: bool

    @property
    def address(self) -> Address:
        return Address.of(f"http://{HOST}:{self.port}", self.environment)

    @property
    def log_path(self) -> Path:
        return self.data_dir / "logs" / "backend.log"


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cli.demo",
        description="Index the sample documents, answer two questions about them, keep serving.",
    )
    parser.add_argument("--once", action="store_true", help="stop after the answers")
    parser.add_argument(
        "--port", type=int, default=environment.get("PORT") or "8000", help="default 8000; 0: any"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=environment.get("DATA_DIR") or str(ROOT / "data" / "demo"),
        help="where the index is kept (default data/demo)",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error("--port must be 0 to 65535")
    return options


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """``environment`` is what the backend will run with, apart from what the demo decides."""
    options = parse(arguments, environment)
    try:
        port = free_port(options.port)
        fetch_model(environment)
        data_dir = options.data_dir.resolve()
        decided = {"HOST": HOST, "PORT": str(port), "DATA_DIR": str(data_dir)}
        usual = {"ASK_CONTEXT_TOKENS": CONTEXT_TOKENS}
        demo = Demo({**usual, **environment, **decided}, data_dir, port, options.once)
        return run_interruptibly(_run(demo))
    except (BackendError, ClientError) as error:
        tell(str(error))
        return 1
    except OSError as error:
        tell(f"{error.filename or options.data_dir}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        tell("Stopped.")
        return INTERRUPTED


async def _run(demo: Demo) -> int:
    async with backend_process(demo.environment, demo.log_path) as backend:
        async with Client(demo.address) as client:
            _show_start(await _wait_ready(backend, client), demo)
            indexed = await _index(demo)
            for question in QUESTIONS:
                await _ask(client, question)
        exit_code = 0 if indexed else 1
        if demo.once:
            return exit_code
        _show_where_next(demo)
        return await _serve(backend, exit_code)


async def _wait_ready(backend: BackendProcess, client: Client) -> Health:
    with console.status("Starting the backend") as status:
        return await backend.wait_ready(client, lambda why: status.update(why[: console.width]))


def _show_start(health: Health, demo: Demo) -> None:
    for name, part in health.components.items():
        console.print(f"{name}: {part.detail}", markup=False, soft_wrap=True)
    console.print(f"log: {demo.log_path}", markup=False, soft_wrap=True)


async def _index(demo: Demo) -> bool:
    """Whether all samples are in the space."""
    console.print(Rule(f"Indexing {SAMPLES.relative_to(ROOT)} into the space {SPACE!r}"))
    index_run, started = IndexRun(), time.perf_counter()
    await index_with_bar(demo.address, IndexRequest(SAMPLES, SPACE), index_run, console)
    show(index_run, time.perf_counter() - started, console)
    if index_run.stopped is not None:
        raise index_run.stopped
    return not index_run.failed


async def _ask(client: Client, text: str) -> None:
    console.print(Rule("Question"))
    console.print(text, style="bold", soft_wrap=True)
    patience = Patience(told=lambda seconds, why: tell(f"Waiting {seconds:g} s: {why}"))
    await ask_and_show(client, Question(text, SPACE), AnswerView(console), patience)


def _show_where_next(demo: Demo) -> None:
    url, python = demo.address.url, os.path.relpath(sys.executable)
    key = ' -H "Authorization: Bearer $API_KEY"' if demo.address.api_key else ""
    curl = f"curl -s{key}"
    lines = (
        f"API docs  {url}/docs",
        "",
        f"{curl} {url}/ask -H 'Content-Type: application/json' \\",
        f'  -d \'{{"q": "What was decided in November?", "space_id": "{SPACE}"}}\'',
        f"{curl} -G {url}/search -d space_id={SPACE} --data-urlencode 'q=срок поставки'",
        f"{curl} {url}/ingest -F space_id={SPACE} -F file=@README.md",
        f'{python} -m cli.ask "Кто отвечает за интеграцию?" --space {SPACE} --url {url}',
        "",
        "Serving until Ctrl+C.",
    )
    console.print(Rule("Go on"))
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


async def _serve(backend: BackendProcess, exit_code: int) -> int:
    """Until we are told to stop, which is how a demo ends well."""
    try:
        await backend.process.wait()
    except asyncio.CancelledError:
        console.print("Stopping.")
        return exit_code
    raise BackendError(await backend.last_words())


def _environment() -> dict[str, str]:
    """Variables as the backend sees them: its .env, under those that are set."""
    from_file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}
    return {**from_file, **os.environ}


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    never_fail_on_encoding()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.exit(run(sys.argv[1:], _environment()))

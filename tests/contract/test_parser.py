"""The port ``Parser`` on worker processes: nothing a file does reaches the service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from backend.adapters.parsers import ParserLimits, ProcessParser
from backend.core.errors import (
    DependencyError,
    TooLarge,
    UnreadableDocument,
    UnsupportedDocument,
)
from backend.core.types import ParsedDocument
from tests.unit import parser_files as make

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def parser() -> AsyncIterator[ProcessParser]:
    made = ProcessParser(ParserLimits(timeout_s=30), max_workers=1)
    yield made
    await made.close()
    assert workers() == []


def workers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if "backend.adapters.parsers.worker" in child.cmdline()
    ]


async def hung(parser: ProcessParser, folder: Path) -> asyncio.Task[ParsedDocument]:
    """A call whose worker waits for ever: it reads a pipe that nobody fills."""
    pipe = folder / "pipe.md"
    os.mkfifo(pipe)
    task = asyncio.create_task(parser.parse(pipe, "pipe.md"))
    while True:
        try:
            os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # succeeds once the worker has it open
            return task
        except OSError:
            await asyncio.sleep(0.02)


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return make.write(tmp_path / "note.md", "# Дело\n\nтекст\x07")


async def test_a_document_crosses_the_border_whole(parser: ProcessParser, note: Path) -> None:
    document = await parser.parse(note, "note.md")

    assert document.text == "# Дело\n\nтекст"
    assert document.format == "md"
    assert [(h.level, h.title, h.start, h.end) for h in document.headings] == [(1, "Дело", 0, 6)]
    assert document.title == "Дело"
    assert document.warnings == ("1 control characters were removed.",)


async def test_pages_cross_the_border(parser: ProcessParser, tmp_path: Path) -> None:
    document = await parser.parse(make.pdf(tmp_path / "a.pdf", [["One."], ["Two."]]), "a.pdf")

    assert document.page_starts == (0, 6)
    assert document.pages == 2


async def test_errors_keep_their_type_and_data(tmp_path: Path) -> None:
    parser = ProcessParser(ParserLimits(max_text_chars=10), max_workers=1)
    empty = make.write(tmp_path / "empty.txt", "")
    image = make.write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n")
    long = make.write(tmp_path / "long.txt", "x" * 11)

    with pytest.raises(UnreadableDocument) as unreadable:
        await parser.parse(empty, "empty.txt")
    with pytest.raises(UnsupportedDocument, match="PNG"):
        await parser.parse(image, "a.png")
    with pytest.raises(TooLarge) as too_large:
        await parser.parse(long, "long.txt")

    assert unreadable.value.reason == "empty"
    assert too_large.value.details == {"setting": "INGEST_MAX_TEXT_CHARS", "limit": 10}
    await parser.close()


async def test_a_worker_serves_one_file_after_another(parser: ProcessParser, note: Path) -> None:
    await parser.parse(note, "note.md")
    first = workers()
    await parser.parse(note, "note.md")

    assert workers() == first


async def test_files_beyond_max_workers_wait(note: Path) -> None:
    parser = ProcessParser(max_workers=2)

    documents = await asyncio.gather(*(parser.parse(note, "note.md") for _ in range(6)))

    assert len(documents) == 6
    assert len(workers()) <= 2
    await parser.close()
    assert workers() == []


async def test_a_worker_that_is_killed_is_an_error_of_its_file_alone(
    parser: ProcessParser, note: Path
) -> None:
    task = await hung(parser, note.parent)
    workers()[0].kill()

    with pytest.raises(UnreadableDocument, match="SIGKILL") as caught:
        await task
    assert caught.value.reason == "corrupt"
    assert (await parser.parse(note, "note.md")).title == "Дело"


async def test_a_worker_that_died_before_is_not_held_against_a_file(
    parser: ProcessParser, note: Path
) -> None:
    await parser.parse(note, "note.md")
    workers()[0].kill()

    assert (await parser.parse(note, "note.md")).title == "Дело"


async def test_a_worker_that_hangs_is_killed_at_the_time_limit(note: Path) -> None:
    parser = ProcessParser(ParserLimits(timeout_s=1), max_workers=1)
    task = await hung(parser, note.parent)

    with pytest.raises(UnreadableDocument, match="INGEST_TIMEOUT") as caught:
        await task

    assert caught.value.reason == "timeout"
    assert workers() == []
    assert (await parser.parse(note, "note.md")).title == "Дело"
    await parser.close()


async def test_a_file_that_eats_memory_names_the_setting(tmp_path: Path, note: Path) -> None:
    limit = 160 * 1024**2
    parser = ProcessParser(ParserLimits(memory_bytes=limit, max_text_chars=10**9), max_workers=1)
    large = make.write(tmp_path / "large.txt", b"word " * 12_000_000)

    with pytest.raises(TooLarge) as caught:
        await parser.parse(large, "large.txt")

    assert caught.value.details == {"setting": "INGEST_MEMORY_BYTES", "limit": limit}
    assert (await parser.parse(note, "note.md")).title == "Дело"
    await parser.close()


async def test_cancelling_kills_the_worker(parser: ProcessParser, note: Path) -> None:
    task = await hung(parser, note.parent)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert workers() == []
    assert (await parser.parse(note, "note.md")).title == "Дело"


async def test_closing_ends_calls_that_wait_and_refuses_new_ones(
    parser: ProcessParser, note: Path
) -> None:
    task = await hung(parser, note.parent)

    await parser.close()

    with pytest.raises(DependencyError):
        await task
    with pytest.raises(DependencyError):
        await parser.parse(note, "note.md")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_no_worker_survives_a_service_that_is_killed(note: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from backend.adapters.parsers import ProcessParser\n"
        "async def main():\n"
        "    await ProcessParser().parse(pathlib.Path(sys.argv[1]), 'note.md')\n"
        "    print('parsed', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    service = subprocess.Popen(
        [sys.executable, "-c", script, str(note)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert service.stdout is not None
    assert service.stdout.readline() == b"parsed\n"
    (worker,) = psutil.Process(service.pid).children()
    worker.suspend()  # as busy as can be: it cannot notice by itself

    os.kill(service.pid, signal.SIGKILL)
    service.wait(10)
    service.stdout.close()

    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert worker in gone

"""Index a folder: ``python -m cli.index_cli --dir DIR --space SPACE``.

Exit code: 0 all files are in the space, 1 some failed, 2 wrong usage or no backend, 130 Ctrl+C.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from rich.console import Console

from backend.core.types import DocType
from cli.arguments import address_of, clean_space
from cli.client import Address, Client
from cli.failures import ClientError, Patience
from cli.index_view import as_json, progress_bar, show
from cli.indexing import IndexRequest, IndexRun, index_folder
from cli.terminal import (
    INTERRUPTED,
    console,
    errors,
    never_fail_on_encoding,
    run_interruptibly,
    tell,
)

_MAX_JOBS = 32


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cli.index_cli",
        description="Index a folder, sending only what has changed.",
    )
    parser.add_argument("--dir", type=Path, required=True, help="folder to index, with subfolders")
    parser.add_argument("--space", required=True, help="space to put the documents into")
    parser.add_argument(
        "--doc-type", type=DocType, choices=tuple(DocType), help="default: by folder, else guessed"
    )
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default 2)")
    parser.add_argument(
        "--prune", action="store_true", help="delete documents whose file is no longer there"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--url", help="address of the backend (QUADRATE_URL)")
    options = parser.parse_args(arguments)
    if not 1 <= options.jobs <= _MAX_JOBS:
        parser.error(f"--jobs must be 1 to {_MAX_JOBS}")
    if not options.dir.is_dir():
        parser.error(f"--dir {options.dir}: there is no such folder")
    options.space = clean_space(parser, options.space)
    return options


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
) -> int:
    options = parse(arguments)
    address = address_of(options.url, environment)
    if address is None:
        return 2
    request = IndexRequest(
        options.dir, options.space, options.doc_type, options.jobs, options.prune
    )
    index_run, started = IndexRun(), time.perf_counter()
    try:
        run_interruptibly(index_with_bar(address, request, index_run, errors, transport))
    except KeyboardInterrupt:
        index_run.interrupted = True
    except ClientError as error:
        index_run.stopped = error
    seconds, exit_code = time.perf_counter() - started, _exit_code(index_run)
    if options.json:
        print(as_json(index_run, request.space_id, seconds, exit_code))
    elif index_run.results or index_run.stopped is None:
        show(index_run, seconds, console)
    if index_run.stopped is not None:
        tell(str(index_run.stopped))
    return exit_code


async def index_with_bar(
    address: Address,
    request: IndexRequest,
    index_run: IndexRun,
    bar_console: Console,
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """
    Raises:
        ClientError: the space cannot be listed.
    """
    async with Client(address, transport) as client:
        with progress_bar(bar_console) as bar:
            await index_folder(client, request, index_run, bar, Patience(told=bar.waiting))


def _exit_code(index_run: IndexRun) -> int:
    if index_run.interrupted:
        return INTERRUPTED
    if index_run.stopped is not None:
        return 2
    return 1 if index_run.failed else 0


if __name__ == "__main__":
    never_fail_on_encoding()
    sys.exit(run(sys.argv[1:], os.environ))

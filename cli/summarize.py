"""Summarize a document: ``python -m cli.summarize DOC --space SPACE``, or all documents of a
space beforehand: ``python -m cli.summarize --space SPACE --all``.

Exit code: 0 there is a summary (with ``--all``: of each document), 1 the backend refused or
failed, 2 wrong usage, not one such document or no backend, 130 Ctrl+C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx
from rich.console import Console

from cli.arguments import address_of, clean_space
from cli.bulk_summaries import BulkRun, summarize_all
from cli.bulk_view import bulk_as_json, bulk_bar, left_to_the_backend, show_bulk
from cli.client import Address
from cli.failures import (
    ClientError,
    Patience,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from cli.find_document import NotOneDocument, find_document
from cli.schemas import Summary
from cli.summary_client import SummaryClient, SummaryWish
from cli.summary_follow import Following, Sleep
from cli.summary_view import show_summary, summary_bar
from cli.terminal import (
    INTERRUPTED,
    console,
    errors,
    never_fail_on_encoding,
    plain,
    run_interruptibly,
    tell,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``out`` gets the result, ``errors`` what happens on the way."""

    transport: httpx.AsyncBaseTransport | None = None
    out: Console = console
    errors: Console = errors
    sleep: Sleep = asyncio.sleep


_REAL = Surroundings()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cli.summarize", description="Summarize a document, however long it is."
    )
    parser.add_argument("doc", nargs="?", metavar="DOC", help="doc_id, source, or end of its path")
    parser.add_argument("--space", required=True, help="space of the document")
    parser.add_argument(
        "--all", action="store_true", help="make the summaries of all documents of the space"
    )
    parser.add_argument("--stream", action="store_true", help="show the summaries of parts too")
    parser.add_argument("--focus", default="", help="what the summary should be about")
    parser.add_argument("--language", choices=("ru", "en"), help="default: the document's own")
    parser.add_argument("--max-tokens", type=int, help="length of the summary at most")
    parser.add_argument(
        "--structured",
        action="store_true",
        help="also decisions, action items, topics, participants and open questions",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--url", help="address of the backend (QUADRATE_URL)")
    parser.add_argument("--api-key", help="better in the variable API_KEY: others see arguments")
    options = parser.parse_args(arguments)
    _check(parser, options)
    options.space = clean_space(parser, options.space)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.all == (options.doc is not None):
        parser.error("name one DOC, or give --all")
    if not options.all and not options.doc.strip():
        parser.error("DOC is empty")
    if options.max_tokens is not None and options.max_tokens < 1:
        parser.error("--max-tokens must be at least 1")
    own = (options.stream, options.focus, options.language, options.max_tokens, options.structured)
    if options.all and any(own):
        parser.error(
            "--all makes the usual summaries, without --stream, --focus, --language, "
            "--max-tokens and --structured"
        )


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    around: Surroundings = _REAL,
) -> int:
    options = parse(arguments)
    address = address_of(options.url, environment)
    if address is None:
        return 2
    if options.api_key:
        address = replace(address, api_key=options.api_key)
    return (run_all if options.all else run_one)(options, address, around)


# --- one document ------------------------------------------------------------------------------


def run_one(options: argparse.Namespace, address: Address, around: Surroundings) -> int:
    try:
        summary = run_interruptibly(summarize_with_bar(options, address, around))
    except ClientError as error:
        tell(str(error))
        return _exit_code_of(error)
    except KeyboardInterrupt:
        tell("Interrupted.")
        return INTERRUPTED
    if options.json:
        print(plain(summary.model_dump_json(indent=2, exclude_unset=True)))
    else:
        show_summary(summary, around.out, around.errors)
    return 0


async def summarize_with_bar(
    options: argparse.Namespace, address: Address, around: Surroundings
) -> Summary:
    """
    Raises:
        ClientError: there is no summary.
    """
    async with SummaryClient(address, around.transport) as client:
        with summary_bar(around.errors, partials=options.stream) as bar:
            patience = Patience(told=bar.waiting, sleep=around.sleep)
            document = await find_document(client, options.space, options.doc, patience)
            wish = SummaryWish(
                document.doc_id,
                options.space,
                options.focus.strip(),
                options.max_tokens,
                options.language,
                options.structured,
            )
            following = Following(client, wish, patience=patience, told=bar.told, note=bar.note)
            return await following.summary()


# --- all of a space ----------------------------------------------------------------------------


def run_all(options: argparse.Namespace, address: Address, around: Surroundings) -> int:
    bulk, started = BulkRun(options.space), time.perf_counter()
    try:
        run_interruptibly(summarize_all_with_bar(bulk, address, around))
    except KeyboardInterrupt:
        bulk.interrupted = True
    except ClientError as error:
        bulk.stopped = error
    seconds, exit_code = time.perf_counter() - started, _exit_code(bulk)
    if options.json:
        print(bulk_as_json(bulk, seconds, exit_code))
    else:
        show_bulk(bulk, seconds, around.out)
    if bulk.stopped is not None:
        tell(str(bulk.stopped))
    if bulk.interrupted:
        tell("Interrupted.")
    if (bulk.interrupted or (bulk.stopped and bulk.accepted)) and (
        left := left_to_the_backend(bulk)
    ):
        tell(left)
    return exit_code


async def summarize_all_with_bar(bulk: BulkRun, address: Address, around: Surroundings) -> None:
    """
    Raises:
        ClientError: the backend did not take the work, or does not answer any more.
    """
    async with SummaryClient(address, around.transport) as client:
        with bulk_bar(around.errors) as bar:
            patience = Patience(told=bar.waiting, sleep=around.sleep)
            await summarize_all(client, bulk, bar, patience)


def _exit_code(bulk: BulkRun) -> int:
    if bulk.interrupted:
        return INTERRUPTED
    if bulk.stopped is not None:
        return _exit_code_of(bulk.stopped)
    return 1 if bulk.failed or bulk.not_indexed else 0


def _exit_code_of(error: ClientError) -> int:
    no_backend = Unreachable | TimedOut | UnexpectedAnswer
    return 2 if isinstance(error, no_backend | NotOneDocument) else 1


if __name__ == "__main__":
    never_fail_on_encoding()
    sys.exit(run(sys.argv[1:], os.environ))

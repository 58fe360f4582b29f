"""Ask a question: ``python -m cli.ask "…" --space SPACE``.

Exit code: 0 answered, 1 the backend refused or failed, 2 wrong usage or no backend,
3 the documents do not hold the answer, 130 Ctrl+C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import httpx

from backend.core.types import DocType
from cli.answer_view import AnswerView
from cli.arguments import address_of, clean_space
from cli.client import Client, Question
from cli.failures import ClientError, Patience, TimedOut, UnexpectedAnswer, Unreachable
from cli.schemas import Answer, Delta, Source
from cli.terminal import INTERRUPTED, console, never_fail_on_encoding, run_interruptibly, tell

NOT_ANSWERED = 3


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cli.ask", description="Ask a question about the documents of a space."
    )
    parser.add_argument("question")
    parser.add_argument("--space", required=True, help="space to look in")
    parser.add_argument("--top-k", type=int, help="chunks to answer from")
    parser.add_argument(
        "--doc-type",
        type=DocType,
        choices=tuple(DocType),
        action="append",
        default=[],
        help="only these; may be repeated",
    )
    parser.add_argument("--no-stream", action="store_true", help="show the answer when it is whole")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--url", help="address of the backend (QUADRATE_URL)")
    options = parser.parse_args(arguments)
    if not options.question.strip():
        parser.error("the question is empty")
    if options.top_k is not None and options.top_k < 1:
        parser.error("--top-k must be at least 1")
    options.space = clean_space(parser, options.space)
    return options


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
) -> int:
    options = parse(arguments)
    question = Question(options.question, options.space, options.top_k, tuple(options.doc_type))
    view = AnswerView(console)

    address = address_of(options.url, environment)
    if address is None:
        return 2

    async def ask() -> Answer:
        patience = Patience(told=lambda seconds, why: tell(f"Waiting {seconds:g} s: {why}"))
        async with Client(address, transport) as client:
            if options.json or options.no_stream:
                return await patience.with_(lambda: client.ask(question))
            return await ask_and_show(client, question, view, patience)

    try:
        answer = run_interruptibly(ask())
    except ClientError as error:
        tell(str(error))
        return 2 if isinstance(error, Unreachable | TimedOut | UnexpectedAnswer) else 1
    except KeyboardInterrupt:
        tell("Interrupted.")
        return INTERRUPTED
    if options.json:
        print(answer.model_dump_json(indent=2))
    elif options.no_stream:
        view.complete(answer)
    return 0 if answer.answered else NOT_ANSWERED


async def ask_and_show(
    client: Client, question: Question, view: AnswerView, patience: Patience
) -> Answer:
    """Show the answer while it is written.

    Raises:
        ClientError: there is no whole answer.
    """

    async def once() -> Answer:
        found: tuple[Source, ...] = ()
        async with aclosing(client.ask_stream(question)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    view.complete(event, found)
                    return event
                if isinstance(event, Delta):
                    view.delta(event.text)
                else:
                    found = event.sources
                    view.found(found)
        raise RuntimeError("a stream ended without its answer")

    try:
        # A backend too busy says so before the first event, so nothing is shown twice.
        return await patience.with_(once)
    finally:
        view.end()


if __name__ == "__main__":
    never_fail_on_encoding()
    sys.exit(run(sys.argv[1:], os.environ))

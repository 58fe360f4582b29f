"""What all commands share at the terminal: where lines go, how Ctrl+C ends them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from rich.console import Console

INTERRUPTED = 130  # what a shell reports after Ctrl+C

# What a model writes is printed as it is: ":smile:" is no picture.
console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)

T = TypeVar("T")

# A document or a file name must not be able to move the cursor or set the clipboard.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text from a document, a model or a file name, safe to print as it is."""
    printable = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", printable.replace("\r\n", "\n"))


def tell(line: str) -> None:
    """One line on standard error."""
    errors.print(plain(line), markup=False, soft_wrap=True)


def never_fail_on_encoding() -> None:
    """A terminal that lacks a letter shows a question mark instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run_interruptibly(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``; Ctrl+C and SIGTERM cancel it, so it cleans up behind itself.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """

    async def cancelled_by_signals() -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no such handlers; there asyncio.run itself watches for Ctrl+C.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None

"""The process in which files are parsed: ``python -m backend.adapters.parsers.worker PARENT``.

Reads requests from standard input and writes outcomes to what was its standard output, one
at a time. It ends when its input ends, when it has been idle for a minute, when its
parent dies, and after a file that made it run out of memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from typing import BinaryIO

from backend.adapters.parsers.dispatch import out_of_memory, parse_file
from backend.adapters.parsers.limits import MEMORY_BYTES, ParserLimits
from backend.adapters.parsers.protocol import READY, decode_request, encode_outcome
from backend.core.errors import InvalidRequest, TooLarge
from backend.core.types import ParsedDocument

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_IDLE_S = 60.0
_PR_SET_PDEATHSIG = 1
_CPU_MARGIN_S = 5


def main(parent: int) -> None:
    _die_with(parent)
    replies = _private_output()
    # The pipe would otherwise be read ahead, where select does not see it.
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    _forbid_writing()
    # openpyxl imports numpy if it can: 100 MB of address space for a type check.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    replies.write(READY)
    replies.flush()
    while line := _next_request(requests):
        path, name, limits = decode_request(line)
        _limit_costs(limits)
        outcome: ParsedDocument | InvalidRequest
        try:
            outcome = parse_file(path, name, limits)
            reply = encode_outcome(outcome)
        except InvalidRequest as error:
            outcome, reply = error, encode_outcome(error)
        except MemoryError:
            outcome = out_of_memory(limits)
            reply = encode_outcome(outcome)
        replies.write(reply)
        replies.flush()
        if isinstance(outcome, TooLarge) and outcome.setting == MEMORY_BYTES:
            return


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, be it by SIGKILL.

    Elsewhere than on Linux the end of the input pipe ends an idle worker, and the limit on
    processor time a busy one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the service, which ends us
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(0)


def _private_output() -> BinaryIO:
    """Keep standard output for replies alone: C libraries print to it when they please."""
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    return replies


def _forbid_writing() -> None:
    """A parser has nothing to write: no file, no memory dump."""
    sys.dont_write_bytecode = True
    if resource:
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(limit, (0, 0))


def _limit_costs(limits: ParserLimits) -> None:
    if not resource:
        return
    # Not every system lets a process limit its address space.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, resource.RLIM_INFINITY))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(usage.ru_utime + usage.ru_stime)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = spent_s + int(limits.timeout_s) + _CPU_MARGIN_S
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _next_request(requests: BinaryIO) -> bytes:
    """A line, or nothing at the end of the input or of patience."""
    if sys.platform != "win32" and not select.select([requests], [], [], _IDLE_S)[0]:
        return b""
    return requests.readline()


if __name__ == "__main__":
    main(int(sys.argv[1]))

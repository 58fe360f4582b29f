"""The process that holds a local chat model: ``python -m backend.adapters.local.llamacpp_child``.

One JSON line on stdin says what to serve; afterwards stdin only has to stay open: its end
means that the parent is gone. One JSON line on stdout says ``{"url": …}`` or ``{"error": …}``.
Everything else, llama.cpp's own prints included, goes to stderr, which is the log.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

_BATCH_TOKENS = 64  # 512 reads prompts 8 % faster, but is deaf for 12 s at a time
_HTTP_THREADS = 64


@dataclass(frozen=True, slots=True)
class ChildConfig:
    """``context_window`` is what one request may use; ``parallel`` requests have it each."""

    model_path: str
    model_name: str
    api_key: str
    threads: int
    context_window: int
    parallel: int = 1

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> ChildConfig:
        return cls(**json.loads(line))


def main() -> NoReturn:
    # Ctrl+C in a terminal reaches the whole group; when to stop is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    to_parent = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints to stdout too
    config = ChildConfig.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=_exit_at_end_of_stdin, daemon=True).start()
    try:
        server = _serve(config)
    except RuntimeError as error:
        _tell(to_parent, {"error": str(error)})
        os._exit(1)
    _tell(to_parent, {"url": server.listening_address})
    while True:
        threading.Event().wait()


def _tell(file_descriptor: int, line: dict[str, str]) -> None:
    os.write(file_descriptor, json.dumps(line).encode() + b"\n")


def _serve(config: ChildConfig) -> Any:
    """Load the model and listen on a free port of the loopback interface."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config.model_path
    params.model_alias = {config.model_name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config.api_key]
    params.n_parallel = config.parallel
    # A connection holds a thread: those of waiting answers must not keep health checks out.
    params.n_threads_http = config.parallel + _HTTP_THREADS
    params.n_ctx = config.context_window * config.parallel  # llama.cpp splits it over the slots
    params.fit_params = False  # the window is not made smaller to fit the memory
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    # Repacked weights answer faster, but read prompts slower and take half as much memory
    # again; questions about documents are mostly prompt (docs/decisions/0004).
    params.no_extra_bufts = True
    # Between batches the server notices that a client has left while its prompt is read.
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.warmup = False
    params.cache_prompt = True
    params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = True
    params.ui = False
    params.verbosity = 1
    return xllamacpp.Server(params)


def _exit_at_end_of_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def _die_with_parent() -> None:
    """On Linux the kernel ends us too, even while the model loads and no thread of ours runs."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()

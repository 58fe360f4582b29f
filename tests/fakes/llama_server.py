"""A real llama.cpp server on the tiny model, for as long as a test module needs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.adapters._http import Endpoint, fixed
from backend.adapters.local.llamacpp_child import ChildConfig
from tests.fakes.tiny_gguf import write_tiny_gguf

MODEL = "tiny-random"
API_KEY = "a key for tests"


@dataclass(frozen=True, slots=True)
class RunningLlama:
    url: str
    window: int
    slots: int

    def endpoint(self, client: httpx.AsyncClient, api_key: str = API_KEY) -> Endpoint:
        return Endpoint(client, "llamacpp", fixed(self.url), api_key)


@contextmanager
def running_llama(
    folder: Path,
    *,
    window: int = 512,
    slots: int = 1,
    with_bos: bool = False,
    layers: int = 2,
    never_ends: bool = False,
    thinks: bool = False,
) -> Iterator[RunningLlama]:
    """Start the product's own child process; ``window`` tokens for each of ``slots``."""
    model = write_tiny_gguf(
        folder / "tiny.gguf",
        with_bos=with_bos,
        layers=layers,
        never_ends=never_ends,
        thinks=thinks,
    )
    config = ChildConfig(str(model), MODEL, API_KEY, 1, window, slots)
    child = subprocess.Popen(
        [sys.executable, "-m", "backend.adapters.local.llamacpp_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(config.to_line())
        child.stdin.flush()
        yield RunningLlama(json.loads(child.stdout.readline())["url"], window, slots)
        child.stdin.close()

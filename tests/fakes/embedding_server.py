"""A real llama.cpp that embeds or reranks, in a child process, on a tiny random model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.adapters._http import Endpoint, fixed
from tests.fakes.tiny_rerank_gguf import WIDTH, write_tiny_bert

MODEL = "tiny-bert"
API_KEY = "a key for tests"


@dataclass(frozen=True, slots=True)
class RunningModel:
    url: str
    window: int

    def endpoint(self, client: httpx.AsyncClient, api_key: str | None = API_KEY) -> Endpoint:
        return Endpoint(client, "the server", fixed(self.url + "/v1"), api_key)


@contextmanager
def running_bert(
    folder: Path, *, reranks: bool, window: int = 64, width: int = WIDTH
) -> Iterator[RunningModel]:
    """``window`` tokens for one request; the server's batch is as large, as operators set it."""
    model = write_tiny_bert(folder / "tiny-bert.gguf", reranks=reranks, width=width)
    config = {"model": str(model), "reranks": reranks, "window": window}
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.embedding_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(config).encode() + b"\n")
        child.stdin.flush()
        yield RunningModel(json.loads(child.stdout.readline())["url"], window)
        child.stdin.close()


def main() -> None:
    """The child: one line of configuration in, one line with the URL out, until stdin ends."""
    import xllamacpp

    to_parent = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints to stdout too
    config = json.loads(sys.stdin.buffer.readline())
    params = xllamacpp.CommonParams()
    params.model.path = config["model"]
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [API_KEY]
    params.n_parallel = 1
    params.n_ctx = params.n_batch = params.n_ubatch = config["window"]
    params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.embedding = True
    if config["reranks"]:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.warmup = False
    params.endpoint_props = True
    params.ui = False
    server = xllamacpp.Server(params)
    os.write(to_parent, json.dumps({"url": server.listening_address}).encode() + b"\n")
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()

"""What the gateway adds to a request, beside a LiteLLM proxy in front of the same stub server.

    python -m venv /tmp/litellm && /tmp/litellm/bin/pip install 'litellm[proxy]'
    python -m benchmarks.gateway --litellm-python /tmp/litellm/bin/python

Stub, gateway, proxy and load each run in a process of their own. "Added" is a quantile through
the proxy minus the same quantile at the stub, measured in turns, so that a busy moment of the
machine meets all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvicorn

from backend.adapters.upstream import HttpUpstream, open_session
from backend.gateway_app import create_gateway
from backend.services.gateway import GatewayParts, Route
from benchmarks.stub_openai import MODEL, serve_stub

ROOT = Path(__file__).parents[1]
CONCURRENCIES = (1, 16, 64)
ROUNDS = 5
REQUESTS_PER_ROUND = {1: 60, 16: 240, 64: 480}
START_LIMIT_S = 180.0


# --- gateway -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GatewaySettings:
    api_keys: tuple[str, ...] = ("key",)
    ingest_max_file_bytes: int = 1


async def serve_gateway(port: int, stub: str) -> None:
    async with open_session() as session:
        upstream = HttpUpstream(session, name="vllm", locate=lambda: stub)
        app = create_gateway(GatewaySettings(), GatewayParts((Route(MODEL, "chat", upstream),)))
        config = uvicorn.Config(
            app, port=port, lifespan="off", log_config=None, access_log=False, log_level="warning"
        )
        await uvicorn.Server(config).serve()


# --- load ----------------------------------------------------------------------------------------


def request_bytes(port: int, *, stream: bool) -> bytes:
    content = {
        "model": MODEL,
        "stream": stream,
        "messages": [{"role": "user", "content": "A question of some words. " * 8}],
    }
    body = json.dumps(content).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Authorization: Bearer key\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, concurrency: int, requests: int, *, stream: bool) -> list[float]:
    """Seconds to the last byte of each answer, over kept connections."""
    sent = request_bytes(port, stream=stream)
    left = iter(range(requests))
    seconds: list[float] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            started = time.perf_counter()
            writer.write(sent)
            await _answer(reader)
            seconds.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return seconds


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"not an answer: {head[:200]!r} {await reader.read(500)!r}")
    if b"transfer-encoding: chunked" in head:
        await reader.readuntil(b"\r\n0\r\n\r\n")
        return
    at = head.find(b"content-length:")
    await reader.readexactly(int(head[at + 15 :].split(b"\r\n")[0]))


# --- comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds; ``added`` is over the stub alone."""

    server: str
    stream: bool
    concurrency: int
    p50: float
    p99: float
    added_p50: float
    added_p99: float
    requests_per_s: float


def compare(ports: dict[str, int]) -> list[Row]:
    rows = []
    for stream in (False, True):
        for concurrency in CONCURRENCIES:
            seconds, spent = _measure(ports, concurrency, stream=stream)
            base = {share: _quantile(seconds["stub"], share) for share in (0.5, 0.99)}
            for name, taken in seconds.items():
                p50, p99 = _quantile(taken, 0.5), _quantile(taken, 0.99)
                row = Row(
                    name,
                    stream,
                    concurrency,
                    p50,
                    p99,
                    p50 - base[0.5],
                    p99 - base[0.99],
                    len(taken) / spent[name],
                )
                rows.append(row)
                print(_line(row), flush=True)
    return rows


def _measure(
    ports: dict[str, int], concurrency: int, *, stream: bool
) -> tuple[dict[str, list[float]], dict[str, float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ports}
    spent = dict.fromkeys(ports, 0.0)
    for port in ports.values():
        asyncio.run(load(port, concurrency, 2 * concurrency, stream=stream))
    for _ in range(ROUNDS):
        for name, port in ports.items():
            started = time.perf_counter()
            requests = REQUESTS_PER_ROUND[concurrency]
            seconds[name] += asyncio.run(load(port, concurrency, requests, stream=stream))
            spent[name] += time.perf_counter() - started
    return seconds, spent


def _quantile(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _line(row: Row) -> str:
    kind = "stream" if row.stream else "whole"
    return (
        f"{row.server:8} {kind:6} c={row.concurrency:<3} p50 {row.p50:8.2f}  p99 {row.p99:8.2f}  "
        f"added p50 {row.added_p50:8.2f}  added p99 {row.added_p99:8.2f}  "
        f"{row.requests_per_s:7.0f}/s"
    )


# --- processes -----------------------------------------------------------------------------------


@contextmanager
def _process(command: list[str], port: int, log: Path) -> Iterator[int]:
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_for(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _litellm_command(python: Path, port: int, stub: str, folder: Path) -> list[str]:
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"{stub}/v1",
                    "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": "key"},
        "litellm_settings": {"telemetry": False},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    program = str(python.with_name("litellm"))
    return [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]


def run(litellm_python: Path | None) -> list[Row]:
    own = [sys.executable, "-m", "benchmarks.gateway"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stub, gateway, proxy = _free_port(), _free_port(), _free_port()
        url = f"http://127.0.0.1:{stub}"
        stub_command = [*own, "--serve-stub", str(stub)]
        stack.enter_context(_process(stub_command, stub, folder / "stub.log"))
        gateway_command = [*own, "--serve-gateway", str(gateway), "--stub", url]
        stack.enter_context(_process(gateway_command, gateway, folder / "gateway.log"))
        ports = {"stub": stub, "gateway": gateway}
        if litellm_python is None:
            print("LiteLLM is left out: give --litellm-python of a venv with 'litellm[proxy]'.")
        else:
            command = _litellm_command(litellm_python, proxy, url, folder)
            stack.enter_context(_process(command, proxy, folder / "litellm.log"))
            ports["litellm"] = proxy
        return compare(ports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm-python", type=Path, help="python of a venv with litellm[proxy]")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--serve-stub", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve-gateway", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stub", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_stub:
        asyncio.run(serve_stub(arguments.serve_stub))
    elif arguments.serve_gateway:
        asyncio.run(serve_gateway(arguments.serve_gateway, arguments.stub))
    else:
        rows = run(arguments.litellm_python)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()

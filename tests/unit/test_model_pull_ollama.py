"""Pulling through a server that speaks Ollama's API on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.model_fetch import FetchError
from cli.models import run
from cli.ollama_models import Ollama, registry_bytes

LAYERS = [
    {"status": "pulling manifest"},
    {"status": "pulling aaaaaaaaaaaa", "digest": "sha256:" + "a" * 64, "total": 1000},
    {
        "status": "pulling aaaaaaaaaaaa",
        "digest": "sha256:" + "a" * 64,
        "total": 1000,
        "completed": 400,
    },
    {
        "status": "pulling aaaaaaaaaaaa",
        "digest": "sha256:" + "a" * 64,
        "total": 1000,
        "completed": 1000,
    },
    {
        "status": "pulling bbbbbbbbbbbb",
        "digest": "sha256:" + "b" * 64,
        "total": 10,
        "completed": 10,
    },
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]
NO_SUCH = {"error": "pull model manifest: file does not exist"}


@dataclass
class FakeServer:
    """``events`` of the next pull; a pull that succeeds makes the model known."""

    events: list[dict[str, object]] = field(default_factory=lambda: list(LAYERS))
    status: int = 200
    known: set[str] = field(default_factory=set)
    forgets: bool = False
    asked: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", "0"))
        body = json.loads(request.rfile.read(length) or b"{}")
        self.asked.append((request.path, body))
        if request.path.startswith("/v2/"):
            self._manifest(request)
        elif request.path == "/api/show":
            known = body["model"] in self.known
            self._send(request, 200 if known else 404, b"{}")
        else:
            lines = b"".join(json.dumps(event).encode() + b"\n" for event in self.events)
            if self.events[-1] == {"status": "success"} and not self.forgets:
                self.known.add(body["model"])
            self._send(request, self.status, lines)

    def _manifest(self, request: BaseHTTPRequestHandler) -> None:
        if request.path != "/v2/library/qwen3/manifests/8b":
            self._send(request, 404, b'{"errors": []}')
            return
        layers = [{"size": 5_000_000_000}, {"size": 1_000}]
        self._send(request, 200, json.dumps({"config": {"size": 500}, "layers": layers}).encode())

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@dataclass
class Seen:
    notes: list[str] = field(default_factory=list)
    layers: list[tuple[str, int, int]] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def layer(self, digest: str, total_bytes: int, done_bytes: int) -> None:
        self.layers.append((digest[7:8], total_bytes, done_bytes))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.answer(self)

        def do_GET(self) -> None:
            fake.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        fake.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            listening.shutdown()
            thread.join()


def pull(server: FakeServer, tmp_path: Path, *words: str, **variables: str) -> int:
    (tmp_path / "no.env").touch()
    command = ["pull", "--provider", "ollama", *words, "--env-file", str(tmp_path / "no.env")]
    return run(command, {"LLM_OLLAMA_URL": server.url} | variables)


@pytest.mark.loopback
def test_a_pull_shows_every_layer_and_ends_with_a_model_the_server_has(server: FakeServer) -> None:
    seen = Seen()

    Ollama(server.url).pull("qwen3:8b", seen)

    assert seen.layers == [("a", 1000, 0), ("a", 1000, 400), ("a", 1000, 1000), ("b", 10, 10)]
    assert seen.notes[0] == "pulling manifest"
    assert server.asked[0] == ("/api/pull", {"model": "qwen3:8b", "stream": True})
    assert server.asked[-1] == ("/api/show", {"model": "qwen3:8b"})


@pytest.mark.loopback
def test_the_command_prints_the_line_for_the_env_file(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(server, tmp_path, "qwen3:8b") == 0

    assert capsys.readouterr().out == "OLLAMA_MODEL=qwen3:8b\n"


@pytest.mark.loopback
@pytest.mark.parametrize("status", [200, 500])
def test_an_unknown_model_is_an_error_whatever_the_status(
    server: FakeServer, tmp_path: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = status
    server.events = [NO_SUCH] if status == 500 else [{"status": "pulling manifest"}, NO_SUCH]

    assert pull(server, tmp_path, "qwen3-8b") == 1

    said = capsys.readouterr().err
    assert "Ollama's registry has no qwen3-8b" in said
    assert "Did you mean qwen3:8b?" in said
    assert "https://ollama.com/library/qwen3-8b" in said


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("write /root/.ollama/blob: no space left on device", "disk of the Ollama server is full"),
        ("max retries exceeded: EOF", "max retries exceeded"),
        (
            "The model you are attempting to pull requires a newer version of Ollama.",
            "OLLAMA_IMAGE",
        ),
    ],
)
def test_an_error_in_the_middle_of_the_stream_is_an_error(
    server: FakeServer, error: str, told: str
) -> None:
    server.events = [*LAYERS[:3], {"error": error}]

    with pytest.raises(FetchError, match=told):
        Ollama(server.url).pull("qwen3:8b", Seen())


@pytest.mark.loopback
def test_a_stream_that_ends_early_is_no_success(server: FakeServer) -> None:
    server.events = LAYERS[:4]

    with pytest.raises(FetchError, match="stopped before the end"):
        Ollama(server.url).pull("qwen3:8b", Seen())


@pytest.mark.loopback
def test_a_success_that_left_no_model_is_no_success(server: FakeServer) -> None:
    server.forgets = True

    with pytest.raises(FetchError, match="does not know it"):
        Ollama(server.url).pull("qwen3:8b", Seen())


@pytest.mark.loopback
def test_without_a_server_the_command_that_starts_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(FakeServer(url="http://127.0.0.1:9"), tmp_path, "qwen3:8b") == 1

    assert "docker compose --profile ollama up -d llm-ollama" in capsys.readouterr().err


@pytest.mark.loopback
def test_a_dry_run_tells_the_size_and_asks_the_server_nothing(server: FakeServer) -> None:
    assert registry_bytes("qwen3:8b", server.url) == 5_000_001_500
    with pytest.raises(FetchError, match="Did you mean qwen3:99b"):
        registry_bytes("qwen3-99b", server.url)

    assert {path for path, _ in server.asked} == {
        "/v2/library/qwen3/manifests/8b",
        "/v2/library/qwen3-99b/manifests/latest",
    }


@pytest.mark.loopback
def test_offline_mode_pulls_nothing_and_knows_what_is_there(
    server: FakeServer, tmp_path: Path
) -> None:
    assert pull(server, tmp_path, "qwen3:8b", HF_HUB_OFFLINE="1") == 1
    server.known.add("qwen3:8b")
    assert pull(server, tmp_path, "qwen3:8b", HF_HUB_OFFLINE="1") == 0

    assert {path for path, _ in server.asked} == {"/api/show"}

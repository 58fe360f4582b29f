from __future__ import annotations

import asyncio
import json
import os
import signal
import unicodedata
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.core.types import DocType
from cli import indexing
from cli.index_cli import run
from tests.fakes.api import FakeBackend, error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.md", "b.txt", "sub/c.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}", encoding="utf-8")
    return tmp_path / "docs"


def index(folder: Path, backend: FakeBackend, *options: str) -> int:
    return run(["--dir", str(folder), "--space", "s", *options], {}, backend.transport)


def summary(
    folder: Path, backend: FakeBackend, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, Any]:
    exit_code = index(folder, backend, "--json", *options)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == exit_code
    return found


def test_every_file_is_sent_under_its_path(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()

    found = summary(folder, backend, capsys)

    assert sorted(backend.uploads) == ["a.md", "b.txt", "sub/c.md"]
    assert found["indexed"] == 3
    assert found["chunks"] == 9
    assert found["exit_code"] == 0


def test_what_is_there_already_is_not_sent_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    index(folder, backend)
    (folder / "b.txt").write_text("changed", encoding="utf-8")
    backend.uploads.clear()
    capsys.readouterr()

    found = summary(folder, backend, capsys)

    assert backend.uploads == ["b.txt"]
    assert (found["unchanged"], found["replaced"]) == (2, 1)


def test_a_document_that_is_not_ready_is_sent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    for name in ("a.md", "b.txt", "sub/c.md"):
        backend.put(name, (folder / name).read_bytes(), state="pending")

    summary(folder, backend, capsys)

    assert len(backend.uploads) == 3


def test_another_document_type_is_a_change(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    backend.put("a.md", (folder / "a.md").read_bytes(), doc_type="protocols")
    backend.put("b.txt", (folder / "b.txt").read_bytes(), doc_type="technical_docs")

    found = summary(folder, backend, capsys, "--doc-type", "protocols")

    assert sorted(backend.uploads) == ["b.txt", "sub/c.md"]
    assert set(backend.given_types) == {DocType.PROTOCOLS.value}
    assert found["unchanged"] == 1


def test_the_backend_may_find_a_file_unchanged_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeBackend()
    index(folder, backend)
    monkeypatch.setattr(indexing, "_sha256", lambda path: "another")
    capsys.readouterr()

    found = summary(folder, backend, capsys)

    assert len(backend.uploads) == 6
    assert found["unchanged"] == 3


def test_a_long_list_of_documents_is_read_page_by_page(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeBackend()
    index(folder, backend)
    monkeypatch.setattr(indexing, "PAGE_SIZE", 2)
    backend.pages = 0
    capsys.readouterr()

    found = summary(folder, backend, capsys)

    assert backend.pages == 2
    assert found["unchanged"] == 3


def test_failures_are_listed_with_their_code_and_reason_and_the_rest_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = error("unreadable_document", "The PDF [is] encrypted.", 422)
    backend = FakeBackend(refusals={"a.md": [refusal]})

    exit_code = index(folder, backend)

    shown = capsys.readouterr().out
    assert exit_code == 1
    assert "2 indexed, 0 replaced, 0 unchanged, 1 failed" in shown
    assert "unreadable_document" in shown
    assert "The PDF [is] encrypted." in shown


def test_a_busy_backend_is_asked_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    busy = error("overloaded", "Busy.", 429, Retry_After="0.1")
    backend = FakeBackend(refusals={"a.md": [busy, busy], "/documents": [busy]})

    found = summary(folder, backend, capsys)

    assert backend.uploads.count("a.md") == 3
    assert found["indexed"] == 3


def test_a_backend_that_is_down_is_one_line_and_exit_code_two(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    exit_code = run(["--dir", str(folder), "--space", "s"], {}, httpx.MockTransport(down))

    captured = capsys.readouterr()
    assert exit_code == 2
    assert "does not answer: start it with `make run`" in captured.err
    assert captured.out == ""


def test_a_backend_that_dies_in_between_ends_the_run_with_a_summary(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    sent: list[str] = []

    async def dying(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        if len(sent) > 2:
            raise httpx.ConnectError("refused", request=request)
        return await backend.transport.handle_async_request(request)

    arguments = ["--dir", str(folder), "--space", "s", "--jobs", "1"]
    exit_code = run(arguments, {}, httpx.MockTransport(dying))

    captured = capsys.readouterr()
    assert exit_code == 2
    assert "1 indexed, 0 replaced, 0 unchanged, 1 failed" in captured.out
    assert "1 not done" in captured.out
    assert "does not answer" in captured.err


def test_an_interruption_ends_with_a_summary_and_130(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()

    async def interrupted(request: httpx.Request) -> httpx.Response:
        if backend.uploads:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        return await backend.transport.handle_async_request(request)

    arguments = ["--dir", str(folder), "--space", "s", "--jobs", "1"]
    exit_code = run(arguments, {}, httpx.MockTransport(interrupted))

    assert exit_code == 130
    assert "Interrupted." in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_a_failure_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def guarded(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "a.md":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)

    found = summary(folder, FakeBackend(), capsys)

    assert found["indexed"] == 2
    assert found["failures"] == [
        {"source": "a.md", "code": "unreadable", "message": "Permission denied"}
    ]


def test_a_name_the_backend_could_not_take_is_refused_here(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "line\nbreak.md").write_text("x", encoding="utf-8")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.md")).write_text("x", encoding="utf-8")
    backend = FakeBackend()

    found = summary(folder, backend, capsys)

    messages = sorted(failure["message"] for failure in found["failures"])
    assert messages == [
        "The file name holds control characters.",
        "The name of the file is not valid UTF-8.",
    ]
    assert len(backend.uploads) == 3


def test_two_spellings_of_one_source_are_not_indexed_over_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "йод.md")
        (folder / name).write_text(form, encoding="utf-8")

    found = summary(folder, FakeBackend(), capsys)

    assert found["indexed"] == 4
    assert "same source" in found["failures"][0]["message"]


def test_what_was_skipped_is_shown_by_suffix(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photo.png").write_bytes(b"")
    (folder / ".hidden.md").write_bytes(b"")

    exit_code = index(folder, FakeBackend())

    shown = capsys.readouterr().out.splitlines()
    assert exit_code == 0
    assert "2 skipped" in shown[0]
    assert any(line.split() == [".png", "1"] for line in shown)
    assert any(line.split() == ["hidden", "1"] for line in shown)


def test_prune_deletes_only_what_is_no_longer_in_the_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "skipped.log").write_bytes(b"")
    backend = FakeBackend()
    for name in ("old.md", "skipped.log", "a.md"):
        backend.put(name, b"old")

    found = summary(folder, backend, capsys, "--prune")

    assert found["deleted"] == ["old.md"]
    assert sorted(backend.documents) == ["a.md", "b.txt", "skipped.log", "sub/c.md"]


def test_nothing_is_deleted_without_being_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    backend.put("old.md", b"old")

    assert summary(folder, backend, capsys)["deleted"] == []
    assert "old.md" in backend.documents


def test_prune_does_not_empty_a_space_for_an_empty_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    backend.put("old.md", b"old")

    found = summary(tmp_path, backend, capsys, "--prune")

    assert list(backend.documents) == ["old.md"]
    assert found["failures"][0]["code"] == "not_pruned"
    assert found["exit_code"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--dir", "/no/such/folder", "--space", "s"],
        ["--dir", ".", "--space", "a/b"],
        ["--dir", ".", "--space", "s", "--doc-type", "letters"],
        ["--dir", ".", "--space", "s", "--jobs", "0"],
        ["--dir", "."],
    ],
)
def test_wrong_usage_is_exit_code_two(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(wrong, {})

    assert caught.value.code == 2


def test_a_wrong_address_is_exit_code_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--dir", str(folder), "--space", "s", "--url", "localhost:1"], {}) == 2
    assert "is not an address" in capsys.readouterr().err


def test_a_refused_key_stops_before_anything_is_sent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(refusals={"/documents": [error("unauthorized", "A key.", 401)]})

    assert index(folder, backend) == 2
    assert "API_KEY" in capsys.readouterr().err
    assert backend.uploads == []

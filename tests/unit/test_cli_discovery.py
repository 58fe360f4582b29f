from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.discovery import HIDDEN, LINKED_FOLDER, NO_SUFFIX, NOT_A_FILE, find_files


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text", encoding="utf-8")


def test_a_source_is_the_path_within_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "b/протоколы/Notes.MD", "a.txt")

    found = find_files(tmp_path)

    assert [file.source for file in found.files] == ["a.txt", "b/протоколы/Notes.MD"]
    assert found.files[0].size_bytes == 4


def test_what_is_left_out_is_counted_by_its_reason(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.PNG", "Makefile", ".env", ".git/config.md", "~$plan.docx", "c.md")

    found = find_files(tmp_path)

    assert [file.source for file in found.files] == ["c.md"]
    assert found.skipped == {".png": 2, NO_SUFFIX: 1, HIDDEN: 3}


def test_loops_of_links_and_links_to_nowhere_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a/b.md")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")

    found = find_files(tmp_path)

    assert [file.source for file in found.files] == ["a/b.md"]
    assert found.skipped == {LINKED_FOLDER: 1, NOT_A_FILE: 2}


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    put(tmp_path, "outside/plan.md", "docs/readme.md")
    (tmp_path / "docs" / "plan.md").symlink_to(tmp_path / "outside" / "plan.md")

    found = find_files(tmp_path / "docs")

    assert [file.source for file in found.files] == ["plan.md", "readme.md"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")

    assert find_files(tmp_path).skipped == {NOT_A_FILE: 1}


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/one.md", "b/two.md")
    listdir = os.listdir

    def guarded(path: Path) -> list[str]:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr("cli.discovery.os.listdir", guarded)

    found = find_files(tmp_path)

    assert [file.source for file in found.files] == ["b/two.md"]
    assert [(folder.source, folder.reason) for folder in found.unreadable] == [
        ("a", "Permission denied")
    ]

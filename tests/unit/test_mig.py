from __future__ import annotations

import io
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.mig import run
from cli.mig_env import with_values

ROOT = Path(__file__).parents[2]
MEDIUM = "MIG-377e0049-554c-540b-93c6-d0976f8426cb"
SMALL = "MIG-f39aa248-6f1b-5769-b119-8d650bb34b27"
H100 = f"""\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57f032-34ab-a064-c37c-7a4f75601cc5)
  MIG 1g.10gb     Device  0: (UUID: {SMALL})
  MIG 2g.20gb     Device  1: (UUID: {MEDIUM})
"""
ALIKE = """\
GPU 0: NVIDIA RTX PRO 6000 Blackwell Server Edition (UUID: GPU-aa)
  MIG 1g.24gb     Device  0: (UUID: MIG-0)
  MIG 1g.24gb     Device  1: (UUID: MIG-1)
GPU 1: NVIDIA RTX PRO 6000 Blackwell Server Edition (UUID: GPU-bb)
  MIG 1g.24gb     Device  0: (UUID: MIG-2)
"""
Recorded = Callable[[str], str]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    def write(text: str) -> str:
        path = tmp_path / "nvidia-smi.txt"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_bytes(
        b"# MIG\r\nVLLM_MEDIUM_MIG_UUID=   # the large one\r\n\xff=odd\r\n"
        b"# VLLM_SMALL_MIG_UUID=not this line\r\nVLLM_SMALL_MIG_UUID='old one'\r\nLAST=1"
    )
    path.chmod(0o640)
    return path


def test_the_list_shows_place_profile_memory_and_uuid(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", "--from", recorded(H100)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == [
        "1",
        "0:1",
        *"NVIDIA H100 80GB HBM3 2g.20gb 19.6 GiB".split(),
        MEDIUM,
    ]


def test_instances_are_listed_and_say_where_the_uuids_are(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", "--from", recorded("|   0  MIG 3g.20gb   9   1   4:4  |")]) == 0

    shown = capsys.readouterr()
    assert "3g.20gb" in shown.out
    assert "nvidia-smi -L" in shown.err


def test_the_largest_slice_is_medium_and_the_next_is_small(
    recorded: Recorded, env_file: Path
) -> None:
    before = env_file.read_bytes()

    assert run(["write", "--from", recorded(H100), "--env-file", str(env_file)]) == 0

    expected = before.replace(b"MEDIUM_MIG_UUID=", f"MEDIUM_MIG_UUID={MEDIUM}".encode())
    assert env_file.read_bytes() == expected.replace(b"'old one'", SMALL.encode())
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o640
    assert not list(env_file.parent.glob("..env*"))


def test_a_link_to_the_env_file_stays_a_link(recorded: Recorded, env_file: Path) -> None:
    link = env_file.with_name("link")
    link.symlink_to(env_file)

    assert run(["write", "--from", recorded(H100), "--env-file", str(link)]) == 0

    assert link.is_symlink()
    assert MEDIUM in link.read_text(encoding="latin-1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "X=v\n"),
        ("A=1", "A=1\nX=v\n"),
        ("X=1\nX=2\n", "X=v\nX=v\n"),
        ("  export X = old # why\n", "  export X =v # why\n"),
        ("X: old\n", "X:v\n"),
        ("XY=1\n#X=2\n", "XY=1\n#X=2\nX=v\n"),
        ('X="a # b" # c\n', "X=v # c\n"),
    ],
)
def test_only_the_value_of_a_line_changes(text: str, expected: str) -> None:
    assert with_values(text, {"X": "v"}) == expected


def test_writing_twice_changes_nothing(recorded: Recorded, env_file: Path) -> None:
    arguments = ["write", "--from", recorded(H100), "--env-file", str(env_file)]
    run(arguments)
    first, inode = env_file.read_bytes(), env_file.stat().st_ino

    assert run(arguments) == 0

    assert (env_file.read_bytes(), env_file.stat().st_ino) == (first, inode)


def test_a_dry_run_prints_the_two_lines_only(
    recorded: Recorded, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = env_file.read_bytes()

    run(["write", "--from", recorded(H100), "--env-file", str(env_file), "--dry-run"])

    assert capsys.readouterr().out.splitlines() == [
        f"VLLM_MEDIUM_MIG_UUID={MEDIUM}",
        f"VLLM_SMALL_MIG_UUID={SMALL}",
    ]
    assert env_file.read_bytes() == before


@pytest.mark.parametrize(
    ("medium", "small"),
    [("0", "1"), (SMALL, MEDIUM), ("0:0", "0:1")],
    ids=["number", "uuid", "place"],
)
def test_both_can_be_chosen(
    medium: str, small: str, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--medium", medium, "--small", small, "--dry-run"]

    assert run(["write", "--from", recorded(H100), *arguments]) == 0

    assert capsys.readouterr().out.splitlines()[0] == f"VLLM_MEDIUM_MIG_UUID={SMALL}"


def test_two_slices_alike_are_no_question(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    two = "\n".join(ALIKE.splitlines()[:3])

    assert run(["write", "--from", recorded(two), "--dry-run"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "VLLM_MEDIUM_MIG_UUID=MIG-0",
        "VLLM_SMALL_MIG_UUID=MIG-1",
    ]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (ALIKE, [], "--medium 0 --small 1"),
        (ALIKE, ["--medium", "2", "--small", "1:0"], "named twice"),
        (ALIKE, ["--medium", "7"], "0 to 2"),
        (ALIKE, ["--medium", "MIG-9"], "no such slice"),
        ("\n".join(H100.splitlines()[:2]), [], "one slice only"),
        (H100.splitlines()[0], [], "nvidia-smi -i 0 -mig 1"),
        ("No devices were found", [], "nvidia-smi -L"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_way_out(
    text: str,
    options: list[str],
    told: str,
    recorded: Recorded,
    env_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = env_file.read_bytes()

    assert run(["write", "--from", recorded(text), "--env-file", str(env_file), *options]) == 2

    assert told in capsys.readouterr().err
    assert env_file.read_bytes() == before


def test_a_missing_env_file_is_not_made(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none"

    assert run(["write", "--from", recorded(H100), "--env-file", str(missing)]) == 2

    assert "cp .env.vllm-mig" in capsys.readouterr().err
    assert not missing.exists()


def test_a_listing_can_come_through_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(H100))

    assert run(["list", "--from", "-"]) == 0

    assert MEDIUM in capsys.readouterr().out


def test_without_nvidia_smi_the_way_over_ssh_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert run(["list"]) == 2

    assert "ssh HOST nvidia-smi -L" in capsys.readouterr().err


def test_the_scripts_work_from_any_folder(recorded: Recorded, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "write_mig_uuids.sh", "--from", recorded(H100), "--dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"VLLM_SMALL_MIG_UUID={SMALL}" in done.stdout

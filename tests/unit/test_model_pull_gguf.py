"""GGUF files for llama.cpp, from a hub on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.models import run
from tests.fakes.model_hub import FakeHub, serving

CONTENT = b"GGUF" + bytes(range(256)) * 300
PARTS = {
    f"Q8_0/Big-Q8_0-0000{number}-of-00003.gguf": CONTENT + bytes([number]) for number in (1, 2, 3)
}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = {"README.md": b"-", "Model-Q4_K_M.gguf": CONTENT, "Model-Q8_0.gguf": CONTENT + b"8"}
    with serving(FakeHub("org/model-GGUF", files | PARTS)) as fake:
        yield fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "llamacpp"


def pull(hub: FakeHub, folder: Path, *words: str, **variables: str) -> int:
    empty = folder.parent / "no.env"
    empty.touch()
    command = ["pull", "--provider", "llamacpp", *words, "--env-file", str(empty)]
    return run(command, {"HF_ENDPOINT": hub.url, "LLAMACPP_MODELS_DIR": str(folder)} | variables)


def files(folder: Path) -> dict[str, bytes]:
    shown = (path for path in folder.iterdir() if not path.name.endswith(".lock"))
    return {path.name: path.read_bytes() for path in shown}


@pytest.mark.loopback
def test_the_file_comes_with_the_line_for_the_env_file(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 0

    assert files(folder) == {"Model-Q4_K_M.gguf": CONTENT}
    assert capsys.readouterr().out == "LLAMACPP_MODEL_FILE=Model-Q4_K_M.gguf\n"


@pytest.mark.loopback
def test_a_name_in_another_case_is_that_file_and_stays_as_typed(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, folder, "org/model-GGUF", "model-q4_k_m.gguf") == 0

    said = capsys.readouterr()
    assert files(folder) == {"model-q4_k_m.gguf": CONTENT}
    assert "Model-Q4_K_M.gguf as model-q4_k_m.gguf" in said.err
    assert said.out == "LLAMACPP_MODEL_FILE=model-q4_k_m.gguf\n"


@pytest.mark.loopback
@pytest.mark.parametrize("served", ["MODEL-q4_k_m.gguf", "Model-Q4_K_M.gguf"])
def test_the_spelling_of_the_env_file_is_the_one_the_server_looks_for(
    hub: FakeHub, folder: Path, served: str
) -> None:
    variables = {"LLAMACPP_MODEL_FILE": served}

    assert pull(hub, folder, "org/model-GGUF", "model-q4_k_m.gguf", **variables) == 0

    assert files(folder) == {served: CONTENT}


@pytest.mark.loopback
@pytest.mark.parametrize("number", [1, 3])
def test_any_part_of_a_split_file_brings_all(
    hub: FakeHub, folder: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = f"Q8_0/Big-Q8_0-0000{number}-of-00003.gguf"

    assert pull(hub, folder, "org/model-GGUF", wanted) == 0

    assert files(folder) == {name.removeprefix("Q8_0/"): data for name, data in PARTS.items()}
    assert capsys.readouterr().out == "LLAMACPP_MODEL_FILE=Big-Q8_0-00001-of-00003.gguf\n"


@pytest.mark.loopback
def test_a_missing_part_is_noticed_before_anything_is_transferred(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files["Q8_0/Big-Q8_0-00002-of-00003.gguf"]

    assert pull(hub, folder, "org/model-GGUF", "Q8_0/Big-Q8_0-00001-of-00003.gguf") == 1

    assert "has no file Q8_0/Big-Q8_0-00002-of-00003.gguf" in capsys.readouterr().err
    assert hub.transfers() == []


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("Model-Q5_K_M.gguf", "There are:\n  Model-Q4_K_M.gguf  0.00 GB"),
        ("Big-Q8_0-00001-of-00003.gguf", "Did you mean Q8_0/Big-Q8_0-00001-of-00003.gguf?"),
    ],
)
def test_a_file_that_is_not_there_is_answered_with_those_that_are(
    hub: FakeHub, folder: Path, wanted: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, folder, "org/model-GGUF", wanted) == 1

    assert hint in capsys.readouterr().err


@pytest.mark.loopback
def test_a_repository_without_gguf_is_answered_with_where_they_usually_are(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files = {"model.safetensors": b"x"}

    assert pull(hub, folder, "org/model-GGUF", "model.gguf") == 1

    assert "holds no .gguf file" in capsys.readouterr().err


@pytest.mark.loopback
def test_what_is_no_gguf_is_refused_and_removed(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files["Model-Q4_K_M.gguf"] = b"<html>please log in</html>"

    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 1

    assert "does not begin with GGUF" in capsys.readouterr().err
    assert files(folder) == {}


@pytest.mark.loopback
def test_a_wrong_sha256_is_refused_and_the_file_removed(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.served = {"Model-Q4_K_M.gguf": CONTENT[:-1] + b"x"}

    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 1

    assert "the sha256 is" in capsys.readouterr().err
    assert files(folder) == {}


@pytest.mark.loopback
def test_a_cut_transfer_is_resumed_by_the_next_pull(hub: FakeHub, folder: Path) -> None:
    hub.cuts = [1000, 0]

    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 1
    assert files(folder) == {"Model-Q4_K_M.gguf.part": CONTENT[:1000]}
    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 0

    assert hub.transfers()[-1].range == "bytes=1000-"
    assert files(folder) == {"Model-Q4_K_M.gguf": CONTENT}


@pytest.mark.loopback
def test_another_file_of_that_name_is_overwritten_only_when_asked(
    hub: FakeHub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "Model-Q4_K_M.gguf").write_bytes(b"GGUF of somebody else")

    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 1
    assert "--replace" in capsys.readouterr().err
    assert pull(hub, folder, "org/model-GGUF", "--replace", "Model-Q4_K_M.gguf") == 0

    assert files(folder) == {"Model-Q4_K_M.gguf": CONTENT}


@pytest.mark.loopback
def test_a_dry_run_writes_nothing(hub: FakeHub, folder: Path) -> None:
    assert pull(hub, folder, "org/model-GGUF", "Model-Q8_0.gguf", "--dry-run") == 0

    assert not folder.exists()
    assert hub.transfers() == []


def test_a_missing_file_name_is_answered_with_the_usage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(FakeHub(), folder, "org/model-GGUF") == 1

    assert "ORGANIZATION/NAME FILE.gguf" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("pull", "a", "b"), ("pull", "--nonsense"), ("list", "x"), ("path", "a", "b")]
)
def test_words_too_many_are_not_swallowed(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(list(words), {})

    assert ended.value.code == 2


# --- as typed ----------------------------------------------------------------------------------


def script(name: str, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **variables}
    return subprocess.run(
        [str(ROOT / "scripts" / name), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


needs_venv = pytest.mark.skipif(
    not (ROOT / ".venv/bin/python").exists(), reason="the scripts use the project's .venv"
)


@needs_venv
@pytest.mark.loopback
def test_the_script_works_from_any_folder_and_ends_as_the_command_does(
    hub: FakeHub, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("raise SystemExit('not the project')")
    variables = {"HF_ENDPOINT": hub.url, "LLAMACPP_MODELS_DIR": str(folder)}

    good = script(
        "download_model_llamacpp.sh",
        *("org/model-GGUF", "model-q4_k_m.gguf"),
        cwd=tmp_path,
        **variables,
    )
    bad = script(
        "download_model_llamacpp.sh", "org/model-GGUF", "no.gguf", cwd=tmp_path, **variables
    )

    assert (good.returncode, good.stdout) == (0, "LLAMACPP_MODEL_FILE=model-q4_k_m.gguf\n")
    assert bad.returncode == 1


@needs_venv
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("download_model_vllm.sh", "--provider vllm".split()),
        ("pull_model_ollama.sh", "--provider ollama".split()),
        ("download_model_llamacpp.sh", "--provider llamacpp".split()),
    ],
)
def test_each_script_passes_everything_on(name: str, words: list[str], tmp_path: Path) -> None:
    ended = script(name, "--no-such-option", cwd=tmp_path)

    assert ended.returncode == 2
    assert "unrecognized arguments: --no-such-option" in ended.stderr


@pytest.mark.loopback
def test_an_interrupt_ends_with_130_and_a_beginning_to_go_on_from(
    hub: FakeHub, folder: Path
) -> None:
    hub.stall_after = 30_000
    environment = os.environ | {"HF_ENDPOINT": hub.url, "LLAMACPP_MODELS_DIR": str(folder)}
    command = [sys.executable, "-m", "cli.models", "pull", "--provider", "llamacpp"]
    process = subprocess.Popen(
        [*command, "org/model-GGUF", "Model-Q4_K_M.gguf"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )

    hub.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    hub.released.set()

    assert process.returncode == 130
    assert "goes on from here" in said
    assert list(files(folder)) == ["Model-Q4_K_M.gguf.part"]
    hub.stall_after = None
    assert pull(hub, folder, "org/model-GGUF", "Model-Q4_K_M.gguf") == 0

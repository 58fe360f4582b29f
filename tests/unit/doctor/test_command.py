"""``python -m cli.doctor``: exit codes, report, JSON, and the first step of docker compose up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backend.core.deployment import MIG_FILE, VLLM_FILE
from cli.doctor.__main__ import main
from cli.doctor.load import Source, load
from cli.doctor.preflight import env_file_in_use
from tests.unit.doctor.support import MIG, OLLAMA, ROOT, TOKEN, VLLM, codes, doctor

GOOD = OLLAMA.replace("LAST=\n", "")


def write(folder: Path, text: str, name: str = ".env") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (GOOD, 0),
        (GOOD + "VLLM_LOGGING_LEVEL=DEBUG\n", 1),
        (GOOD + "LLM_TIMEOUT=soon\nVLLM_LOGGING_LEVEL=DEBUG\n", 2),
    ],
)
def test_the_exit_code_says_how_bad_it_is(tmp_path: Path, text: str, code: int) -> None:
    assert main(["--env-file", write(tmp_path, text), "--no-host"]) == code


def test_a_missing_file_says_what_to_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--env-file", str(tmp_path / ".env")])

    shown = capsys.readouterr().out
    assert code == 2
    assert "cp .env.ollama" in shown
    assert ".env.vllm-mig" in shown


def test_a_file_of_another_encoding_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"LLM_MODE=ollama\n# " + "заметка".encode("cp1251"))

    code = main(["--env-file", str(path), "--json"])

    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (code, finding["code"], finding["line"]) == (2, "unreadable_env_file", 2)


def test_json_holds_every_finding_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD + "LLM_TIMEOUT=soon\n")

    main(["--env-file", path, "--json", "--no-host"])

    report = json.loads(capsys.readouterr().out)
    assert (report["errors"], report["warnings"]) == (1, 0)
    (finding,) = report["findings"]
    assert (finding["file"], finding["line"]) == (path, 6)
    assert finding["severity"] == "error"
    assert finding["fix"].startswith("LLM_TIMEOUT=")


def test_the_report_is_plain_and_shows_the_line_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD.replace("LLM_MODE=", "LLMMODE="))

    main(["--env-file", path, "--no-host"])

    shown = capsys.readouterr().out
    assert f"ERROR {path}:3 [misspelt]" in shown
    assert "  write: LLM_MODE=ollama\n" in shown
    assert "\x1b" not in shown


def test_a_compose_file_that_is_not_there_ends_the_command(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--env-file", write(tmp_path, GOOD), "-f", str(tmp_path / "compose.yml")])

    assert ended.value.code == 2


def test_variables_of_the_shell_count_only_where_they_are_asked_for() -> None:
    shell = {"LLM_TIMEOUT": "soon"}

    assert doctor(GOOD, environment=shell) == []
    assert codes(doctor(GOOD, environment=shell, with_environment=True)) == {"bad_value"}


def test_the_settings_do_not_read_this_process_or_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, "LLM_TIMEOUT=soon\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_MAX_TOKENS", "many")

    assert doctor(GOOD) == []


def test_a_token_in_the_shell_is_enough_for_a_gated_model() -> None:
    text = VLLM.replace(f"HF_TOKEN={TOKEN}\n", "").replace("LAST=\n", "")

    assert codes(doctor(text)) == {"token_missing"}
    assert doctor(text, environment={"HF_TOKEN": TOKEN}) == []


def chosen(text: str, *files: str) -> str:
    source = Source(".env", text, ROOT, files, {})
    return load(source).configuration.compose_file


def test_the_compose_file_is_the_one_given_named_or_meant() -> None:
    assert chosen(VLLM, "docker-compose.vllm.yml") == VLLM_FILE
    assert chosen(VLLM + f"COMPOSE_FILE={VLLM_FILE}\n") == VLLM_FILE
    assert chosen(MIG) == MIG_FILE
    assert chosen(MIG, "docker-compose.yml") == "docker-compose.yml"


def test_the_mode_against_the_file_given_is_an_error() -> None:
    found = doctor(GOOD, "docker-compose.vllm.yml")

    assert "mode_against_file" in codes(found)


def test_no_environment_of_compose_is_needed_for_the_default_server() -> None:
    assert doctor("LOG_LEVEL=INFO\n") == []


def preflight(text: str, values: dict[str, str]) -> set[str]:
    return codes(doctor(text, environment=values, with_environment=True, in_compose=True))


def test_in_compose_the_values_are_those_of_the_process() -> None:
    found = doctor(
        GOOD,
        environment={"LLM_MODE": "ollama", "LLM_CONTEXT_WINDOW": "65536"},
        with_environment=True,
        in_compose=True,
    )

    assert [(one.code, one.line) for one in found] == [("longer_than_model", None)]


def test_in_compose_a_value_of_the_file_keeps_its_line() -> None:
    text = GOOD.replace("8192", "65536")

    (found,) = doctor(
        text, environment={"LLM_CONTEXT_WINDOW": "65536"}, with_environment=True, in_compose=True
    )

    assert found.line == 5


def test_in_compose_the_file_in_use_is_the_one_with_the_values_of_the_process(
    tmp_path: Path,
) -> None:
    write(tmp_path, "LLM_MODE=ollama\nLLM_MODEL=qwen3:8b\n")
    write(tmp_path, "LLM_MODE=vllm\nLLM_MODEL=a/b\n", ".env.vllm")

    assert env_file_in_use(tmp_path, {"LLM_MODE": "vllm", "LLM_MODEL": "a/b"})[0] == ".env.vllm"
    assert env_file_in_use(tmp_path, {"LLM_MODE": "ollama", "LLM_MODEL": "qwen3:8b"})[0] == ".env"
    assert env_file_in_use(tmp_path, {"LLM_MODE": "none", "LLM_MODEL": "x"}) == (".env", "")


def test_in_compose_warnings_stop_nothing_and_errors_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD + "VLLM_LOGGING_LEVEL=DEBUG\n")
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("LLM_", "VLLM_", "OLLAMA_", "COMPOSE_", "API_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLM_MODE", "ollama")
    monkeypatch.setenv("LLM_MODEL", "qwen3:8b")

    assert main(["--in-compose"]) == 0

    monkeypatch.setenv("LLM_MODEL", "Qwen/Qwen3-8B")
    assert main(["--in-compose"]) == 2

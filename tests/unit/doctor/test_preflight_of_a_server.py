"""A profile that is typed on the command line: the preflight of its server is the one to notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.doctor.__main__ import main
from tests.unit.doctor.support import codes, doctor

OLLAMA = {"LLM_MODE": "ollama", "COMPOSE_PROFILES": "ollama", "OLLAMA_MODEL": "qwen3:8b"}
VLLM = {"LLM_MODE": "vllm", "VLLM_MODEL": "Qwen/Qwen3-8B"}


def said(values: dict[str, str], preflight_for: str = "") -> set[str]:
    found = doctor(
        "", environment=values, with_environment=True, in_compose=True, preflight_for=preflight_for
    )
    return codes([one for one in found if one.severity == "error"])


def test_a_typed_profile_of_another_server_than_the_mode_is_an_error_at_the_mode_s_line() -> None:
    text = "LLM_BACKEND=ollama\nCOMPOSE_PROFILES=${LLM_BACKEND}\n"
    values = {"LLM_BACKEND": "ollama", "COMPOSE_PROFILES": "ollama"}

    (found,) = doctor(
        text, environment=values, with_environment=True, in_compose=True, preflight_for="vllm"
    )

    assert (found.code, found.line, found.fix) == ("profile_against_mode", 1, "LLM_BACKEND=vllm")
    assert "profile vllm is being started" in found.what


def test_a_typed_profile_without_any_mode_is_one_too() -> None:
    assert said({}, "vllm") == {"profile_against_mode"}


def test_the_server_of_a_typed_profile_is_checked() -> None:
    assert said(VLLM, "vllm") == set()
    assert said(VLLM | {"VLLM_MODEL": "qwen3:8b"}, "vllm") == {"model_name_style"}


def test_the_common_preflight_does_not_guess_what_was_typed() -> None:
    assert said(VLLM) == set()


def test_ollama_started_because_nothing_was_chosen_is_noticed_by_its_own() -> None:
    assert said(VLLM, "ollama") == {"mode_without_server"}
    assert said({"LLM_MODE": "none"}, "ollama") == set()


def test_several_servers_at_once_are_named_in_the_profiles() -> None:
    both = OLLAMA | {"COMPOSE_PROFILES": "ollama,vllm", "VLLM_MODEL": "Qwen/Qwen3-8B"}

    assert said(both, "vllm") == set()


@pytest.mark.parametrize(("profile", "code"), [("ollama", 0), ("vllm", 2)])
def test_only_what_the_common_preflight_cannot_see_is_said_again(
    profile: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (OLLAMA | {"PREFLIGHT_FOR": profile}).items():
        monkeypatch.setenv(name, value)

    assert main(["--in-compose"]) == code
    assert ("see the service preflight" in capsys.readouterr().out) is (code == 0)

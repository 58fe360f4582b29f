"""How the file is written: what Compose refuses or reads otherwise than it looks."""

# A row of a table is one line.
# ruff: noqa: E501

from __future__ import annotations

import pytest

from cli.doctor.env_file import read_env_file
from tests.unit.doctor.support import OLLAMA, ROOT, VLLM, codes, doctor, mended, replaced

# sentence, line as it should be, line as it is, code
WRITTEN = [
    ("a name without its underscore", "LLM_MODE=ollama", "LLMMODE=ollama", "misspelt"),
    ("a name in small letters", "LLM_MODE=ollama", "llm_mode=ollama", "misspelt"),
    ("a name with a hyphen", "LLM_MODE=ollama", "LLM-MODE=ollama", "misspelt"),
    ("a Cyrillic letter in a name", "LLM_MODE=ollama", "LLM_MОDE=ollama", "misspelt"),
    ("a letter too few", "LLM_CONTEXT_WINDOW=8192", "LLM_CONTEXT_WINDW=8192", "misspelt"),
    ("a name of another program", "LLM_CONTEXT_WINDOW=8192", "OLLAMA_NUM_CTX=8192", "misspelt"),
    ("a name without its prefix", "LLM_CONTEXT_WINDOW=8192", "CONTEXT_WINDOW=8192", "misspelt"),
    ("a colon", "LLM_MODE=ollama", "LLM_MODE: ollama", "colon"),
    ("blanks around the equals sign", "LLM_MODE=ollama", "LLM_MODE = ollama", "space_around_equals"),
    ("a tab before the value", "LLM_MODE=ollama", "LLM_MODE=\tollama", "space_around_equals"),
    ("a blank in the name", "LLM_MODE=ollama", "LLM MODE=ollama", "space_in_name"),
    ("text for a line", "LLM_MODE=ollama", "LLM_MODE ollama", "space_in_name"),
    ("a quoted name", "LLM_MODE=ollama", '"LLM_MODE"=ollama', "character_in_name"),
    ("a quote not closed", "LLM_MODE=ollama", 'LLM_MODE="ollama', "unbalanced_quote"),
    ("text after the quote", "LLM_MODE=ollama", "LLM_MODE='ollama' now", "text_after_quote"),
    ("typographic quotes", "LLM_MODE=ollama", "LLM_MODE=“ollama”", "look_alike"),
    ("full-width digits", "LLM_CONTEXT_WINDOW=8192", "LLM_CONTEXT_WINDOW=８192", "look_alike"),
    ("a Cyrillic letter in a value", "LLM_MODEL=qwen3:8b", "LLM_MODEL=qwеn3:8b", "look_alike"),
    ("an invisible space", "LLM_MODEL=qwen3:8b", "LLM_MODEL=qwen3:\u200b8b", "look_alike"),
    ("a comment without its blank", "LLM_MODE=ollama", "LLM_MODE=ollama# mode", "comment_in_value"),
    ("a comment after a tab", "LLM_MODE=ollama", "LLM_MODE=ollama\t# mode", "comment_in_value"),
    ("a comment for a value", "LLM_CONTEXT_WINDOW=8192", "LLM_CONTEXT_WINDOW= # tokens", "comment_is_value"),
    ("an unknown variable in a value", "LLM_MODEL=qwen3:8b", "LLM_MODEL=${OLAMA_MODEL}", "undefined_interpolation"),
    ("a brace not closed", "LLM_MODEL=qwen3:8b", "LLM_MODEL=${LLM_MODE", "bad_interpolation"),
    ("a name alone", "LLM_CONTEXT_WINDOW=8192", "LLM_CONTEXT_WINDOW", "no_value"),
    ("a variable used above its line", "LLM_MODEL=qwen3:8b", "LLM_MODEL=${LATER:-qwen3:8b}\nLATER=qwen3:4b", "used_before_set"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("good", "broken", "code"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN]
)
def test_a_line_written_wrongly_is_named_once(good: str, broken: str, code: str) -> None:
    text, line = replaced(OLLAMA, good, broken)

    found = [finding for finding in doctor(text) if finding.line == line]

    assert [finding.code for finding in found] == [code]
    if "…" not in found[0].fix:
        assert code not in codes(doctor(mended(text, found[0])))


@pytest.mark.parametrize(
    "line",
    [
        "LLM_MODE=ollama # the mode",
        'LLM_MODE="ollama" # the mode',
        "LLM_MODE='ollama'",
        "LLM_MODE=ollama   ",
        "  LLM_MODE=ollama",
        "LLM_MODE=ollama\r",
        "MODE=ollama\nLLM_MODE=${MODE}",
        "LLM_MODE=${LLM_MODE:-ollama}",
        "LLM_MODE=ollama\nLLM_MODE=ollama",
        "LLM_MODE=ollama\nTZ=Europe/Moscow\nHTTP_PROXY=http://proxy:3128\nNVIDIA_DRIVER_CAPABILITIES=all",
        'LLM_MODE=ollama\nEMBED_QUERY_PREFIX="запрос: "',
        "LLM_MODE=ollama\nAPI_KEY='k$3fGh78Zq_not_interpolated'",
        "LLM_MODE=ollama\nAPI_KEY=k$$3fGh78Zq_written_twice",
        "LLM_MODE=ollama\n# LLMMODE=vllm",
    ],
)
def test_what_only_looks_odd_gives_nothing(line: str) -> None:
    assert doctor(replaced(OLLAMA, "LLM_MODE=ollama", line)[0]) == []


def test_a_variable_the_servers_know_but_no_container_gets_is_a_warning() -> None:
    text = VLLM.replace("LAST=", "VLLM_LOGGING_LEVEL=DEBUG")

    (finding,) = doctor(text)

    assert (finding.severity, finding.code, finding.action) == ("warning", "unknown", "remove")


def test_the_line_that_loses_is_named_where_one_variable_is_set_twice() -> None:
    text = OLLAMA.replace("LAST=", "LLM_CONTEXT_WINDOW=4096")

    (finding,) = doctor(text)

    assert (finding.code, finding.line, finding.action) == ("duplicate", 5, "remove")
    assert "line 6" in finding.what


def test_a_secret_set_twice_is_not_shown() -> None:
    key = "3f9c2b7e8d1a4c6f9b0e5d7a2c4f6b8e"
    text = OLLAMA.replace("LAST=", f"API_KEY={key}\nAPI_KEY={key[::-1]}")

    found = doctor(text)

    assert codes(found) == {"duplicate"}
    assert key not in found[0].what


def test_a_byte_order_mark_is_a_warning_and_hides_nothing() -> None:
    found = doctor("\ufeff" + OLLAMA.replace("LAST=\n", ""))

    assert [(finding.code, finding.line) for finding in found] == [("byte_order_mark", 1)]


def test_what_a_misspelt_line_means_is_judged_too() -> None:
    text, line = replaced(VLLM, "VLLM_TENSOR_PARALLEL_SIZE=1", "VLLM_TENSOR_PARALEL_SIZE=2")

    found = doctor(text)

    assert (line, "misspelt") in {(finding.line, finding.code) for finding in found}
    assert "too_few_gpus" in codes(found)


def test_a_misspelt_variable_that_others_repeat_is_one_finding() -> None:
    text = VLLM.replace("VLLM_MODEL=meta", "VLM_MODEL=meta")

    assert [(finding.line, finding.code) for finding in doctor(text)] == [(3, "misspelt")]


# What `docker compose config` 2.26 and 2.40 made of these lines.
READ_BY_COMPOSE = {
    "A= # comment": "# comment",
    "A=val # comment": "val",
    "A=val#x": "val#x",
    'A="q" # c': "q",
    "A=tab\t# c": "tab\t# c",
    "export A=1": "1",
    "A = spaced ": "spaced",
    "A=a$undefined": "a",
    "A=pa$$x": "pa$x",
    "A=$1x": "$1x",
    "A=x$": "x$",
    "B=val\nA=${Z:-${B}}": "val",
    "B=val\nA=${Z:+${B}}": "",
    "B=val\nA=${B:+yes}": "yes",
    "A: yaml": "yaml",
    'B=val\nA="$B y"': "val y",
    "B=val\nA='$B y'": "$B y",
    "A=  lead": "lead",
    "A=a\\nb": "a\\nb",
    "A=“x”": "“x”",
    "A=val\xa0": "val",
    'A="esc\\"x\\n"': 'esc"x\n',
    "A=it's": "it's",
    'A="x" y': "x",
    'A={"k": 1}': '{"k": 1}',
    "\ufeffA=1": "1",
    "A=1\r\nB=2": "1",
    "A=1\nA=2": "2",
    "A=1\nA": "1",
}


@pytest.mark.parametrize("text", READ_BY_COMPOSE)
def test_values_are_read_as_compose_reads_them(text: str) -> None:
    values = read_env_file(".env", text).values()

    assert values["A"].value == READ_BY_COMPOSE[text]


@pytest.mark.parametrize(
    "text", ["A B=1", "just text", '"A"=5', 'A="x', "A=${B", "A=${1}", "A=${B?no}"]
)
def test_reading_stops_where_compose_stops(text: str) -> None:
    file = read_env_file(".env", f"OK=1\n{text}\nNOT_READ=1\n")

    assert file.stopped is not None
    assert file.stopped.line == 2
    assert set(file.values()) == {"OK"}


def test_the_shell_wins_in_interpolation_as_it_does_in_compose() -> None:
    file = read_env_file(".env", "B=file\nA=$B\n", {"B": "shell"})

    assert file.values()["A"].value == "shell"


@pytest.mark.parametrize(
    "name",
    [".env.ollama", ".env.vllm", ".env.vllm-fp8", ".env.vllm-mig", ".env.llamacpp", "env.example"],
)
def test_the_shipped_files_miss_only_what_the_operator_must_fill_in(name: str) -> None:
    found = doctor((ROOT / name).read_text(encoding="utf-8"))

    assert codes(found) <= {"token_missing", "mig_missing"}
    assert all(finding.line is not None for finding in found)


@pytest.mark.parametrize("name", [".env.vllm", ".env.vllm-fp8"])
def test_the_shipped_files_say_the_same_with_the_file_of_their_own(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    assert doctor(text) == doctor(text, "docker-compose.vllm.yml")

"""The entrypoint of the vLLM containers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.core.deployment import VLLM_OPTIONS
from deploy.vllm_launch import (
    IMPOSSIBLE,
    OPTIONS,
    OTHER_VARIABLES,
    REMOVED_FLAGS,
    WrongVariableError,
    build_command,
    child_environment,
    given_command,
    main,
    shown,
)

SCRIPT = Path(__file__).parents[2] / "deploy" / "vllm_launch.py"
MODEL = {"VLLM_MODEL": "org/model"}
GOOD_VALUES = {
    "VLLM_GPU_MEMORY_UTILIZATION": "0.90",
    "VLLM_MAX_MODEL_LEN": "8192",
    "VLLM_MAX_NUM_SEQS": "256",
    "VLLM_MAX_NUM_BATCHED_TOKENS": "8192",
    "VLLM_TENSOR_PARALLEL_SIZE": "2",
    "VLLM_PIPELINE_PARALLEL_SIZE": "2",
    "VLLM_QUANTIZATION": "awq",
    "VLLM_KV_CACHE_DTYPE": "fp8",
    "VLLM_DTYPE": "bfloat16",
    "VLLM_ENABLE_PREFIX_CACHING": "true",
    "VLLM_ENABLE_CHUNKED_PREFILL": "true",
    "VLLM_ENFORCE_EAGER": "true",
    "VLLM_REASONING_PARSER": "qwen3",
    "VLLM_SPECULATIVE_CONFIG": '{"method": "ngram", "num_speculative_tokens": 3}',
    "VLLM_LORA_MODULES": "law=/models/law",
    "VLLM_EXTRA_ARGS": "--seed 7",
}


# `vllm serve --help=all` of 0.32 has these.
FLAGS_OF_VLLM = frozenset(
    """
    --gpu-memory-utilization --max-model-len --max-num-seqs --max-num-batched-tokens
    --tensor-parallel-size --pipeline-parallel-size --quantization --kv-cache-dtype --dtype
    --enable-prefix-caching --no-enable-prefix-caching --enable-chunked-prefill
    --no-enable-chunked-prefill --enforce-eager --reasoning-parser --speculative-config
    --lora-modules --enable-lora --served-model-name --host --port --runner
    """.split()
)


def command(environment: dict[str, str], *arguments: str) -> list[str]:
    return build_command(MODEL | environment, arguments, [])


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_the_table_covers_the_variables_of_the_deployment_and_no_others() -> None:
    ours = {name for option in OPTIONS for name in (option.variable, *option.aliases)}

    assert ours | OTHER_VARIABLES == VLLM_OPTIONS


def test_vllm_knows_every_flag_that_can_be_given() -> None:
    words = command(GOOD_VALUES | {"SERVED_MODEL_NAME": "short"}, "--runner", "pooling")
    off = command({"VLLM_ENABLE_PREFIX_CACHING": "no", "VLLM_ENABLE_CHUNKED_PREFILL": "no"})

    given = {word for word in (*words, *off) if word.startswith("--")} - {"--seed"}
    assert given <= FLAGS_OF_VLLM
    assert not given & set(REMOVED_FLAGS)


def test_without_options_only_the_model_and_the_address_are_given() -> None:
    assert shown(command({})) == "vllm serve org/model --host 0.0.0.0 --port 8000"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_an_option_that_is_set_gives_its_flag(option: object) -> None:
    words = command({option.variable: GOOD_VALUES[option.variable]})

    assert (option.flag or "--seed") in words


@pytest.mark.parametrize("name", sorted(VLLM_OPTIONS - {"VLLM_MODEL"}))
def test_an_empty_variable_leaves_its_flag_out(name: str) -> None:
    assert command({name: ""}) == command({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_GPU_MEMORY_UTILIZATION", "90"),
        ("VLLM_GPU_MEMORY_UTILIZATION", "0"),
        ("VLLM_GPU_MEM_UTIL", "1.5"),
        ("VLLM_MAX_MODEL_LEN", "8192 tokens"),
        ("VLLM_MAX_NUM_SEQS", "0"),
        ("VLLM_TENSOR_PARALLEL_SIZE", "two"),
        ("VLLM_QUANTIZATION", "none"),
        ("VLLM_ENFORCE_EAGER", "maybe"),
        ("VLLM_ENABLE_FP8", "fp8"),
        ("VLLM_ENABLE_PREFIX_CACHING", "2"),
        ("VLLM_SPECULATIVE_CONFIG", "{model: x}"),
        ("VLLM_SPECULATIVE_CONFIG", "[1]"),
        ("VLLM_NUM_SPECULATIVE_TOKENS", "3"),
        ("VLLM_LORA_MODULES", "/models/law"),
        ("VLLM_EXTRA_ARGS", "--x 'open"),
    ],
)
def test_a_value_that_cannot_work_is_one_line_with_the_variable_s_name(
    name: str, value: str
) -> None:
    with pytest.raises(WrongVariableError, match=name) as caught:
        command({name: value})

    assert "\n" not in str(caught.value)


def test_an_alias_that_contradicts_its_name_is_refused() -> None:
    with pytest.raises(WrongVariableError, match="VLLM_MAX_MODEL_LEN=8192 and MAX_MODEL_LEN=4096"):
        command({"VLLM_MAX_MODEL_LEN": "8192", "MAX_MODEL_LEN": "4096"})


def test_an_alias_that_says_the_same_is_given_once() -> None:
    words = command({"VLLM_GPU_MEMORY_UTILIZATION": "0.65", "VLLM_GPU_MEM_UTIL": "0.65"})

    assert words.count("--gpu-memory-utilization") == 1


def test_a_model_that_is_not_named_is_asked_for_by_the_operator_s_variable() -> None:
    with pytest.raises(WrongVariableError, match="EMBED_MODEL is not set"):
        build_command({"VLLM_MODEL": "", "MODEL_VARIABLE": "EMBED_MODEL"}, [], [])


def test_the_model_answers_to_its_served_name_and_to_its_id() -> None:
    words = command({"SERVED_MODEL_NAME": "qwen3-8b"})

    assert "--served-model-name qwen3-8b org/model" in " ".join(words)


def test_a_toggle_that_is_off_says_so() -> None:
    words = command({"VLLM_ENABLE_PREFIX_CACHING": "false", "VLLM_ENFORCE_EAGER": "false"})

    assert "--no-enable-prefix-caching" in words
    assert "--enforce-eager" not in words


def test_fp8_switched_on_is_said_and_done() -> None:
    notes: list[str] = []

    words = build_command(MODEL | {"VLLM_ENABLE_FP8": "true"}, [], notes)

    assert after(words, "--quantization") == "fp8"
    assert notes == ["VLLM_ENABLE_FP8=true means --quantization fp8"]


def test_a_quantization_that_is_named_wins_over_the_fp8_switch() -> None:
    notes: list[str] = []

    words = build_command(MODEL | {"VLLM_ENABLE_FP8": "1", "VLLM_QUANTIZATION": "awq"}, [], notes)

    assert words.count("--quantization") == 1
    assert after(words, "--quantization") == "awq"
    assert "VLLM_ENABLE_FP8 is left out" in notes[0]


def test_a_draft_model_becomes_the_speculative_config() -> None:
    words = command({"VLLM_SPECULATIVE_MODEL": "org/draft", "VLLM_NUM_SPECULATIVE_TOKENS": "4"})

    assert json.loads(after(words, "--speculative-config")) == {
        "model": "org/draft",
        "num_speculative_tokens": 4,
    }


def test_a_draft_model_beside_a_whole_config_is_refused() -> None:
    with pytest.raises(WrongVariableError, match="VLLM_SPECULATIVE_CONFIG"):
        command({"VLLM_SPECULATIVE_MODEL": "a", "VLLM_SPECULATIVE_CONFIG": "{}"})


def test_adapters_are_switched_on_and_listed() -> None:
    words = command({"VLLM_LORA_MODULES": "law=/models/law, med=/models/med"})

    assert "--enable-lora --lora-modules law=/models/law med=/models/med" in " ".join(words)


def test_free_arguments_are_split_as_a_shell_does_and_the_service_s_flags_come_last() -> None:
    words = command({"VLLM_EXTRA_ARGS": "--chat-template '/a b.jinja'"}, "--runner", "pooling")

    assert words[-4:] == ["--chat-template", "/a b.jinja", "--runner", "pooling"]


@pytest.mark.parametrize("flag", sorted(REMOVED_FLAGS))
def test_a_flag_that_stops_vllm_is_refused_with_what_replaces_it(flag: str) -> None:
    with pytest.raises(WrongVariableError, match=f"{flag}, which vLLM no longer knows"):
        command({"VLLM_EXTRA_ARGS": f"{flag}=1"})


def test_vllm_is_not_given_variables_it_would_warn_about() -> None:
    kept = child_environment(
        MODEL | GOOD_VALUES | {"VLLM_API_KEY": "k", "VLLM_NO_USAGE_STATS": "1"}
    )

    assert kept == {"VLLM_API_KEY": "k", "VLLM_NO_USAGE_STATS": "1"}


def test_the_key_of_vllm_stays_out_of_the_command() -> None:
    assert "secret" not in " ".join(command({"VLLM_API_KEY": "secret"}))


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_either_name_of_the_token_works(name: str) -> None:
    assert child_environment({name: "hf_1"}) == {"HF_TOKEN": "hf_1"}


@pytest.mark.parametrize(("text", "kept"), [("hf_1\n", {"HF_TOKEN": "hf_1"}), ("", {})])
def test_a_token_may_be_a_file_and_an_empty_file_is_none(
    tmp_path: Path, text: str, kept: dict[str, str]
) -> None:
    path = tmp_path / "token"
    path.write_text(text)

    assert child_environment({"HF_TOKEN_FILE": str(path), "HF_TOKEN": ""}) == kept


def test_two_different_tokens_are_refused() -> None:
    with pytest.raises(WrongVariableError, match="HF_TOKEN and HUGGING_FACE_HUB_TOKEN") as caught:
        child_environment({"HF_TOKEN": "hf_1", "HUGGING_FACE_HUB_TOKEN": "hf_2"})

    assert "hf_1" not in str(caught.value)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongVariableError, match=r"HF_TOKEN_FILE=.*cannot be read"):
        child_environment({"HF_TOKEN_FILE": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    "words", [["vllm", "--api-key", "s3cret", "--x"], ["vllm", "--hf-token=s3cret", "--x"]]
)
def test_what_is_printed_hides_secrets(words: list[str]) -> None:
    printed = shown(words)

    assert "s3cret" not in printed
    assert printed.endswith("--x")


@pytest.mark.parametrize(
    ("words", "run"),
    [("python3 -V", "python3 -V"), ("huggingface-cli download m", "hf download m")],
)
def test_a_command_runs_as_it_stands_but_for_the_hub_s_old_name(words: str, run: str) -> None:
    assert given_command(words.split(), {"hf": "/bin/hf"}.get) == run.split()


def test_a_wrong_variable_ends_with_code_two_and_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main([], MODEL | {"VLLM_MAX_NUM_SEQS": "many"})

    assert code == IMPOSSIBLE
    assert capsys.readouterr().err == (
        "vllm_launch: VLLM_MAX_NUM_SEQS=many must be a whole number from 1\n"
    )


def test_the_script_becomes_vllm_with_its_flags(tmp_path: Path) -> None:
    vllm = tmp_path / "vllm"
    vllm.write_text('#!/bin/sh\necho "$@" "token=$HF_TOKEN" "len=$VLLM_MAX_MODEL_LEN"\n')
    vllm.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "VLLM_MODEL": "org/model",
        "VLLM_MAX_MODEL_LEN": "32k",
        "HUGGING_FACE_HUB_TOKEN": "hf_1",
    }

    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--runner", "pooling"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.strip() == (
        "serve org/model --host 0.0.0.0 --port 8000 --max-model-len 32k --runner pooling "
        "token=hf_1 len="
    )
    assert "hf_1" not in ended.stderr

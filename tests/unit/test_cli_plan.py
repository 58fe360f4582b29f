from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from cli.plan import main

LLAMA = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 8192, "tie_word_embeddings": False,
}  # fmt: skip


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_fits_exits_with_zero_and_prints_the_env_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--gpu", "RTX PRO 6000 96GB", "--model", "Qwen/Qwen3-32B"])

    out = capsys.readouterr().out
    assert code == 0
    assert "FITS" in out
    assert "VLLM_MAX_MODEL_LEN=40960" in out
    assert "2g.48gb" in out


def test_what_does_not_fit_exits_with_two_and_says_what_would(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--gpu", "3090", "--model", "Qwen/Qwen3-14B", "--context", "8192"])

    out = capsys.readouterr().out
    assert code == 2
    assert "missing" in out
    assert "--model Qwen/Qwen3-14B-AWQ" in out


def test_a_tight_one_exits_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(capsys, "--gpu", "h100", "--model", "Qwen/Qwen3-32B", "--context", "24576")

    assert code == 1
    assert found["verdict"] == "tight"


def test_json_has_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(
        capsys,
        *("--gpu", "A10", "--model", "Qwen/Qwen2.5-7B-Instruct-AWQ", "--concurrency", "4"),
    )

    assert code == 0
    assert found["kv_bytes_per_token"] == 57_344
    for key in ("weights_gib", "kv_budget_gib", "max_context"):
        assert found[key]["low"] <= found[key]["high"]
    assert found["max_context"]["high"] == 32_768
    assert found["concurrency"] == 4


def test_two_models_get_slices_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(
        capsys,
        *("--gpu", "RTX PRO 6000 96GB", "--context", "16384"),
        *("--model", "Qwen/Qwen3-14B", "--model", "Qwen/Qwen3-8B-AWQ"),
    )

    assert code == 0
    assert found["slice_profiles"] == ["2g.48gb", "1g.24gb"]
    assert "sudo nvidia-smi mig -i 0 -cgi 2g.48gb,1g.24gb -C" in found["commands"]
    assert "VLLM_MEDIUM_MODEL=Qwen/Qwen3-14B" in found["plans"][0]["env"]
    assert "VLLM_SMALL_MODEL=Qwen/Qwen3-8B-AWQ" in found["plans"][1]["env"]


def test_two_models_on_a_card_without_slices_share_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = answer(
        capsys,
        *("--gpu", "L40S", "--context", "8192"),
        *("--model", "Qwen/Qwen3-8B-AWQ", "--model", "Qwen/Qwen2.5-7B-Instruct-AWQ"),
    )

    assert code == 0
    assert sum(one["gpu_memory_utilization"] for one in found["plans"]) < 1


def test_a_named_slice_is_planned_with_what_it_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = answer(
        capsys, "--gpu", "RTX PRO 6000", "--slice", "1g.24gb", "--model", "Qwen/Qwen3-14B"
    )

    assert code == 2
    assert found["plans"][0]["gpu_memory_gib"] == 23.12
    assert any("2g.48gb" in one["change"] for one in found["plans"][0]["what_would_fit"])


def test_gpus_alone_means_tensor_parallelism(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = answer(
        capsys, "--gpu", "A100-80GB", "--gpus", "4", "--model", "meta-llama/Llama-3.3-70B-Instruct"
    )

    assert found["tensor_parallel"] == 4
    assert "VLLM_GPU_COUNT=4" in found["env"]


def test_a_local_configuration_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA), encoding="utf-8")

    code, found = answer(capsys, "--gpu", "L40S", "--model", str(config))

    assert code == 0
    assert found["kv_bytes_per_token"] == 131_072
    assert found["weights_gib"]["likely"] == pytest.approx(14.96, abs=0.01)


def write_safetensors(path: Path, shape: list[int]) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def test_weights_beside_the_configuration_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    for number in (1, 2):
        write_safetensors(tmp_path / f"model-{number}.safetensors", [1 << 15, 1 << 16])

    _, found = answer(capsys, "--gpu", "L40S", "--model", str(tmp_path))

    assert found["weights_gib"]["likely"] == pytest.approx(8.0)


def test_the_index_of_the_weights_is_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    index = {"metadata": {"total_size": 5 * (1 << 30)}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")

    _, found = answer(capsys, "--gpu", "L40S", "--model", str(tmp_path))

    assert found["weights_gib"]["likely"] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gpu", "RTX 9999", "--model", "Qwen/Qwen3-8B"), "--gpu-memory"),
        (("--gpu", "h100", "--model", "nobody/knows-this"), "config.json"),
        (("--gpu", "h100", "--model", "./missing/config.json"), "There is no file"),
        (("--gpu", "h100", "--model", "Qwen/Qwen3-8B", "--tensor-parallel", "3"), "heads"),
        (
            ("--gpu", "h100", "--gpus", "2", "--tensor-parallel", "4", "--model", "Qwen/Qwen3-8B"),
            "--gpus says 2",
        ),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = answer(capsys, *arguments)

    assert code == 2
    assert found["verdict"] == "unknown"
    assert words in found["error"]


def test_an_unknown_card_is_planned_by_its_memory(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(capsys, "--gpu-memory", "23.5", "--model", "Qwen/Qwen3-8B-AWQ")

    assert code == 0
    assert found["gpu_memory_gib"] == 23.5


def test_what_a_log_said_is_taken_instead_of_the_estimate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, found = answer(
        capsys,
        *("--gpu", "4090", "--kv-cache-memory", "1.87", "--model", "Qwen/Qwen2.5-14B-Instruct"),
    )

    assert found["max_context"]["likely"] == pytest.approx(10_224, rel=0.005)


def test_the_name_of_the_old_guides_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--gpu", "RTX 6000 Ada (Blackwell) 96GB", "--model", "Qwen/Qwen3-8B"])

    assert "two cards" in capsys.readouterr().out

"""The planner's verdict as a finding: which card, which line, what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.core.gpus import find_gpu
from cli.doctor.findings import Finding
from cli.doctor.host_cards import cards_of, named_cards
from cli.doctor.host_probe import Host
from cli.doctor.load import load
from cli.doctor.rules.memory import check_cards
from cli.nvidia import GpuState, parse_list
from tests.unit.doctor.support import MIG, VLLM, source_of

H100_SLICES = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57f032-34ab-a064-c37c-7a4f75601cc5)
  MIG 3g.40gb     Device  0: (UUID: MIG-377e0049-554c-540b-93c6-d0976f8426cb)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39aa248-6f1b-5769-b119-8d650bb34b27)
"""


def on(gpu: str, text: str) -> list[Finding]:
    configuration = load(source_of(text)).configuration
    return list(check_cards(configuration, named_cards(configuration, find_gpu(gpu).gpu)))


def with_values(text: str, **values: str) -> str:
    lines = [line for line in text.splitlines() if line.split("=")[0] not in values]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n"


@pytest.mark.parametrize("gpu", ["RTX PRO 6000 96GB", "H100 80GB", "A100 40GB"])
def test_a_model_that_fits_gives_nothing(gpu: str) -> None:
    assert on(gpu, VLLM) == []


def test_a_context_that_does_not_fit_names_its_line_and_the_largest_that_does() -> None:
    text = with_values(VLLM, VLLM_MAX_MODEL_LEN="131072", VLLM_GPU_MEMORY_UTILIZATION="0.90")

    (found,) = on("RTX 4090", text)

    assert (found.severity, found.code) == ("error", "does_not_fit")
    assert text.splitlines()[(found.line or 0) - 1] == "VLLM_MAX_MODEL_LEN=131072"
    shorter = int(found.fix.removeprefix("VLLM_MAX_MODEL_LEN="))
    assert 8192 < shorter < 131072
    assert on("RTX 4090", with_values(text, VLLM_MAX_MODEL_LEN=str(shorter))) == []


def test_weights_that_do_not_fit_name_the_model_with_fewer_bits() -> None:
    text = with_values(VLLM, VLLM_MODEL="Qwen/Qwen3-32B", VLLM_GPU_MEMORY_UTILIZATION="0.92")

    (found,) = on("RTX 5090", text)

    assert found.code == "does_not_fit"
    assert found.fix == "VLLM_MODEL=Qwen/Qwen3-32B-AWQ"


def test_what_lies_within_the_error_of_the_estimate_is_a_warning() -> None:
    text = with_values(
        VLLM,
        VLLM_MODEL="neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8",
        VLLM_KV_CACHE_DTYPE="fp8",
        VLLM_MAX_MODEL_LEN="16384",
        VLLM_GPU_MEMORY_UTILIZATION="0.95",
    )

    (found,) = on("H100 80GB", text)

    assert (found.severity, found.code) == ("warning", "tight_memory")


def test_flags_that_move_memory_leave_the_question_open() -> None:
    text = with_values(VLLM, VLLM_EXTRA_ARGS="--cpu-offload-gb 40")

    assert on("T4", text) == []


def test_a_pooling_server_with_too_small_a_share_names_the_share() -> None:
    text = with_values(
        VLLM,
        COMPOSE_PROFILES="vllm,embedding",
        EMBED_PROVIDER="openai",
        EMBED_MODEL="BAAI/bge-m3",
        EMBEDDING_GPU_MEMORY_UTILIZATION="0.02",
    )

    found = [one for one in on("RTX 4090", text) if "EMBEDDING" in one.fix]

    assert [one.code for one in found] == ["does_not_fit"]
    assert text.splitlines()[(found[0].line or 0) - 1].startswith("EMBEDDING_GPU_MEMORY")


def test_each_server_is_planned_for_its_own_slice_of_this_machine() -> None:
    text = with_values(
        MIG,
        VLLM_MEDIUM_MIG_UUID="MIG-f39aa248-6f1b-5769-b119-8d650bb34b27",
        VLLM_SMALL_MIG_UUID="MIG-377e0049-554c-540b-93c6-d0976f8426cb",
    )
    configuration = load(source_of(text)).configuration

    cards = cards_of(Host(gpus=parse_list(H100_SLICES)), configuration)
    found = list(check_cards(configuration, cards))

    assert {name: round(gpu.memory_gib) for name, gpu in cards.items()} == {
        "vllm-medium": 10,
        "vllm-small": 40,
    }
    assert [one.code for one in found] == ["does_not_fit"]
    assert "gpt-oss-20b" in found[0].what


def test_the_smallest_of_the_cards_that_are_used_decides() -> None:
    card = GpuState(0, "GPU-a", "NVIDIA H100 80GB HBM3", 81559.0, 0.0, "580.65.06", mig=False)
    small = replace(card, index=1, uuid="GPU-b", name="NVIDIA GeForce RTX 4090", total_mib=24564.0)
    text = with_values(VLLM, VLLM_GPU_COUNT="2", VLLM_TENSOR_PARALLEL_SIZE="2")
    configuration = load(source_of(text)).configuration

    cards = cards_of(Host(states=(card, small)), configuration)

    assert cards["llm-vllm"].name.startswith("RTX 4090")


def test_a_card_nobody_knows_is_taken_by_its_memory() -> None:
    card = GpuState(0, "GPU-a", "NVIDIA Foo 9000", 24576.0, 0.0, "580.65.06", mig=False)
    configuration = load(source_of(VLLM)).configuration

    cards = cards_of(Host(states=(card,)), configuration)

    assert cards["llm-vllm"].memory_gib == pytest.approx(23.6)

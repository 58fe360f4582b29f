"""The planner's numbers against what servers logged, each with where it was read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.core.gpus import find_gpu
from backend.core.memory_kv import Parallel, kv_layout
from backend.core.memory_model import GIB
from backend.core.memory_overhead import activations
from backend.core.memory_plan import PlanOptions, plan
from backend.core.memory_weights import weights
from tests.unit.planning import known, planned, token_bytes


# What public logs of vLLM say; each with where it was read.
@pytest.mark.parametrize(
    ("model", "layout", "seen"),
    [
        # gpu-memory notes of the project, from logs of DeepSeek servers
        ("deepseek-ai/DeepSeek-R1", {"tensor": 8}, 70_272),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", {}, 31_104),
        ("deepseek-ai/DeepSeek-V2-Lite-Chat", {"pipeline": 2}, 14 * 576 * 2),
        # the V0 engine, four GPUs: sliding layers in full
        ("google/gemma-3-27b-it", {"tensor": 4}, 126_976),
        # vllm-project/vllm#10517: 1,952 blocks of 16 in 3.81 GiB
        ("meta-llama/Llama-3.1-8B-Instruct", {}, 3.81 * GIB / 1952 / 16),
        # vLLM issue on EAGLE with Llama 3.1 8B, H100: 410,128 tokens in 51.63 GiB
        ("meta-llama/Llama-3.1-8B-Instruct", {"draft": 1}, 51.63 * GIB / 410_128),
        # vllm-project/vllm#21348: 178,880 tokens in 8.11 GiB, four H100
        ("Qwen/Qwen3-235B-A22B-FP8", {"tensor": 4}, 8.11 * GIB / 178_880),
        # eight L40S, tensor parallel 4: 238,208 tokens in 10.65 GiB
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", {"tensor": 4}, 10.65 * GIB / 238_208),
        # four L40S: 1,037,152 tokens in 23.74 GiB
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", {"tensor": 4}, 23.74 * GIB / 1_037_152),
        # vllm-project/vllm#34076: 24.0 GiB for 262,144 tokens
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", {}, 24.0 * GIB / 262_144),
        # 149,712 tokens in 8.0 GiB on a 16 GB card
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", {}, 8.0 * GIB / 149_712),
        # 4.38 GiB for 40,960 tokens
        ("Qwen/Qwen3-0.6B", {}, 4.38 * GIB / 40_960),
        # 4.00 GiB for 131,072 tokens
        ("meta-llama/Llama-3.2-1B-Instruct", {}, 4.00 * GIB / 131_072),
        # 3.0 GiB for 16,384 tokens
        ("Qwen/Qwen2.5-14B-Instruct", {}, 3.0 * GIB / 16_384),
        # 1,353 blocks in 2.64 GiB, a T4
        ("unsloth/meta-llama-3.1-8b-instruct-bnb-4bit", {}, 2.64 * GIB / 1353 / 16),
        # 366,880 tokens in 33.59 GiB (its language model is that of Qwen3-30B-A3B)
        ("Qwen/Qwen3-30B-A3B", {}, 33.59 * GIB / 366_880),
    ],
)
def test_bytes_of_a_token_are_those_of_the_log(
    model: str, layout: dict[str, int], seen: float
) -> None:
    assert token_bytes(model, **layout) == pytest.approx(seen, rel=0.015)


@pytest.mark.parametrize(
    ("model", "kv_gib", "in_flight", "window", "estimated"),
    [
        # "the estimated maximum model length is …" and what was available
        ("Qwen/Qwen3-0.6B", 1.31, 2048, 40960, 12_288),
        ("meta-llama/Llama-3.2-1B-Instruct", 0.65, 2048, 131072, 21_440),
        ("Qwen/Qwen2.5-7B-Instruct", 6.11, 2048, 118000, 114_432),
        ("Qwen/Qwen2.5-14B-Instruct", 1.87, 2048, 16384, 10_224),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", 3.18, 2048, 262144, 34_736),
        ("google/gemma-4-26B-A4B-it", 4.91, 4096, 262144, 205_984),
    ],
)
def test_the_longest_sequence_is_the_one_vllm_estimates(
    model: str, kv_gib: float, in_flight: int, window: int, estimated: int
) -> None:
    longest = kv_layout(known(model), Parallel(), 2).longest(kv_gib, in_flight)

    assert min(longest, window) == pytest.approx(estimated, rel=0.01)


@pytest.mark.parametrize(
    ("model", "kv_gib", "tokens", "options", "seen"),
    [
        # noonghunna/club-3090#612: an RTX 5090, fp8 cache
        ("Qwen/Qwen3.6-35B-A3B", 5.98, 131_072, {"element": 1}, 4.33),
        # two H200, vLLM 0.11
        (
            "Qwen/Qwen3-Next-80B-A3B-Instruct",
            47_878_721_024 / GIB,
            262_144,
            {"tensor": 2},
            14.77,
        ),
        # one MTP layer, 16-bit cache, RTX 3090
        ("Qwen/Qwen3.6-27B", 17.25, 131_072, {"draft": 1}, 1.95),
        # mitchross/talos-argocd-proxmox#1995: two RTX 3090, fp8 cache, a model of the same shape
        ("Qwen/Qwen3.6-27B", 4.99, 131_072, {"element": 1, "tensor": 2}, 2.31),
        # a small instance of Qwen2.5
        ("Qwen/Qwen2.5-1.5B-Instruct", 0.56, 20_992, {}, 1.0),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 8.0, 32_768, {}, 4.57),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 23.74, 32_768, {"tensor": 4}, 31.65),
    ],
)
def test_sequences_at_once_are_those_of_the_log(
    model: str, kv_gib: float, tokens: int, options: dict[str, int], seen: float
) -> None:
    asked = known(model).with_draft(options.get("draft", 0))
    layout = kv_layout(asked, Parallel(options.get("tensor", 1)), options.get("element", 2))

    assert layout.concurrency(kv_gib, tokens, 2048) == pytest.approx(seen, rel=0.015)


def test_gemma_3_is_seven_groups_of_ten_layers_as_in_the_log() -> None:
    layout = kv_layout(known("google/gemma-3-27b-it"), Parallel(), 2)

    assert sum(group.count for group in layout.groups) == 7
    assert 89_994 / layout.sequence_blocks(4096, 8192) == pytest.approx(50.05, abs=0.005)


@pytest.mark.parametrize(
    ("name", "layers"), [("openai/gpt-oss-20b", 12), ("openai/gpt-oss-120b", 18)]
)
def test_gpt_oss_is_two_groups(name: str, layers: int) -> None:
    layout = kv_layout(known(name), Parallel(), 2)

    assert [group.count for group in layout.groups] == [1, 1]
    assert layout.block_bytes == 16 * layers * 2 * 8 * 64 * 2


def test_gemma_4_needs_for_its_window_what_the_server_asked_for() -> None:
    layout = kv_layout(known("google/gemma-4-26B-A4B-it"), Parallel(), 2)

    assert layout.sequence_gib(262_144, 4096) == pytest.approx(5.98, abs=0.005)


def test_windows_kept_in_full_take_what_every_layer_takes() -> None:
    in_full = planned("google/gemma-3-27b-it", "h100", hybrid=False)

    assert in_full.layout.lasting_token_bytes == in_full.layout.token_bytes == 507_904
    assert in_full.layout.block_bytes == 16 * 507_904


def test_local_chunks_may_be_kept_in_full_by_older_builds() -> None:
    name, four = "meta-llama/Llama-4-Scout-17B-16E-Instruct", Parallel(4)

    any_build = planned(name, "h100", parallel=four, context=200_000)
    new_build = planned(name, "h100", parallel=four, context=200_000, version=(0, 32))

    assert any_build.max_context.low < new_build.max_context.low / 2


def test_a_draft_layer_does_not_double_the_groups_of_a_hybrid() -> None:
    layout = kv_layout(known("openai/gpt-oss-20b").with_draft(1), Parallel(), 2)

    assert sum(group.count for group in layout.groups) == 2
    assert layout.block_bytes == 16 * 13 * 2 * 8 * 64 * 2


# GiB on each GPU after loading, from logs.
@pytest.mark.parametrize(
    ("model", "tensor", "seen_gib"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 1, 14.99),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 2, 7.48),  # vllm-project/vllm#10511
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", 2, 13.95),  # vllm-project/vllm#13061
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", 8, 57.75),  # vllm-project/vllm#6746
        ("unsloth/meta-llama-3.1-8b-instruct-bnb-4bit", 1, 5.35),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1, 2.89),
        ("Qwen/Qwen3-30B-A3B", 2, 28.48),
        ("Qwen/Qwen3-32B", 1, 61.03),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 1, 5.2),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", 1, 9.4),
        ("Qwen/Qwen2.5-32B-Instruct-AWQ", 1, 18.1),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", 1, 37.0),
        ("openai/gpt-oss-20b", 1, 13.3),
        ("openai/gpt-oss-120b", 1, 64.4),
        ("openai/gpt-oss-120b", 1, 66.0),
    ],
)
def test_weights_are_within_the_range(model: str, tensor: int, seen_gib: float) -> None:
    found = weights(known(model), None, Parallel(tensor))

    assert found.low * 0.99 <= seen_gib <= found.high * 1.01
    assert found.likely == pytest.approx(seen_gib, rel=0.03)


# Peak of the activations in GiB that servers logged ("Actual usage is …").
@pytest.mark.parametrize(
    ("model", "gpu", "options", "seen_gib"),
    [
        ("Qwen/Qwen3-8B", "A6000", {"version": (0, 11)}, 1.40),
        ("Qwen/Qwen3-8B-FP8", "4090", {"version": (0, 10)}, 1.40),
        (
            "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
            "L40S",
            {"version": (0, 10), "parallel": Parallel(4)},
            1.40,
        ),
        (
            "Qwen/Qwen3-Next-80B-A3B-Instruct",
            "H200",
            {"version": (0, 11), "parallel": Parallel(2)},
            5.58,
        ),
    ],
)
def test_activations_are_those_of_the_log(
    model: str, gpu: str, options: dict[str, Any], seen_gib: float
) -> None:
    asked = PlanOptions(**options)
    card = find_gpu(gpu).gpu

    found = activations(
        known(model), asked.parallel, card.batched_tokens, card.sequences, asked.version
    )

    assert found.likely == pytest.approx(seen_gib, abs=0.15)


# Card, utilization, what the server logged as available for its cache.
@pytest.mark.parametrize(
    ("model", "memory_gib", "options", "available_gib"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 15.99, {"utilization": 0.9}, 8.0),
        (
            "Qwen/Qwen3-8B-FP8",
            23.53,
            {"utilization": 0.8, "version": (0, 10)},
            9_232_221_491 / GIB,
        ),
        (
            "Qwen/Qwen3-Coder-30B-A3B-Instruct",
            44.42,
            {"utilization": 0.9, "parallel": Parallel(4)},
            23.74,
        ),
        (
            "Qwen/Qwen3-Next-80B-A3B-Instruct",
            139.81,
            {"utilization": 0.9, "parallel": Parallel(2), "version": (0, 11)},
            47_878_721_024 / GIB,
        ),
        (
            "Qwen/Qwen3-235B-A22B-FP8",
            79.2,
            {"utilization": 0.9, "parallel": Parallel(4), "version": (0, 9)},
            8.11,  # vllm-project/vllm#21348
        ),
        (
            "openai/gpt-oss-120b",
            79.2,
            {"utilization": 0.95, "batched_tokens": 1024, "version": (0, 11)},
            1.71,  # vllm-project/vllm#27508, refused to start
        ),
    ],
)
def test_what_a_server_had_for_its_cache_is_within_the_range(
    model: str, memory_gib: float, options: dict[str, Any], available_gib: float
) -> None:
    gpu = replace(find_gpu("h100" if memory_gib > 70 else "3090").gpu, memory_gib=memory_gib)

    budget = plan(known(model), gpu, PlanOptions(**options)).budget
    any_version = plan(known(model), gpu, PlanOptions(**(options | {"version": None}))).budget

    assert budget.low <= available_gib <= budget.high
    assert any_version.low <= available_gib <= any_version.high

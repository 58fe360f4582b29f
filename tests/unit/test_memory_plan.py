from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import ConfigurationError, NotFound
from backend.core.gpus import CARDS
from backend.core.memory_advice import env_lines, fitting_context, suggestions
from backend.core.memory_kv import Parallel, kv_layout
from backend.core.memory_plan import PlanOptions, Verdict, plan
from tests.unit.planning import CATALOGUE, NAMES, known, planned, token_bytes


# Servers that refused to start must never be said to fit.
@pytest.mark.parametrize(
    ("model", "gpu", "options"),
    [
        ("openai/gpt-oss-120b", "H100", {"utilization": 0.95, "batched_tokens": 1024}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "4090", {"parallel": Parallel(2)}),
        ("Qwen/Qwen3-32B", "H100", {"utilization": 0.9}),
        ("meta-llama/Llama-3.1-8B-Instruct", "3090", {}),
        ("meta-llama/Llama-3.1-70B-Instruct", "H100", {}),
        ("Qwen/Qwen2.5-32B-Instruct-AWQ", "A10", {}),
        ("meta-llama/Llama-3.1-8B-Instruct", "T4", {"context": 4096}),
        ("Qwen/Qwen3-14B", "RTX PRO 6000 1g.24gb", {"context": 8192}),
    ],
)
def test_a_server_that_would_not_start_is_not_said_to_fit(
    model: str, gpu: str, options: dict[str, Any]
) -> None:
    assert planned(model, gpu, **options).verdict is not Verdict.FITS


@pytest.mark.parametrize(
    ("model", "gpu", "options"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "A10", {}),
        ("meta-llama/Llama-3.1-8B-Instruct", "L40S", {"context": 32768}),
        ("Qwen/Qwen3-32B", "RTX PRO 6000 96GB", {}),
        ("openai/gpt-oss-20b", "RTX PRO 6000 1g.24gb", {"context": 32768}),
        ("meta-llama/Llama-3.3-70B-Instruct", "A100-80GB", {"parallel": Parallel(4)}),
    ],
)
def test_what_servers_do_serve_fits(model: str, gpu: str, options: dict[str, Any]) -> None:
    assert planned(model, gpu, **options).verdict is Verdict.FITS


@given(st.sampled_from(NAMES), st.integers(1, 200_000), st.integers(1, 200_000))
def test_a_longer_sequence_never_takes_less(name: str, one: int, other: int) -> None:
    layout = kv_layout(known(name), Parallel(), 2)
    short, long = sorted((one, other))

    assert layout.sequence_blocks(short, 2048) <= layout.sequence_blocks(long, 2048)


@given(st.sampled_from(NAMES), st.floats(0.01, 400))
def test_the_longest_sequence_fits_and_one_block_more_does_not(name: str, gib: float) -> None:
    layout = kv_layout(known(name), Parallel(), 2)

    longest = layout.longest(gib, 2048)

    if longest:
        assert layout.sequence_blocks(longest, 2048) <= layout.blocks(gib)
    if longest < 1 << 26:
        step = min(group.block_tokens for group in layout.groups if not group.states)
        assert layout.sequence_blocks(longest + step, 2048) > layout.blocks(gib)


@given(st.sampled_from(NAMES), st.sampled_from([1, 2, 4, 8]))
def test_an_fp8_cache_is_half_and_more_gpus_never_hold_more_of_a_token(
    name: str, tensor: int
) -> None:
    full = token_bytes(name, tensor=tensor)

    assert token_bytes(name, tensor=tensor, element=1) * 2 == full
    assert full <= token_bytes(name)


@given(st.sampled_from(NAMES), st.sampled_from([card for card in CARDS if card.mig]))
def test_a_larger_slice_never_holds_less(name: str, card: Any) -> None:
    by_size = sorted(card.mig, key=lambda one: one.usable_gib)
    options = PlanOptions(context=4096, batched_tokens=2048, sequences=64)

    budgets = [plan(known(name), card.slice(one), options).budget.likely for one in by_size]

    assert budgets == sorted(budgets)


@given(st.sampled_from(NAMES), st.integers(256, 4096))
def test_ranges_are_in_order(name: str, context: int) -> None:
    outcome = planned(name, "h100", context=context)

    for one in (outcome.weights, outcome.overhead, outcome.budget, outcome.max_context):
        assert one.low <= one.likely <= one.high


def test_without_a_context_the_models_whole_window_is_asked_for() -> None:
    outcome = planned("meta-llama/Llama-3.1-8B-Instruct", "3090")

    assert outcome.context == 131_072
    assert outcome.verdict is Verdict.DOES_NOT_FIT


def test_the_context_that_is_said_to_fit_fits() -> None:
    outcome = planned("meta-llama/Llama-3.1-8B-Instruct", "3090")

    shorter = planned("meta-llama/Llama-3.1-8B-Instruct", "3090", context=fitting_context(outcome))

    assert shorter.verdict is Verdict.FITS


def test_every_suggestion_fits() -> None:
    outcome = planned("Qwen/Qwen3-14B", "3090", context=8192)

    found = suggestions(outcome, CATALOGUE.siblings(outcome.asked), ())

    assert {one.change for one in found} >= {"--model Qwen/Qwen3-14B-AWQ", "--gpus 2"}
    assert all(one.outcome.verdict is Verdict.FITS for one in found)


def test_a_length_beyond_what_the_model_was_trained_for_does_not_fit() -> None:
    outcome = planned("Qwen/Qwen3-8B", "h100", context=100_000)

    assert outcome.verdict is Verdict.DOES_NOT_FIT
    assert "40960" in outcome.problems[0]


def test_more_than_an_idle_card_has_free_does_not_start() -> None:
    outcome = planned("Qwen/Qwen3-8B", "4090", context=4096, utilization=0.99)

    assert outcome.verdict is Verdict.DOES_NOT_FIT
    assert "0.98" in outcome.problems[0]


def test_a_model_is_not_spread_over_slices() -> None:
    with pytest.raises(ConfigurationError, match="slice"):
        planned("Qwen/Qwen3-8B", "H100 3g.40gb", parallel=Parallel(2))


def test_heads_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="8 key-value heads"):
        planned("Qwen/Qwen2.5-14B-Instruct", "h100", parallel=Parallel(5))


def test_attention_heads_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="28 attention heads"):
        planned("Qwen/Qwen2.5-7B-Instruct", "3090", parallel=Parallel(8))


def test_experts_that_cannot_be_cut_at_their_blocks_do_not_start() -> None:
    wide = planned("Qwen/Qwen3-30B-A3B-FP8", "L40S", parallel=Parallel(2))
    narrow = planned("Qwen/Qwen3-30B-A3B-FP8", "L40S", parallel=Parallel(4))

    assert wide.verdict is Verdict.FITS
    assert "expert-parallel" in narrow.problems[0]


def test_quantizing_weights_that_are_quantized_otherwise_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="awq"):
        planned("Qwen/Qwen3-8B-AWQ", "h100", quantization="fp8")


def test_a_measured_cache_has_no_grey_zone() -> None:
    outcome = planned("Qwen/Qwen3-0.6B", "3090", kv_gib=4.38)

    assert outcome.verdict is Verdict.FITS
    assert outcome.max_context.low == 40_960


def test_an_encoder_keeps_no_cache() -> None:
    outcome = planned("BAAI/bge-m3", "T4")

    assert outcome.kv_bytes_per_token == 0
    assert outcome.verdict is Verdict.FITS


def test_the_env_lines_say_what_was_planned() -> None:
    outcome = planned(
        "meta-llama/Llama-3.3-70B-Instruct",
        "A100-80GB",
        context=16384,
        concurrency=8,
        kv_cache_dtype="fp8",
        parallel=Parallel(4),
    )

    assert set(env_lines(outcome)) >= {
        "VLLM_MAX_MODEL_LEN=16384",
        "VLLM_MAX_NUM_SEQS=8",
        "VLLM_KV_CACHE_DTYPE=fp8",
        "VLLM_TENSOR_PARALLEL_SIZE=4",
        "VLLM_GPU_COUNT=4",
    }


def test_a_name_that_is_not_listed_is_taken_by_its_words_and_said_so() -> None:
    found = CATALOGUE.find("someone/Llama-3.1-8B-Instruct-GPTQ-Int8")

    assert found.model.quantization == "int8"
    assert found.model.attention == known("llama3.1:8b").attention
    assert found.note is not None


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("unsloth/gpt-oss-20b", "mxfp4"),
        ("unsloth/gpt-oss-20b-BF16", None),
        ("casperhansen/deepseek-r1-distill-qwen-32b-awq", "awq"),
        ("nvidia/Qwen3-30B-A3B-NVFP4", "nvfp4"),
        ("qwen2.5-7b-instruct", None),
    ],
)
def test_the_words_of_a_name_tell_how_it_is_stored(name: str, quantization: str | None) -> None:
    assert CATALOGUE.find(name).model.quantization == quantization


def test_a_name_nobody_knows_names_near_ones() -> None:
    with pytest.raises(NotFound, match="qwen3-32b"):
        CATALOGUE.find("Qwen/Qwen3-33B")


def test_every_model_of_the_catalogue_can_be_planned() -> None:
    for entry in CATALOGUE.entries:
        outcome = planned(entry["name"], "B200")
        assert outcome.weights.likely > 0

from __future__ import annotations

import pytest

from backend.core.errors import NotFound
from backend.core.gpus import CARDS, find_gpu, layouts, mig_commands, of_memory


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("h100", "H100 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB"),
        ("H100 NVL", "H100 NVL 94GB"),
        ("A100-80GB", "A100 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("A100", "A100 40GB"),
        ("RTX 6000 Ada", "RTX 6000 Ada 48GB"),
        ("RTX6000Ada", "RTX 6000 Ada 48GB"),
        ("RTX PRO 6000 96GB", "RTX PRO 6000 Blackwell 96GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell 96GB"),
        ("3090", "RTX 3090"),
        ("rtx3090ti", "RTX 3090 Ti"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("5090", "RTX 5090"),
        ("L40S", "L40S"),
        ("T4", "T4"),
        ("A10", "A10"),
        ("NVIDIA A10G", "A10G"),
        ("L4", "L4"),
        ("H200", "H200"),
        ("B200 192GB", "B200"),
        ("RTX A6000", "RTX A6000 48GB"),
        ("Tesla V100-SXM2-32GB", "V100 32GB"),
    ],
)
def test_a_card_is_found_by_the_names_people_write(name: str, card: str) -> None:
    assert find_gpu(name).gpu.name == card


def test_a_name_that_mixes_two_cards_says_so() -> None:
    match = find_gpu("RTX 6000 Ada (Blackwell) 96GB")

    assert match.gpu.name == "RTX PRO 6000 Blackwell 96GB"
    assert match.note is not None
    assert "48 GB" in match.note


def test_a_name_without_a_size_means_the_smallest_and_says_so() -> None:
    match = find_gpu("a100")

    assert match.note is not None
    assert "80 GB" in match.note


@pytest.mark.parametrize("name", ["RTX 9999", "A100 48GB", "Radeon"])
def test_an_unknown_card_says_how_to_go_on(name: str) -> None:
    with pytest.raises(NotFound, match="--gpu-memory"):
        find_gpu(name)


@pytest.mark.parametrize(
    ("name", "usable_gib"),
    [
        ("RTX PRO 6000 2g.48gb", 47.38),
        ("RTX PRO 6000 MIG 1g.24gb", 23.12),
        ("1g.24gb", 23.12),
        ("H100 MIG 3g.40gb", 39.50),
        ("A100 3g.40gb", 39.50),
        ("A100-40GB 3g.20gb", 19.5),
        ("H200 1g.18gb", 16.0),
    ],
)
def test_a_slice_has_what_it_shows_and_not_what_its_name_says(name: str, usable_gib: float) -> None:
    found = find_gpu(name).gpu

    assert found.memory_gib == usable_gib
    assert found.slice_of is not None


def test_a_slice_the_card_does_not_have_names_those_it_has() -> None:
    with pytest.raises(NotFound, match=r"1g\.24gb, 2g\.48gb, 4g\.96gb"):
        find_gpu("RTX PRO 6000 1g.12gb")


def test_the_workstation_card_has_quarters_and_not_sevenths() -> None:
    card = find_gpu("RTX PRO 6000").gpu

    assert [(one.name, one.most) for one in card.mig] == [
        ("1g.24gb", 4),
        ("2g.48gb", 2),
        ("4g.96gb", 1),
    ]


def test_no_layout_takes_more_than_the_card_has() -> None:
    for card in CARDS:
        for chosen in layouts(card, 2):
            assert sum(one.memory for one in chosen) <= card.memory_slices
            assert sum(one.compute for one in chosen) <= card.compute_slices
            assert sum(one.usable_gib for one in chosen) <= card.memory_gib


def test_a_half_and_a_quarter_of_the_workstation_card_go_together_and_two_wholes_do_not() -> None:
    names = [{one.name for one in chosen} for chosen in layouts(find_gpu("RTX PRO 6000").gpu, 2)]

    assert {"1g.24gb", "2g.48gb"} in names
    assert {"4g.96gb"} not in names


def test_no_slice_shows_more_than_its_name_or_less_than_a_card_of_its_kind() -> None:
    for card in CARDS:
        for one in card.mig:
            named_gb = float(one.name.split(".")[1].removesuffix("gb"))
            assert 0.85 * named_gb < one.usable_gib < named_gb


def test_the_commands_make_the_larger_slice_first() -> None:
    card = find_gpu("RTX PRO 6000").gpu

    commands = mig_commands((card.profile("1g.24gb"), card.profile("2g.48gb")))

    assert "sudo nvidia-smi mig -i 0 -cgi 2g.48gb,1g.24gb -C" in commands


def test_what_vllm_batches_by_default_depends_on_the_card() -> None:
    batches = {name: find_gpu(name).gpu.batched_tokens for name in ("3090", "h100", "b200")}

    assert batches == {"3090": 2048, "h100": 8192, "b200": 16384}
    assert find_gpu("A100-80GB").gpu.batched_tokens == 2048
    assert of_memory(80).sequences == 1024

"""Recorded output of nvidia-smi. Sources: vllm-project/vllm#41850 (H100), NVIDIA's MIG user guide
(instances), bigstack-oss/cubecos#312 (cards' names and memory)."""

from __future__ import annotations

import pytest

from cli.nvidia import (
    parse_instances,
    parse_list,
    parse_processes,
    parse_query,
    version,
)

H100 = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57f032-34ab-a064-c37c-7a4f75601cc5)
  MIG 2g.20gb     Device  0: (UUID: MIG-377e0049-554c-540b-93c6-d0976f8426cb)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39aa248-6f1b-5769-b119-8d650bb34b27)
"""
INSTANCES = """\
+----------------------------------------------------+
| GPU instances:                                     |
| GPU   Name          Profile  Instance   Placement  |
|                       ID       ID       Start:Size |
|====================================================|
|   0  MIG 3g.20gb       9        1          4:4     |
+----------------------------------------------------+
|   0  MIG 3g.20gb       9        2          0:4     |
+----------------------------------------------------+
"""


def test_slices_are_found_with_their_card_profile_and_uuid() -> None:
    (gpu,) = parse_list(H100)

    assert (gpu.index, gpu.name) == (0, "NVIDIA H100 80GB HBM3")
    assert [(one.index, one.profile, one.uuid[:12]) for one in gpu.slices] == [
        (0, "2g.20gb", "MIG-377e0049"),
        (1, "1g.10gb", "MIG-f39aa248"),
    ]


def test_each_slice_belongs_to_the_gpu_above_it() -> None:
    text = (
        "GPU 0: NVIDIA RTX PRO 6000 Blackwell Server Edition (UUID: GPU-aa)\n"
        "  MIG 2g.48gb     Device  0: (UUID: MIG-a0)\n"
        "  MIG 1g.24gb+me  Device  1: (UUID: MIG-a1)\n"
        "GPU 1: NVIDIA RTX PRO 6000 Blackwell Server Edition (UUID: GPU-bb)\n"
        "GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc)\n"
        "  MIG 1c.3g.20gb  Device  0: (UUID: MIG-c0)\n"
    )

    gpus = parse_list(text)

    assert [[one.uuid for one in gpu.slices] for gpu in gpus] == [
        ["MIG-a0", "MIG-a1"],
        [],
        ["MIG-c0"],
    ]
    assert [gpus[0].slices[1].plain_profile, gpus[2].slices[0].plain_profile] == [
        "1g.24gb",
        "3g.20gb",
    ]


def test_the_uuids_of_old_drivers_are_read_too() -> None:
    text = (
        "GPU 0: A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)\n"
        "  MIG 3g.20gb Device 0: (UUID: MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/1/0)\n"
    )

    (gpu,) = parse_list(text)

    assert gpu.slices[0].uuid == "MIG-GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0/1/0"


@pytest.mark.parametrize(
    "text",
    ["", "No devices found.\n", "NVIDIA-SMI has failed because it couldn't communicate with it.\n"],
)
def test_where_nothing_is_listed_there_is_no_gpu(text: str) -> None:
    assert parse_list(text) == ()
    assert parse_instances(text) == ()


def test_carriage_returns_of_a_copied_listing_do_not_matter() -> None:
    assert parse_list(H100.replace("\n", "\r\n")) == parse_list(H100)


def test_instances_are_found_by_pattern_wherever_the_columns_are() -> None:
    rows = parse_instances(INSTANCES)

    assert [
        (row.profile, row.profile_id, row.instance_id, row.start, row.size) for row in rows
    ] == [
        ("3g.20gb", 9, 1, 4, 4),
        ("3g.20gb", 9, 2, 0, 4),
    ]
    assert parse_instances("|   1  MIG 1g.24gb+me  47   3   0:3  |")[0].profile == "1g.24gb+me"


def test_memory_and_mig_mode_are_none_where_the_driver_does_not_say() -> None:
    text = (
        "0, GPU-aa, NVIDIA RTX PRO 6000 Blackwell Server Edition, 97887 MiB, 287 MiB, 580.95.05, "
        "Enabled\n"
        "1, GPU-bb, NVIDIA GeForce RTX 4090, 24564 MiB, [N/A], 580.95.05, [N/A]\n"
        "some warning of the driver\n"
    )

    first, second = parse_query(text)

    assert (first.total_mib, first.used_mib, first.mig) == (97887, 287, True)
    assert (second.index, second.used_mib, second.mig) == (1, None, None)


def test_processes_are_grouped_by_gpu() -> None:
    text = "GPU-aa, 12, 40000 MiB, /usr/bin/python3\nGPU-aa, 13, [N/A], blender\n"

    assert parse_processes(text) == {
        "GPU-aa": ("/usr/bin/python3 (pid 12, 40000 MiB)", "blender (pid 13, [N/A])")
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v2.26.1-desktop.1", (2, 26, 1)),
        ("575.51.03", (575, 51, 3)),
        ("28.5.2+dfsg3", (28, 5, 2)),
        ("none", ()),
    ],
)
def test_versions_compare_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert version(text) == expected

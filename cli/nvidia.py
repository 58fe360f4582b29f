"""What ``nvidia-smi`` prints, as values. Parsed by pattern, since columns move between drivers."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

LIST_COMMAND = ("nvidia-smi", "-L")
QUERY_COMMAND = (
    "nvidia-smi",
    "--query-gpu=index,uuid,name,memory.total,memory.used,driver_version,mig.mode.current",
    "--format=csv,noheader",
)
PROCESSES_COMMAND = (
    "nvidia-smi",
    "--query-compute-apps=gpu_uuid,pid,used_memory,process_name",
    "--format=csv,noheader",
)

# A line of -L is like: GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-…)
_GPU = re.compile(r"^GPU\s+(\d+):\s*(.+?)\s*\(UUID:\s*(GPU-[^)\s]+)\)", re.MULTILINE)
# Below it: MIG 2g.20gb     Device  0: (UUID: MIG-…); drivers before R470 write MIG-GPU-…/1/0.
_MIG = re.compile(r"^\s*MIG\s+(\S+)\s+Device\s+(\d+):\s*\(UUID:\s*(MIG-[^)\s]+)\)", re.MULTILINE)
# A row of -lgi, within bars: GPU, MIG profile, its id, instance id, start:size.
_INSTANCE = re.compile(r"(\d+)\s+MIG\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+):(\d+)")
_PROFILE = re.compile(r"^(?:\d+c\.)?(\d+)g\.(\d+)gb")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A slice as programs see it. ``index`` counts within its GPU."""

    gpu_index: int
    gpu_name: str
    index: int
    profile: str
    uuid: str

    @property
    def named_gb(self) -> int:
        """Gigabytes of the profile's name, which rounds up; 0 where the name holds none."""
        found = _PROFILE.match(self.profile)
        return int(found[2]) if found else 0

    @property
    def plain_profile(self) -> str:
        """Without compute instances and attributes: ``1c.3g.20gb+me`` is ``3g.20gb``."""
        found = _PROFILE.match(self.profile)
        return f"{found[1]}g.{found[2]}gb" if found else self.profile

    @property
    def compute_slices(self) -> int:
        found = _PROFILE.match(self.profile)
        return int(found[1]) if found else 0


@dataclass(frozen=True, slots=True)
class ListedGpu:
    index: int
    name: str
    uuid: str
    slices: tuple[MigDevice, ...]


@dataclass(frozen=True, slots=True)
class GpuState:
    """None where the driver says ``[N/A]`` (memory in MiB, ``mig`` whether MIG mode is on)."""

    index: int
    uuid: str
    name: str
    total_mib: float | None
    used_mib: float | None
    driver: str
    mig: bool | None


@dataclass(frozen=True, slots=True)
class GpuInstance:
    """A row of ``nvidia-smi mig -lgi``; it has no UUID, that is in ``nvidia-smi -L`` only."""

    gpu_index: int
    profile: str
    profile_id: int
    instance_id: int
    start: int
    size: int


def parse_list(text: str) -> tuple[ListedGpu, ...]:
    """``nvidia-smi -L``; empty where it lists no GPU."""
    gpus = []
    found = list(_GPU.finditer(text))
    for number, gpu in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(text)
        index, name = int(gpu[1]), gpu[2]
        slices = tuple(
            MigDevice(index, name, int(slice_[2]), slice_[1], slice_[3])
            for slice_ in _MIG.finditer(text, gpu.end(), end)
        )
        gpus.append(ListedGpu(index, name, gpu[3], slices))
    return tuple(gpus)


def parse_query(text: str) -> tuple[GpuState, ...]:
    """The answer to ``QUERY_COMMAND``; lines that are none are left out."""
    states = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 7 or not row[0].strip().isdigit():
            continue
        index, uuid, name, total, used, driver, mig = (cell.strip() for cell in row)
        states.append(
            GpuState(int(index), uuid, name, _number(total), _number(used), driver, _switch(mig))
        )
    return tuple(states)


def parse_instances(text: str) -> tuple[GpuInstance, ...]:
    """``nvidia-smi mig -lgi``; empty where there are no GPU instances."""
    return tuple(
        GpuInstance(int(row[1]), row[2], int(row[3]), int(row[4]), int(row[5]), int(row[6]))
        for row in _INSTANCE.finditer(text)
    )


def parse_processes(text: str) -> dict[str, tuple[str, ...]]:
    """The answer to ``PROCESSES_COMMAND``: by GPU, ``name (pid 12, 3 MiB)`` of each process."""
    found: dict[str, list[str]] = {}
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) < 4 or not row[1].strip().isdigit():
            continue
        uuid, pid, used, name = (cell.strip() for cell in row[:4])
        found.setdefault(uuid, []).append(f"{name} (pid {pid}, {used})")
    return {uuid: tuple(names) for uuid, names in found.items()}


def version(text: str) -> tuple[int, ...]:
    """The first dotted number: ``v2.26.1-desktop.1`` is (2, 26, 1); empty where there is none."""
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _number(cell: str) -> float | None:
    found = _NUMBER.match(cell)
    return float(found[1]) if found else None


def _switch(cell: str) -> bool | None:
    return {"enabled": True, "disabled": False}.get(cell.casefold())

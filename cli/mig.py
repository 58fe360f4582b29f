"""MIG slices: ``python -m cli.mig list`` and ``python -m cli.mig write --env-file .env``."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import NotFound
from backend.core.gpus import find_gpu
from cli.mig_env import set_values
from cli.nvidia import (
    LIST_COMMAND,
    GpuInstance,
    ListedGpu,
    MigDevice,
    parse_instances,
    parse_list,
)
from cli.terminal import tell

MEDIUM, SMALL = "VLLM_MEDIUM_MIG_UUID", "VLLM_SMALL_MIG_UUID"
INSTANCES_COMMAND = ("nvidia-smi", "mig", "-lgi")
ASK_TIMEOUT_S = 20.0  # a driver without persistence mode starts on the first question

OTHER_MACHINE = (
    "With the GPU on another machine:\n"
    "  ssh HOST nvidia-smi -L | python -m cli.mig write --from - --env-file .env"
)


class MigError(Exception):
    """One message for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Choice:
    medium: MigDevice
    small: MigDevice


def slices_of(gpus: Sequence[ListedGpu]) -> tuple[MigDevice, ...]:
    return tuple(device for gpu in gpus for device in gpu.slices)


def size(device: MigDevice) -> tuple[float, int]:
    """Memory, then compute: what makes a slice the larger one."""
    known = usable_gib(device)
    return (known if known is not None else float(device.named_gb), device.compute_slices)


def usable_gib(device: MigDevice) -> float | None:
    """What CUDA shows of the slice; None for a card or a profile that is not known."""
    try:
        return find_gpu(f"{device.gpu_name} MIG {device.plain_profile}").gpu.memory_gib
    except NotFound:
        return None


def memory(device: MigDevice) -> str:
    known = usable_gib(device)
    return f"{known:.1f} GiB" if known is not None else f"{device.named_gb} GB by its name"


def choose(slices: Sequence[MigDevice], medium: str | None, small: str | None) -> Choice:
    """The largest slice and the next; ``medium`` and ``small`` name one by number or UUID.

    Raises:
        MigError: fewer than two slices, one taken twice, or equal ones to choose among.
    """
    if len(slices) < 2:
        raise MigError(_too_few(slices))
    first = _named(slices, medium, "--medium") if medium else None
    second = _named(slices, small, "--small") if small else None
    if first is None:
        first = _largest([device for device in slices if device != second], slices, second is None)
    if second is None:
        second = _largest([device for device in slices if device != first], slices, False)
    if first == second:
        raise MigError(f"{first.uuid} is named twice: a slice holds one server.")
    return Choice(first, second)


def _too_few(slices: Sequence[MigDevice]) -> str:
    if not slices:
        return (
            "There is no MIG slice. Turn MIG on and make two instances (docs/mig.md):\n"
            "  sudo nvidia-smi -i 0 -mig 1\n"
            "  nvidia-smi mig -lgip\n"
            "  sudo nvidia-smi mig -i 0 -cgi 2g.48gb,1g.24gb -C"
        )
    return (
        f"There is one slice only ({slices[0].profile}, {slices[0].uuid}), and the two servers "
        "need one each. Make another instance (nvidia-smi mig -lgip shows what is free), or serve "
        "one model with docker-compose.vllm.yml."
    )


def _named(slices: Sequence[MigDevice], text: str, option: str) -> MigDevice:
    if text.isascii() and text.isdigit():
        if int(text) < len(slices):
            return slices[int(text)]
        raise MigError(f"{option} {text}: the slices are numbered 0 to {len(slices) - 1}.")
    found = [
        device for device in slices if text in (device.uuid, f"{device.gpu_index}:{device.index}")
    ]
    if not found:
        raise MigError(f"{option} {text}: no such slice.\n{_numbered(slices)}")
    return found[0]


def _largest(
    candidates: Sequence[MigDevice], everything: Sequence[MigDevice], next_is_taken_too: bool
) -> MigDevice:
    """``next_is_taken_too``: a second one as large is no rival, the other server gets it."""
    ranked = sorted(candidates, key=size, reverse=True)
    equal = [device for device in ranked if size(device) == size(ranked[0])]
    if len(equal) > (2 if next_is_taken_too else 1):
        raise MigError(
            f"{len(equal)} slices are alike ({ranked[0].profile}), and which of them other "
            f"programs use cannot be seen from here. Choose by number or UUID:\n"
            f"{_numbered(everything)}\n"
            "For example: --medium 0 --small 1"
        )
    return ranked[0]


def _numbered(slices: Sequence[MigDevice]) -> str:
    return "\n".join(
        f"  {number}  GPU {device.gpu_index}  {device.profile}  {memory(device)}  {device.uuid}"
        for number, device in enumerate(slices)
    )


def listing(source: str | None, command: Sequence[str] = LIST_COMMAND) -> str:
    """``source`` is a file of recorded output, ``-`` standard input, None runs ``command``.

    Raises:
        MigError: it cannot be read or run.
    """
    if source == "-":
        return sys.stdin.read()
    if source is not None:
        try:
            return Path(source).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise MigError(f"--from {source}: {error.strerror}") from error
    program = shutil.which(command[0])
    if program is None:
        raise MigError(f"nvidia-smi is not on this machine.\n{OTHER_MACHINE}")
    try:
        done = subprocess.run(  # noqa: S603
            [program, *command[1:]],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MigError(f"nvidia-smi did not answer within {ASK_TIMEOUT_S:.0f} s.") from None
    if done.returncode != 0:
        raise MigError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def show(source: str | None) -> int:
    text = listing(source)
    gpus, instances = parse_list(text), parse_instances(text)
    if not gpus and not instances:
        raise MigError(f"No GPU is listed.\n{OTHER_MACHINE}")
    if source is None and slices_of(gpus):
        with contextlib.suppress(MigError):  # only root may see instances on some systems
            instances = parse_instances(listing(None, INSTANCES_COMMAND))
    if gpus:
        _show_slices(gpus)
    if instances:
        _show_instances(instances)
    if not gpus:
        tell("The UUIDs are in the output of: nvidia-smi -L")
    return 0


def _show_slices(gpus: Sequence[ListedGpu]) -> None:
    rows = [("#", "GPU", "card", "profile", "memory", "UUID")]
    for number, device in enumerate(slices_of(gpus)):
        place = f"{device.gpu_index}:{device.index}"
        rows.append(
            (str(number), place, device.gpu_name, device.profile, memory(device), device.uuid)
        )
    if len(rows) > 1:
        _print_rows(rows)
    for gpu in gpus:
        if not gpu.slices:
            print(f"GPU {gpu.index}, {gpu.name}: no MIG slice.")


def _show_instances(instances: Sequence[GpuInstance]) -> None:
    print("Instances and their places on the card (start:size):")
    rows = [("GPU", "profile", "profile id", "instance id", "place")]
    for row in instances:
        numbers = (str(row.profile_id), str(row.instance_id), f"{row.start}:{row.size}")
        rows.append((str(row.gpu_index), row.profile, *numbers))
    _print_rows(rows)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """As wide as needed, whatever the terminal: a UUID that is cut is of no use."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def write(options: argparse.Namespace) -> int:
    gpus = parse_list(listing(options.source))
    if not gpus:
        raise MigError(
            f"No GPU is listed: this takes the output of nvidia-smi -L.\n{OTHER_MACHINE}"
        )
    choice = choose(slices_of(gpus), options.medium, options.small)
    values = {MEDIUM: choice.medium.uuid, SMALL: choice.small.uuid}
    for name, device in ((MEDIUM, choice.medium), (SMALL, choice.small)):
        tell(
            f"{name}: {device.profile}, {memory(device)}, GPU {device.gpu_index} {device.gpu_name}"
        )
    if options.dry_run:
        for name, value in values.items():
            print(f"{name}={value}")
        return 0
    path: Path = options.env_file
    try:
        changed = set_values(path, values)
    except FileNotFoundError:
        raise MigError(f"{path} is not there. First: cp .env.vllm-mig {path}") from None
    except OSError as error:
        raise MigError(f"{path}: {error.strerror}") from error
    if not changed:
        tell(f"{path} says so already.")
        return 0
    tell(f"Written to {path}. Check it: python -m cli.doctor -f docker-compose.vllm-mig.yml")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cli.mig", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("list", "the slices with GPU, profile, memory and UUID"),
        ("write", "put two slices' UUIDs into the env file: the largest and the next"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument(
            "--from",
            dest="source",
            metavar="FILE",
            help="recorded output of nvidia-smi -L (- reads standard input)",
        )
        if name == "write":
            command.add_argument("--env-file", type=Path, default=Path(".env"))
            which = "number in the list, GPU:device or UUID"
            command.add_argument("--medium", metavar="SLICE", help=f"for {MEDIUM}: {which}")
            command.add_argument("--small", metavar="SLICE", help=f"for {SMALL}: {which}")
            command.add_argument("--dry-run", action="store_true", help="print the two lines only")
    return parser.parse_args(arguments)


def run(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    try:
        return show(options.source) if options.command == "list" else write(options)
    except MigError as error:
        tell(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

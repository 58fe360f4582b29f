"""Graphics cards and their MIG slices as CUDA sees them: the tables.

Memory is what a process sees (``torch.cuda.mem_get_info``), in GiB, the low end of what public logs
show: the driver keeps 0.4 GiB or more of what the box says. Sources: ``docs/memory-plan.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class MigProfile:
    """``compute`` and ``memory`` count the card's slices it takes.

    ``usable_gib`` is what the slice shows, less than its name says.
    """

    name: str
    usable_gib: float
    most: int
    compute: int
    memory: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """``batched_tokens`` and ``sequences`` are what vLLM sets when nothing is asked for
    (``EngineArgs.get_batch_defaults``); ``slice_of`` is the card's name where it is a slice."""

    name: str
    size_gb: int
    memory_gib: float
    words: tuple[tuple[str, ...], ...] = ()
    mig: tuple[MigProfile, ...] = ()
    compute_slices: int = 0
    memory_slices: int = 0
    slice_of: str | None = None

    @property
    def batched_tokens(self) -> int:
        if self.memory_gib >= 160:
            return 16384
        return 8192 if self._is_large else 2048

    @property
    def sequences(self) -> int:
        return 1024 if self._is_large else 256

    @property
    def _is_large(self) -> bool:
        return self.memory_gib >= 70 and "A100" not in self.name

    def slice(self, profile: MigProfile) -> Gpu:
        """The slice as a device of its own."""
        name = f"MIG {profile.name} of {self.name}"
        size = int(profile.name.split(".")[1].removesuffix("gb"))
        return Gpu(name, size, profile.usable_gib, slice_of=self.name)

    def profile(self, name: str) -> MigProfile:
        """
        Raises:
            NotFound: names the profiles there are.
        """
        wanted = name.casefold().removeprefix("mig").strip(" -")
        for profile in self.mig:
            if profile.name == wanted:
                return profile
        there = ", ".join(profile.name for profile in self.mig) or "none: it has no MIG"
        raise NotFound(f"{self.name} has no MIG profile {name!r}. There are: {there}.")


def _profiles(*rows: tuple[str, float, int, int]) -> tuple[MigProfile, ...]:
    return tuple(MigProfile(name, gib, most, int(name[0]), mem) for name, gib, most, mem in rows)


_A100_40 = _profiles(
    ("1g.5gb", 4.75, 7, 1),
    ("1g.10gb", 9.62, 4, 2),
    ("2g.10gb", 9.62, 3, 2),
    ("3g.20gb", 19.5, 2, 4),
    ("4g.20gb", 19.5, 1, 4),
    ("7g.40gb", 39.25, 1, 8),
)
_80 = _profiles(
    ("1g.10gb", 9.75, 7, 1),
    ("1g.20gb", 19.62, 4, 2),
    ("2g.20gb", 19.62, 3, 2),
    ("3g.40gb", 39.50, 2, 4),
    ("4g.40gb", 39.50, 1, 4),
    ("7g.80gb", 79.11, 1, 8),
)
_H100_94 = _profiles(
    ("1g.12gb", 10.75, 7, 1),
    ("1g.24gb", 21.62, 4, 2),
    ("2g.24gb", 21.62, 3, 2),
    ("3g.47gb", 46.12, 2, 4),
    ("4g.47gb", 46.12, 1, 4),
    ("7g.94gb", 93.03, 1, 8),
)
_H100_96 = _profiles(
    ("1g.12gb", 10.75, 7, 1),
    ("1g.24gb", 22.0, 4, 2),
    ("2g.24gb", 22.0, 3, 2),
    ("3g.48gb", 46.5, 2, 4),
    ("4g.48gb", 46.5, 1, 4),
    ("7g.96gb", 94.5, 1, 8),
)
_H200 = _profiles(
    ("1g.18gb", 16.0, 7, 1),
    ("1g.35gb", 32.25, 4, 2),
    ("2g.35gb", 32.25, 3, 2),
    ("3g.71gb", 69.5, 2, 4),
    ("4g.71gb", 69.5, 1, 4),
    ("7g.141gb", 139.7, 1, 8),
)
_B200 = _profiles(
    ("1g.23gb", 20.5, 7, 1),
    ("1g.45gb", 44.25, 4, 2),
    ("2g.45gb", 44.25, 3, 2),
    ("3g.90gb", 88.0, 2, 4),
    ("4g.90gb", 88.0, 1, 4),
    ("7g.180gb", 178.0, 1, 8),
)
_A30 = _profiles(("1g.6gb", 5.81, 4, 1), ("2g.12gb", 11.69, 2, 2), ("4g.24gb", 23.5, 1, 4))
_PRO_6000 = _profiles(("1g.24gb", 23.12, 4, 1), ("2g.48gb", 47.38, 2, 2), ("4g.96gb", 94.97, 1, 4))
_PRO_5000 = _profiles(("1g.12gb", 11.5, 4, 1), ("2g.24gb", 23.5, 2, 2), ("4g.48gb", 47.0, 1, 4))


def _card(name: str, size_gb: int, memory_gib: float, words: str, *mig: MigProfile) -> Gpu:
    """``words``: alternatives divided by ``|``, each the words a name must have."""
    alternatives = tuple(tuple(one.split()) for one in words.split("|"))
    seven = bool(mig) and mig[-1].compute == 7
    compute, memory = (7, 8) if seven else (4, 4)
    return Gpu(name, size_gb, memory_gib, alternatives, mig, compute, memory)


# Within a family the smallest first: a name without a size means that one.
CARDS: tuple[Gpu, ...] = (
    _card("B200", 180, 178.3, "b200", *_B200),
    _card("H200", 141, 139.7, "h200", *_H200),
    _card("GH200 96GB", 96, 94.5, "gh200", *_H100_96),
    _card("H100 80GB", 80, 79.1, "h100", *_80),
    _card("H100 NVL 94GB", 94, 93.03, "h100 nvl|h100", *_H100_94),
    _card("H100 96GB", 96, 94.5, "h100", *_H100_96),
    _card("H20 96GB", 96, 94.9, "h20", *_H100_96),
    _card("A100 40GB", 40, 39.38, "a100", *_A100_40),
    _card("A100 80GB", 80, 79.14, "a100", *_80),
    _card("A30", 24, 23.5, "a30", *_A30),
    _card(
        "RTX PRO 6000 Blackwell 96GB",
        96,
        94.97,
        "pro 6000|6000 blackwell|pro6000",
        *_PRO_6000,
    ),
    _card("RTX PRO 5000 Blackwell 48GB", 48, 47.0, "pro 5000", *_PRO_5000),
    _card("RTX PRO 4500 Blackwell 32GB", 32, 31.3, "pro 4500"),
    _card("RTX PRO 4000 Blackwell 24GB", 24, 23.4, "pro 4000"),
    _card("RTX 6000 Ada 48GB", 48, 47.38, "6000 ada"),
    _card("RTX 5000 Ada 32GB", 32, 31.2, "5000 ada"),
    _card("RTX 4000 Ada 20GB", 20, 19.5, "4000 ada"),
    _card("RTX A6000 48GB", 48, 47.4, "a6000"),
    _card("RTX A5000 24GB", 24, 23.55, "a5000"),
    _card("RTX A4000 16GB", 16, 15.6, "a4000"),
    _card("L40S", 48, 44.39, "l40s"),
    _card("L40", 48, 44.39, "l40"),
    _card("A40", 48, 44.34, "a40"),
    _card("L4", 24, 21.95, "l4"),
    _card("A10G", 24, 21.99, "a10g"),
    _card("A10", 24, 21.99, "a10"),
    _card("T4", 16, 14.56, "t4"),
    _card("V100 16GB", 16, 15.77, "v100"),
    _card("V100 32GB", 32, 31.73, "v100"),
    _card("RTX 5090", 32, 31.36, "5090"),
    _card("RTX 5080", 16, 15.45, "5080"),
    _card("RTX 5070 Ti", 16, 15.45, "5070 ti|5070ti"),
    _card("RTX 5070", 12, 11.5, "5070"),
    _card("RTX 5060 Ti 16GB", 16, 15.45, "5060 ti|5060ti"),
    _card("RTX 4090", 24, 23.52, "4090"),
    _card("RTX 4080", 16, 15.57, "4080"),
    _card("RTX 4070 Ti SUPER", 16, 15.57, "4070 ti super"),
    _card("RTX 4070", 12, 11.6, "4070"),
    _card("RTX 4060 Ti 16GB", 16, 15.57, "4060 ti|4060ti"),
    _card("RTX 3090 Ti", 24, 23.5, "3090 ti|3090ti"),
    _card("RTX 3090", 24, 23.56, "3090"),
    _card("RTX 3080 10GB", 10, 9.6, "3080"),
    _card("RTX 3060 12GB", 12, 11.63, "3060"),
    _card("RTX 2080 Ti", 11, 10.57, "2080 ti|2080ti"),
)

"""Cards and slices by the names people write, and what slices a card can have at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

from backend.core.errors import NotFound
from backend.core.gpu_cards import CARDS, Gpu, MigProfile

__all__ = [
    "CARDS",
    "Gpu",
    "Match",
    "MigProfile",
    "find_gpu",
    "layouts",
    "mig_commands",
    "of_memory",
]


@dataclass(frozen=True, slots=True)
class Match:
    """``note`` says what had to be assumed."""

    gpu: Gpu
    note: str | None = None


def find_gpu(name: str) -> Match:
    """The card, or the slice (``H100 MIG 3g.40gb``), of a name as people write it.

    Raises:
        NotFound: no such card, or not of that size; the message says what to do.
    """
    text = name.casefold()
    profile = re.search(r"(?<![a-z0-9])\d+g\.\d+gb\b", text)
    if profile:
        return _slice_named(text.replace(profile[0], " ").replace("mig", " "), profile[0])
    words, size = _words_and_size(text)
    if {"ada", "6000"} <= words and ("blackwell" in words or size == 96):
        return _two_cards_in_one_name(name)
    family = _most_specific([card for card in CARDS if _is_named(card, words)], words)
    if not family:
        raise NotFound(
            f"No card is known as {name!r}. Give its memory instead: --gpu-memory GiB "
            "(the total of nvidia-smi in MiB, divided by 1024, less 0.4)."
        )
    return _of_size(family, size, name)


def of_memory(memory_gib: float) -> Gpu:
    """A card of which only the memory that CUDA shows is known."""
    return Gpu(f"card with {memory_gib:g} GiB", round(memory_gib), memory_gib)


def layouts(card: Gpu, count: int) -> list[tuple[MigProfile, ...]]:
    """Every choice of ``count`` profiles that fit on the card together, smallest memory first."""
    found = [
        chosen
        for chosen in combinations_with_replacement(card.mig, count)
        if sum(one.compute for one in chosen) <= card.compute_slices
        and sum(one.memory for one in chosen) <= card.memory_slices
        and all(chosen.count(one) <= one.most for one in chosen)
    ]
    return sorted(found, key=lambda chosen: [sum(p.memory for p in chosen), *_sizes(chosen)])


def mig_commands(chosen: Sequence[MigProfile]) -> tuple[str, ...]:
    """What makes these slices on the first card; the mode is lost at reboot on most cards."""
    largest_first = sorted(chosen, key=lambda one: -one.usable_gib)
    return (
        "sudo nvidia-smi -i 0 -mig 1",
        f"sudo nvidia-smi mig -i 0 -cgi {','.join(one.name for one in largest_first)} -C",
        "nvidia-smi -L",
    )


def _sizes(chosen: Sequence[MigProfile]) -> list[float]:
    return sorted(one.usable_gib for one in chosen)


def _words_and_size(text: str) -> tuple[set[str], int | None]:
    size = re.search(r"(?<![a-z0-9.])(\d+)\s*g(?:i?b)?\b", text)
    if size:
        text = text.replace(size[0], " ")
    # "rtx3090", "6000ada", "3090ti" are written too.
    text = re.sub(r"(rtx|geforce|nvidia|tesla|ada\b|ti\b)", r" \1 ", text)
    return set(re.findall(r"[a-z0-9]+", text)), int(size[1]) if size else None


def _is_named(card: Gpu, words: set[str]) -> bool:
    return any(set(alternative) <= words for alternative in card.words)


def _most_specific(cards: list[Gpu], words: set[str]) -> list[Gpu]:
    """``3090 ti`` names the 3090 too; the longer name wins."""

    def matched(card: Gpu) -> int:
        return max(len("".join(one)) + len(one) * 10 for one in card.words if set(one) <= words)

    best = max(map(matched, cards), default=0)
    return [card for card in cards if matched(card) == best]


def _of_size(family: list[Gpu], size: int | None, name: str) -> Match:
    if size is None:
        card = family[0]
        others = " or ".join(f"{one.size_gb} GB" for one in family[1:])
        note = f"{name} is taken as {card.name}; say {others} if it is that." if others else None
        return Match(card, note)
    nearest = min(family, key=lambda card: abs(card.size_gb - size))
    # Names in use differ by a few GB: 180 or 192 for a B200, 94 or 96 for an H100.
    if abs(nearest.size_gb - size) > max(2, nearest.size_gb // 12):
        there = ", ".join(f"{card.name} ({card.size_gb} GB)" for card in family)
        raise NotFound(
            f"There is no {name!r}: known are {there}. "
            "For another memory size give --gpu-memory GiB."
        )
    return Match(nearest)


def _two_cards_in_one_name(name: str) -> Match:
    card = next(card for card in CARDS if card.name.startswith("RTX PRO 6000"))
    return Match(
        card,
        f"{name!r} mixes two cards: the RTX 6000 Ada has 48 GB and no MIG, the RTX PRO 6000 "
        "Blackwell has 96 GB and MIG. Planned for the RTX PRO 6000; for the other say "
        '--gpu "RTX 6000 Ada".',
    )


def _slice_named(rest: str, profile: str) -> Match:
    words, _ = _words_and_size(rest)
    named = words - {"nvidia", "of", "gpu", "slice", "rtx"}
    if named:
        match = find_gpu(rest)
        card = match.gpu
        if not any(one.name == profile for one in card.mig):
            sisters = [c for c in CARDS if c.words == card.words]
            card = next((c for c in sisters if any(p.name == profile for p in c.mig)), card)
        return replace(match, gpu=card.slice(card.profile(profile)), note=None)
    # The workstation card's slices first: its 1g.24gb is not the data centre cards'.
    for card in sorted(CARDS, key=lambda one: "PRO" not in one.name):
        for one in card.mig:
            if one.name == profile:
                return Match(card.slice(one), f"{profile} is taken as a slice of {card.name}.")
    raise NotFound(f"No card is known to have a MIG profile {profile!r}.")

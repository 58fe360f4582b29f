"""Architectures from ``config/llm_models.json``, by the names people give to models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from backend.core.errors import ConfigurationError, NotFound
from backend.core.memory_model import Architecture, Attention, Experts, LinearAttention
from backend.core.memory_weights import weight_bytes

Entry = Mapping[str, Any]

# Words of a repository's name that say how its numbers are stored, or nothing about their size.
_QUANTIZED = {
    "awq": "awq", "gptq": "gptq", "int4": "gptq", "w4a16": "gptq", "4bit": "gptq", "bnb": "awq",
    "int8": "int8", "w8a8": "int8", "w8a16": "int8", "8bit": "int8", "fp8": "fp8",
    "nvfp4": "nvfp4", "mxfp4": "mxfp4", "fp4": "nvfp4",
}  # fmt: skip
_NOISE = frozenset(
    """
    instruct chat it hf base meta bf16 fp16 dynamic quantized unsloth autoround marlin g128 gs128
    kv channel static
    """.split()
) | frozenset(_QUANTIZED)


@dataclass(frozen=True, slots=True)
class Found:
    """``note`` says what had to be assumed about a name that is not in the catalogue."""

    model: Architecture
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PlanningCatalogue:
    entries: tuple[Entry, ...]

    def find(self, name: str) -> Found:
        """By id or alias, else by the words of the name ("casperhansen/llama-3-8b-instruct-awq").

        Raises:
            NotFound: with the nearest names.
        """
        wanted = name.casefold().removesuffix(":latest")
        for entry in self.entries:
            if wanted in (one.casefold() for one in (entry["name"], *entry["aliases"])):
                return Found(known_architecture(entry))
        return self._by_words(name)

    def siblings(self, model: Architecture) -> list[Architecture]:
        """The same model, stored with fewer bits, largest first."""
        base = _last(model.name)
        found = [
            known_architecture(entry)
            for entry in self.entries
            if entry["quantization"]
            and entry["name"] != model.name
            and _last(entry["name"]).startswith(base)
        ]
        same = [one for one in found if one.attention == model.attention]
        return sorted(same, key=lambda one: -stored_bytes(one))

    def _by_words(self, name: str) -> Found:
        words, quantization = _words(name)
        matches = [entry for entry in self.entries if _words(entry["name"])[0] == words]
        if not matches:
            near = get_close_matches(_last(name), [_last(e["name"]) for e in self.entries], 3, 0.5)
            hint = f" Near are: {', '.join(near)}." if near else ""
            raise NotFound(
                f"{name} is neither in config/llm_models.json nor a path here. Give the folder or "
                f"the config.json of the model: --model path/to/config.json.{hint}"
            )
        matches.sort(key=lambda entry: (entry["quantization"] != quantization, len(entry["name"])))
        entry = matches[0]
        model = known_architecture(entry)
        note = f"{name} is not in the catalogue; it is taken as {entry['name']}"
        if quantization is None and not _says_16_bits(name):
            quantization = model.quantization
        if quantization != model.quantization:
            model = replace(model, quantization=quantization, weight_bytes=None)
            note += f" with {quantization or '16-bit'} weights"
        return Found(replace(model, name=name), note + ".")


def load_planning_catalogue(path: Path) -> PlanningCatalogue:
    """
    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["models"]
        return PlanningCatalogue(tuple(entries))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path.name} cannot be used: {error!r}.") from error


def stored_bytes(model: Architecture) -> int:
    return model.weight_bytes or weight_bytes(
        model.parameters, model.kept_parameters, model.quantization
    )


def known_architecture(entry: Entry) -> Architecture:
    """Of one entry of the catalogue, which its schema has checked."""
    linear = entry.get("linear_attention")
    experts = entry.get("experts")
    stored = entry.get("weights_gb")
    return Architecture(
        name=entry["name"],
        attention=_attention(entry, linear["layers"] if linear else 0),
        parameters=round(entry["parameters_b"] * 1e9),
        kept_parameters=round(entry["kept_parameters_b"] * 1e9),
        context_window=entry["context_window"],
        hidden_size=entry["hidden_size"],
        intermediate_size=entry["intermediate_size"],
        vocabulary=entry["vocabulary"],
        quantization=entry["quantization"],
        weight_bytes=round(stored * 1e9) if stored else None,
        linear=LinearAttention(**linear) if linear else None,
        experts=Experts(**experts) if experts else None,
        multimodal=entry.get("multimodal", False),
        query_heads=entry["query_heads"],
        weight_block=entry.get("weight_block", 0),
    )


def _attention(entry: Entry, linear_layers: int) -> tuple[Attention, ...]:
    if entry.get("encoder"):
        return ()
    heads, size = entry["kv_heads"], entry["head_size"]
    layers = entry["layers"] - linear_layers - entry.get("layers_sharing_a_cache", 0)
    if "latent_size" in entry:
        return (Attention(layers, 1, entry["latent_size"], latent=True),)
    sliding = entry.get("sliding_window")
    if sliding is None:
        return (Attention(layers, heads, size),)
    full = sliding["full_attention_layers"]
    kinds = (
        Attention(
            layers - full, heads, size, sliding["tokens"], chunked=sliding.get("chunked", False)
        ),
        Attention(
            full,
            sliding.get("full_attention_kv_heads", heads),
            sliding.get("full_attention_head_size", size),
        ),
    )
    return tuple(kind for kind in kinds if kind.layers)


def _says_16_bits(name: str) -> bool:
    """Whether the name says that its weights are not quantized."""
    return bool({"bf16", "fp16"} & set(re.findall(r"[a-z0-9]+", name.casefold())))


def _last(name: str) -> str:
    return name.casefold().rsplit("/", 1)[-1]


def _words(name: str) -> tuple[frozenset[str], str | None]:
    """What is left of a name without owner and noise, and the quantization it tells."""
    words = re.findall(r"[a-z0-9.]+", _last(name))
    told = [_QUANTIZED[word] for word in words if word in _QUANTIZED]
    # "GPTQ-Int8" and "AWQ-INT4" name a method and its bits.
    quantization = "int8" if "int8" in told else next(iter(told), None)
    return frozenset(words) - _NOISE, quantization

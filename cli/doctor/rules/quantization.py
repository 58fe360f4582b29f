"""The quantization asked for against that of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding, Severity
from cli.doctor.rules.kinds import QUANTIZATIONS
from cli.doctor.servers import VllmServer, chat_servers

_FAMILIES = {
    "awq": ("awq", "auto_awq", "awq_marlin", "cpu_awq"),
    "gptq": ("gptq", "auto_gptq", "gptq_marlin"),
    "fp8": ("fp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "fp8_per_tensor"),
    "mxfp4": ("mxfp4", "gpt_oss_mxfp4"),
    "compressed-tensors": ("compressed-tensors",),
    "bitsandbytes": ("bitsandbytes",),
    "nvfp4": ("modelopt_fp4", "compressed-tensors", "modelopt_mixed"),
}
# What published weights are called after; the first match counts.
_IN_NAME = (
    (re.compile(r"[-_.](awq)([-_.]|$)", re.IGNORECASE), "awq"),
    (re.compile(r"[-_.](gptq)([-_.]|$)", re.IGNORECASE), "gptq"),
    (re.compile(r"[-_.](fp8[-_]dynamic|w4a16|w8a8|w8a16)", re.IGNORECASE), "compressed-tensors"),
    (re.compile(r"[-_.](nvfp4|fp4)([-_.]|$)", re.IGNORECASE), "nvfp4"),
    (re.compile(r"[-_.](fp8)([-_.]|$)", re.IGNORECASE), "fp8"),
    (re.compile(r"[-_.](bnb[-_]4bit)", re.IGNORECASE), "bitsandbytes"),
)
# Quantized while loading, from 16-bit weights.
_ON_THE_FLY = frozenset(
    """
    fp8 fp8_per_tensor fp8_per_block fp8_per_channel int8_per_channel_weight_only nvfp4_per_token
    mxfp8 online bitsandbytes experts_int8 torchao inc
    """.split()
)
_UNCLEAR = re.compile(r"(int4|int8|4[-_]?bit|8[-_]?bit|autoround|quant|marlin)", re.IGNORECASE)
_TRUE = {"1", "true", "yes", "on"}


def check(configuration: Configuration) -> Iterator[Finding]:
    for server in chat_servers(configuration):
        model = server.model(configuration)[1]
        if model:
            yield from _flag(configuration, server, model)
            yield from _fp8_switch(configuration, server, model)
            yield from _cache(configuration, server, model)


def of_weights(configuration: Configuration, model: str) -> tuple[str | None, bool]:
    """The quantization of the published weights, None for 16 bit; whether it is known."""
    known = configuration.catalogue.find(model)
    if known is not None:
        return known.quantization, True
    for pattern, kind in _IN_NAME:
        if pattern.search(model):
            return kind, True
    return None, False


def _flag(configuration: Configuration, server: VllmServer, model: str) -> Iterator[Finding]:
    name, flag = server.option(configuration, "QUANTIZATION")
    if not flag or flag not in QUANTIZATIONS:
        return
    weights, known = of_weights(configuration, model)
    if weights is not None:
        if flag not in _FAMILIES.get(weights, (weights,)):
            yield _mismatch(configuration, name, flag, model, f"are {weights} already", weights)
        return
    if flag in _ON_THE_FLY:
        return
    local = model.startswith(("/", ".", "~"))
    if known:
        yield _mismatch(configuration, name, flag, model, "are not quantized", "")
    elif not local and not _UNCLEAR.search(model) and flag in {"awq", "gptq", "awq_marlin"}:
        yield configuration.finding(
            "warning",
            "quantization_unlikely",
            name,
            f"{name}={flag}, but nothing in the name {model} says that its weights are {flag}.",
            "vLLM stops if they are not; leave the variable empty and it finds out by itself.",
            f"{name}=",
        )


def _mismatch(
    configuration: Configuration, name: str, flag: str, model: str, state: str, weights: str
) -> Finding:
    method = weights if weights in {"awq", "gptq", "fp8"} else ""
    return configuration.finding(
        "error",
        "quantization_mismatch",
        name,
        f"{name}={flag}, but the weights of {model} {state}.",
        "vLLM compares the flag with the model's own configuration and stops.",
        f"{name}={method}",
    )


def _fp8_switch(configuration: Configuration, server: VllmServer, model: str) -> Iterator[Finding]:
    if configuration.value("VLLM_ENABLE_FP8").lower() not in _TRUE:
        return
    name, flag = server.option(configuration, "QUANTIZATION")
    weights, _ = of_weights(configuration, model)
    severity: Severity = "error"
    if flag and not flag.startswith("fp8"):
        because = f"{name}={flag} (line {configuration.line(name)}) asks for another"
        severity = "warning"
    elif weights not in {None, "fp8"}:
        because = f"the weights of {model} are {weights} already"
    else:
        return
    yield configuration.finding(
        severity,
        "quantization_mismatch",
        "VLLM_ENABLE_FP8",
        f"VLLM_ENABLE_FP8 asks for fp8 weights, and {because}.",
        "A model has one quantization: this line is left out, or vLLM stops.",
        "VLLM_ENABLE_FP8=false",
    )


def _cache(configuration: Configuration, server: VllmServer, model: str) -> Iterator[Finding]:
    name, cache = server.option(configuration, "KV_CACHE_DTYPE")
    weights, _ = of_weights(configuration, model)
    if cache == "fp8_e5m2" and weights == "fp8":
        yield configuration.finding(
            "error",
            "cache_type",
            name,
            f"{name}=fp8_e5m2 does not go with the fp8 weights of {model}.",
            "vLLM refuses to start: fp8 checkpoints need an fp8_e4m3 cache.",
            f"{name}=fp8",
        )

"""Keys and tokens: missing, left at their examples, or known to one side only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.servers import chat_servers

_EXAMPLE = re.compile(
    r"(^\$\(|^`|x{3,}|\*{3,}|\.{3}|…|<[^>]*>|change[-_ ]?me|your[-_ ]|[-_ ]here$|replace|example|"
    r"placeholder|todo|dummy|^token-abc123$|^(sk|hf)[-_]?(test|key|token)?$|"
    r"^(secret|password|token|key|api[-_]?key|test|admin|"
    r"qwerty|12345\d*|none|null)$)",
    re.IGNORECASE,
)
_HF_TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}|hf_oauth_[\w.\-]+")
_SECRETS = (
    "API_KEY",
    "LLM_API_KEY",
    "VLLM_API_KEY",
    "EMBED_API_KEY",
    "RERANK_API_KEY",
    "QDRANT_API_KEY",
    "GRAFANA_PASSWORD",
)
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORT, _LONG_ENOUGH = 8, 12
_MAKE = "Make one with: openssl rand -hex 32"

# Weights that the hub gives only to those who accepted their terms.
_GATED = re.compile(
    r"meta-llama/.+|google/(gemma|codegemma|paligemma|recurrentgemma|medgemma|shieldgemma)-.+|"
    r"mistralai/(mistral-large|codestral|pixtral-large|ministral-8b-instruct-2410|"
    r"mistral-small-instruct-2409|mathstral-gated).*|"
    r"(cohereforai|coherelabs)/(c4ai-)?(command|aya).+|bigcode/starcoder(base)?|"
    r"databricks/dbrx.+|black-forest-labs/.+",
    re.IGNORECASE,
)


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _examples(configuration)
    yield from _separators(configuration)
    yield from _hub_token(configuration)
    yield from _gated(configuration)
    yield from _open_to_the_network(configuration)
    yield from _one_sided(configuration)


def _is_example(value: str) -> bool:
    return _EXAMPLE.search(value.strip()) is not None or len(set(value)) <= 2 < len(value)


def _examples(configuration: Configuration) -> Iterator[Finding]:
    for name in _SECRETS:
        if name == "GRAFANA_PASSWORD" and not configuration.starts("grafana"):
            continue
        # Many servers want some key and compare it with nothing: only vLLM's is one of ours.
        if name in {"LLM_API_KEY", "VLLM_API_KEY"} and not chat_servers(configuration):
            continue
        for value in configuration.value(name).split(","):
            if value.strip() and _is_example(value):
                yield configuration.finding(
                    "error",
                    "example_secret",
                    name,
                    f"{name} is still an example or a word that is guessed first.",
                    f"Whoever has read the example has the key. {_MAKE}",
                    f"{name}=…",
                )
                break


def _separators(configuration: Configuration) -> Iterator[Finding]:
    value = configuration.value("API_KEY").strip()
    if re.search(r"[^,\s][\s;|]+[^,\s]", value):
        yield configuration.finding(
            "error",
            "bad_value",
            "API_KEY",
            "API_KEY holds a blank, semicolon or bar; several keys are separated by commas.",
            "All of it counts as one key, and none of those handed out opens anything.",
            f"API_KEY={','.join('…' for _ in re.split(r'[,;|]|[ ]+', value))}",
        )


def _hub_token(configuration: Configuration) -> Iterator[Finding]:
    if not _fetches(configuration):
        return
    for name in _TOKENS:
        value = configuration.value(name)
        if not value or (_HF_TOKEN.fullmatch(value) and not _is_example(value)):
            continue
        what = "is still the example" if _is_example(value) else "is no token of the hub"
        short = value.startswith("hf_") and not _is_example(value)
        yield configuration.finding(
            "warning" if short else "error",
            "bad_token",
            name,
            f"{name} {what} (one starts with hf_ and has 34 letters and digits after it).",
            "The hub answers 401 to every download with a wrong token, of open models too.",
            f"{name}=hf_…",
        )


def _fetches(configuration: Configuration) -> bool:
    pooling = configuration.starts("embedding") or configuration.starts("reranker")
    return bool(chat_servers(configuration)) or pooling


def _gated(configuration: Configuration) -> Iterator[Finding]:
    if any(configuration.value(name) or name in configuration.shell for name in _TOKENS):
        return
    if configuration.value("HF_TOKEN_FILE") or "HF_TOKEN_FILE" in configuration.shell:
        return
    if configuration.value("HF_HUB_OFFLINE").lower() in {"1", "true", "yes", "on"}:
        return
    if configuration.value("HF_ENDPOINT"):
        return
    models = [server.model(configuration) for server in chat_servers(configuration)]
    if models and (draft := configuration.value("VLLM_SPECULATIVE_MODEL")):
        models.append(("VLLM_SPECULATIVE_MODEL", draft))
    for role, service in (("EMBED_MODEL", "embedding"), ("RERANK_MODEL", "reranker")):
        if configuration.starts(service):
            models.append((role, configuration.value(role)))
    for name, model in models:
        if _GATED.fullmatch(model):
            yield _token_missing(configuration, name, model)
            return


def _token_missing(configuration: Configuration, name: str, model: str) -> Finding:
    anchor = next((token for token in _TOKENS if token in configuration.entries), name)
    line = "" if anchor != name else f"{configuration.written(name)}\n"
    token = anchor if anchor in _TOKENS else "HF_TOKEN"
    place = f" (line {configuration.line(name)})" if configuration.line(name) else ""
    return configuration.finding(
        "error",
        "token_missing",
        anchor,
        f"{name}={model}{place} is gated, and {' or '.join(_TOKENS)} is not set.",
        "The hub refuses the download with 401 and vLLM stops. Accept the terms on the model's "
        "page and set a token.",
        f"{line}{token}=hf_…",
    )


def _open_to_the_network(configuration: Configuration) -> Iterator[Finding]:
    address = configuration.value("BIND_ADDRESS")
    try:
        local = not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return
    keys = [key.strip() for key in configuration.value("API_KEY").split(",") if key.strip()]
    if not local and not keys and not configuration.value("API_KEY_FILE"):
        yield configuration.finding(
            "error",
            "open_without_key",
            "BIND_ADDRESS",
            f"BIND_ADDRESS={address} opens the backend to the network, and API_KEY is not set.",
            f"Everybody who reaches this machine can read, add and delete all documents. {_MAKE}",
            f"BIND_ADDRESS={address}\nAPI_KEY=…",
        )
    if (
        not local
        and configuration.starts("grafana")
        and not configuration.value("GRAFANA_PASSWORD")
    ):
        yield configuration.finding(
            "error",
            "open_without_key",
            "BIND_ADDRESS",
            f"BIND_ADDRESS={address} opens Grafana to the network without GRAFANA_PASSWORD.",
            f"Its administrator's first password is admin. {_MAKE}",
            f"BIND_ADDRESS={address}\nGRAFANA_PASSWORD=…",
        )
    yield from _weak(configuration, keys, local=local)


def _weak(configuration: Configuration, keys: list[str], *, local: bool) -> Iterator[Finding]:
    weak = [key for key in keys if len(key) < _LONG_ENOUGH and not _is_example(key)]
    if weak:
        shortest = min(len(key) for key in weak)
        yield configuration.finding(
            "error" if not local and shortest < _SHORT else "warning",
            "weak_key",
            "API_KEY",
            f"API_KEY has {shortest} characters; {_LONG_ENOUGH} are the least that cannot be "
            "guessed.",
            f"Keys are not limited in how often they may be tried. {_MAKE}",
            "API_KEY=…",
        )


def _one_sided(configuration: Configuration) -> Iterator[Finding]:
    """The compose files hand VLLM_API_KEY to the backend where LLM_API_KEY is unset."""
    asked, required = configuration.value("LLM_API_KEY"), configuration.value("VLLM_API_KEY")
    if not chat_servers(configuration) or not asked or asked == required:
        return
    if required:
        yield configuration.finding(
            "error",
            "keys_differ",
            "LLM_API_KEY",
            "LLM_API_KEY and VLLM_API_KEY (line "
            f"{configuration.line('VLLM_API_KEY')}) are different keys.",
            "vLLM answers 401 to every request of the backend.",
            "LLM_API_KEY=${VLLM_API_KEY}",
        )
    elif configuration.mode == "vllm" and not configuration.value("LLM_VLLM_URL"):
        yield configuration.finding(
            "warning",
            "key_not_required",
            "LLM_API_KEY",
            "LLM_API_KEY is set, but VLLM_API_KEY is not.",
            "The backend sends a key that vLLM does not ask for: the server stays open to "
            "everything on its network.",
            "VLLM_API_KEY=…\nLLM_API_KEY=${VLLM_API_KEY}",
        )

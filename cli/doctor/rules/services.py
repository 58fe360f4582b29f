"""Whether what the backend asks is what Compose starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from urllib.parse import urlsplit

from backend.core.deployment import BASE_FILE, SERVICES
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.urls import ours

PROFILES = {profile for service in SERVICES for profile in service.profiles if profile}
_SERVERS = {"ollama": "llm-ollama", "vllm": "llm-vllm", "llamacpp": "llm-llamacpp"}
URL_OF = {"ollama": "LLM_OLLAMA_URL", "vllm": "LLM_VLLM_URL", "llamacpp": "LLM_LLAMACPP_URL"}


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _unknown_profiles(configuration)
    if configuration.compose_file == BASE_FILE:
        yield from _mode_and_profiles(configuration)
        yield from _idle_servers(configuration)
    else:
        yield from _mode_and_file(configuration)
    yield from _embedding(configuration)
    yield from _reranking(configuration)


def _unknown_profiles(configuration: Configuration) -> Iterator[Finding]:
    # Compose reads "a, b" as "a" and "b"; a blank or a semicolon between them makes one name.
    for profile in sorted(configuration.profiles - PROFILES - {"*"}):
        parts = [part for part in profile.replace(";", " ").replace("+", " ").split() if part]
        near = [_nearest(part) for part in parts]
        rest = sorted(configuration.profiles & PROFILES)
        meant = ",".join([*rest, *(name for name in near if name and name not in rest)])
        yield configuration.finding(
            "error",
            "unknown_profile",
            "COMPOSE_PROFILES",
            f"COMPOSE_PROFILES names {profile!r}, and no service has that profile.",
            "Compose starts nothing for it and says nothing. There are: "
            f"{', '.join(sorted(PROFILES))}; several are separated by commas.",
            f"COMPOSE_PROFILES={meant}",
        )


def _nearest(profile: str) -> str:
    familiar = {"llama.cpp": "llamacpp", "llama-cpp": "llamacpp", "rerank": "reranker"}
    plain = profile.lower().removeprefix("llm-")
    if plain in PROFILES:
        return plain
    if plain in familiar:
        return familiar[plain]
    near = difflib.get_close_matches(plain, sorted(PROFILES), n=1, cutoff=0.6)
    return near[0] if near else ""


def _mode_name(configuration: Configuration) -> str:
    backend_only = configuration.value("LLM_BACKEND") and not configuration.value("LLM_MODE")
    return "LLM_BACKEND" if backend_only else "LLM_MODE"


def _elsewhere(configuration: Configuration, mode: str) -> bool:
    """The operator names a server that is none of ours."""
    url = configuration.value(URL_OF[mode])
    host = urlsplit(url).hostname if "//" in url else None
    return bool(host) and not ours(host or "") and host not in {"localhost", "127.0.0.1"}


def model_belongs_to(configuration: Configuration) -> str | None:
    """The provider whose kind of model name LLM_MODEL is, or whose variables are the only ones."""
    model = configuration.value("LLM_MODEL")
    if model.endswith(".gguf"):
        return "llamacpp"
    if ":" in model and "/" not in model:
        return "ollama"
    if "/" in model and ":" not in model and not model.startswith("hf.co/"):
        return "vllm"
    names = {"ollama": "OLLAMA_MODEL", "vllm": "VLLM_MODEL", "llamacpp": "LLAMACPP_MODEL_FILE"}
    there = [provider for provider, name in names.items() if configuration.value(name)]
    return there[0] if len(there) == 1 else None


def mode_is_the_odd_one(configuration: Configuration) -> bool:
    """The profile and the model agree with each other, and LLM_MODE with neither."""
    chosen = sorted(configuration.profiles & set(_SERVERS))
    return (
        configuration.compose_file == BASE_FILE
        and len(chosen) == 1
        and chosen[0] != configuration.mode
        and (
            not (configuration.value("LLM_MODE") or configuration.value("LLM_BACKEND"))
            or model_belongs_to(configuration) == chosen[0]
        )
    )


def _mode_and_profiles(configuration: Configuration) -> Iterator[Finding]:
    mode = configuration.mode
    if mode not in _SERVERS or _elsewhere(configuration, mode):
        return
    if configuration.starts(_SERVERS[mode]) or (configuration.profiles - PROFILES):
        return
    name = _mode_name(configuration)
    started = [service.name for service in configuration.started if service.provider]
    profiles = configuration.value("COMPOSE_PROFILES")
    lines = ", ".join(
        f"{one} in line {configuration.line(one)}"
        for one in (name, "COMPOSE_PROFILES")
        if configuration.line(one)
    )
    odd = not profiles or mode_is_the_odd_one(configuration)
    yield configuration.beside(
        "COMPOSE_PROFILES",
        "error",
        "mode_without_server",
        name if odd else "COMPOSE_PROFILES",
        f"{name}={mode} asks {_SERVERS[mode]}, but COMPOSE_PROFILES={profiles or '(unset)'} starts "
        f"{' and '.join(started) or 'no chat model server'} ({lines}).",
        "The backend starts and answers every question with an error, because nothing is there.",
        _agreeing(configuration, name, profiles),
    )


def _agreeing(configuration: Configuration, name: str, profiles: str) -> str:
    mode = configuration.mode
    if not profiles:
        written = f"{configuration.written(name)}\n" if configuration.value(name) else ""
        return f"{written}COMPOSE_PROFILES={mode}"
    if mode_is_the_odd_one(configuration):
        return f"{name}={min(configuration.profiles & set(_SERVERS))}"
    others = [part.strip() for part in profiles.split(",") if part.strip() not in {"", *_SERVERS}]
    return f"COMPOSE_PROFILES={','.join([mode, *others])}"


def _idle_servers(configuration: Configuration) -> Iterator[Finding]:
    idle = [
        service
        for service in configuration.started
        if service.provider and service.provider != configuration.mode
    ]
    wanted = _SERVERS.get(configuration.mode)
    if not idle or wanted is None or not configuration.starts(wanted):
        return
    names = " and ".join(service.name for service in idle)
    keep = [
        profile.strip()
        for profile in configuration.value("COMPOSE_PROFILES").split(",")
        if profile.strip() not in {str(service.provider) for service in idle}
    ]
    yield configuration.finding(
        "warning",
        "idle_server",
        "COMPOSE_PROFILES",
        f"COMPOSE_PROFILES starts {names} too, which LLM_MODE={configuration.mode} never asks.",
        "It takes memory, on the GPU too, that the other server then lacks.",
        f"COMPOSE_PROFILES={','.join(keep)}",
    )


def _mode_and_file(configuration: Configuration) -> Iterator[Finding]:
    for name in ("LLM_MODE", "LLM_BACKEND"):
        value = configuration.value(name)
        if value and value != "vllm" and value in {*_SERVERS, "none"}:
            yield configuration.finding(
                "error",
                "mode_against_file",
                name,
                f"{name}={value}, but {configuration.compose_file} starts vLLM and nothing else.",
                f"That file sets LLM_MODE=vllm for the backend. For {value} start "
                "docker-compose.yml, without -f.",
                f"{name}=vllm",
            )
    if configuration.profiles & set(_SERVERS) - {"vllm"}:
        wrong = sorted(configuration.profiles & set(_SERVERS) - {"vllm"})
        keep = sorted(configuration.profiles - set(_SERVERS))
        yield configuration.finding(
            "warning",
            "profile_against_file",
            "COMPOSE_PROFILES",
            f"COMPOSE_PROFILES={','.join(wrong)} has no effect with {configuration.compose_file}.",
            "That file takes the chat model servers of docker-compose.yml out; only vLLM starts.",
            f"COMPOSE_PROFILES={','.join(keep)}",
        )


def _embedding(configuration: Configuration) -> Iterator[Finding]:
    provider = configuration.value("EMBED_PROVIDER", "bundled")
    profile = configuration.starts("embedding")
    if (
        provider == "openai"
        and not profile
        and ours(_host(configuration, "EMBED_URL", "embedding"))
    ):
        yield _needs_profile(configuration, "EMBED_PROVIDER=openai", "embedding")
    if provider not in {"bundled", "openai", "sentence-transformers"}:
        return
    if profile and provider != "openai":
        yield configuration.beside(
            "COMPOSE_PROFILES",
            "warning",
            "idle_server",
            "EMBED_PROVIDER",
            f"The profile embedding starts a server that EMBED_PROVIDER={provider} never asks.",
            "It takes GPU memory for nothing.",
            "EMBED_PROVIDER=openai",
        )
    if (provider == "openai" or profile) and not configuration.value("EMBED_MODEL"):
        yield _needs_model(configuration, "EMBED", "embedding", "intfloat/multilingual-e5-large")
    elif provider == "sentence-transformers" and not configuration.value("EMBED_MODEL"):
        yield _needs_model(configuration, "EMBED", "embedder", "intfloat/multilingual-e5-large")
    elif provider == "bundled" and configuration.value("EMBED_MODEL"):
        yield configuration.finding(
            "warning",
            "model_without_provider",
            "EMBED_MODEL",
            "EMBED_MODEL is set, but EMBED_PROVIDER=bundled uses its own model.",
            "The variable has no effect.",
            f"{configuration.written('EMBED_MODEL')}\nEMBED_PROVIDER=openai",
        )


def _reranking(configuration: Configuration) -> Iterator[Finding]:
    provider = configuration.value("RERANK_PROVIDER", "off")
    profile = configuration.starts("reranker")
    if (
        provider == "server"
        and not profile
        and ours(_host(configuration, "RERANK_URL", "reranker"))
    ):
        yield _needs_profile(configuration, "RERANK_PROVIDER=server", "reranker")
    if provider not in {"off", "server", "cross-encoder"}:
        return
    if profile and provider != "server":
        yield configuration.beside(
            "COMPOSE_PROFILES",
            "warning",
            "idle_server",
            "RERANK_PROVIDER",
            f"The profile reranker starts a server that RERANK_PROVIDER={provider} never asks.",
            "It takes GPU memory for nothing.",
            "RERANK_PROVIDER=server",
        )
    if (provider != "off" or profile) and not configuration.value("RERANK_MODEL"):
        yield _needs_model(configuration, "RERANK", "reranker", "BAAI/bge-reranker-v2-m3")


def _host(configuration: Configuration, name: str, default: str) -> str:
    url = configuration.value(name, f"http://{default}")
    return (urlsplit(url).hostname or "") if "//" in url else default


def _needs_profile(configuration: Configuration, setting: str, profile: str) -> Finding:
    name = setting.split("=", maxsplit=1)[0]
    profiles = configuration.value("COMPOSE_PROFILES")
    chosen = [profiles] if profiles else []
    if not chosen and configuration.compose_file == BASE_FILE and configuration.mode in _SERVERS:
        chosen = [configuration.mode]
    place = f" (line {configuration.line(name)})" if configuration.line(name) else ""
    return configuration.finding(
        "error",
        "service_not_started",
        "COMPOSE_PROFILES" if profiles else name,
        f"{setting}{place} asks the service {profile}, which COMPOSE_PROFILES="
        f"{profiles or '(unset)'} does not start.",
        "The backend finds nobody at that address: documents and questions fail.",
        ("" if profiles else f"{configuration.written(name)}\n")
        + f"COMPOSE_PROFILES={','.join([*chosen, profile])}",
    )


def _needs_model(configuration: Configuration, role: str, server: str, example: str) -> Finding:
    provider = f"{role}_PROVIDER"
    return configuration.beside(
        provider if provider in configuration.entries else "COMPOSE_PROFILES",
        "error",
        "model_missing",
        f"{role}_MODEL",
        f"{role}_MODEL is not set, so the {server} has no model to load ({provider}="
        f"{configuration.value(provider) or 'unset'}).",
        "The backend and the server stop at the start.",
        f"{role}_MODEL={example}",
    )

"""Whether the chat model server that the backend asks is the one that Compose starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from urllib.parse import urlsplit

from backend.core.deployment import BASE_FILE, SERVICES
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.urls import ours

PROFILES = {profile for service in SERVICES for profile in service.profiles if profile}
SERVERS = {"ollama": "llm-ollama", "vllm": "llm-vllm", "llamacpp": "llm-llamacpp"}
URL_OF = {"ollama": "LLM_OLLAMA_URL", "vllm": "LLM_VLLM_URL", "llamacpp": "LLM_LLAMACPP_URL"}


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _unknown_profiles(configuration)
    if configuration.compose_file == BASE_FILE:
        yield from _mode_and_profiles(configuration)
        yield from _idle_servers(configuration)
    else:
        yield from _mode_and_file(configuration)


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
    chosen = sorted(configuration.profiles & set(SERVERS))
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
    if mode not in SERVERS or _elsewhere(configuration, mode):
        return
    if configuration.starts(SERVERS[mode]) or (configuration.profiles - PROFILES):
        return
    name = _mode_name(configuration)
    if configuration.in_compose and not configuration.value("COMPOSE_PROFILES"):
        if configuration.preflight_for not in {"", "ollama"}:
            yield _typed_profile(configuration, name)
            return
        if not configuration.preflight_for:
            return  # a profile may have been typed; the preflight of its server sees it
    elif configuration.preflight_for and configuration.typed_profile:
        yield _typed_profile(configuration, name)
        return
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
        f"{name}={mode} asks {SERVERS[mode]}, but COMPOSE_PROFILES={profiles or '(unset)'} starts "
        f"{' and '.join(started) or 'no chat model server'}{lines and f' ({lines})'}.",
        "The backend starts and answers every question with an error, because nothing is there.",
        _agreeing(configuration, name, profiles),
    )


def _typed_profile(configuration: Configuration, name: str) -> Finding:
    """``docker compose --profile …``: only the preflight that is started with it can know."""
    profile, mode = configuration.preflight_for, configuration.mode
    said = f"{name}={mode}" if configuration.value(name) else f"{name} is not set, which means"
    said = said if configuration.value(name) else f"{said} {mode}"
    return configuration.finding(
        "error",
        "profile_against_mode",
        name,
        f"The profile {profile} is being started, but {said}: the backend asks {SERVERS[mode]}.",
        "The backend starts and answers every question with an error, because nothing is there. "
        "To start several servers at once, name them in COMPOSE_PROFILES.",
        f"{name}={profile}",
    )


def _agreeing(configuration: Configuration, name: str, profiles: str) -> str:
    mode = configuration.mode
    if not profiles:
        written = f"{configuration.written(name)}\n" if configuration.value(name) else ""
        return f"{written}COMPOSE_PROFILES={mode}"
    if mode_is_the_odd_one(configuration):
        return f"{name}={min(configuration.profiles & set(SERVERS))}"
    others = [part.strip() for part in profiles.split(",") if part.strip() not in {"", *SERVERS}]
    return f"COMPOSE_PROFILES={','.join([mode, *others])}"


def _idle_servers(configuration: Configuration) -> Iterator[Finding]:
    idle = [
        service
        for service in configuration.started
        if service.provider and service.provider != configuration.mode
    ]
    wanted = SERVERS.get(configuration.mode)
    if not idle or (wanted is not None and not configuration.starts(wanted)):
        return
    if wanted is None and not configuration.profiles & set(SERVERS):
        return  # nothing was chosen, and Compose starts Ollama
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
        f"COMPOSE_PROFILES starts {names}{' too' if wanted else ''}, which "
        f"LLM_MODE={configuration.mode} never asks.",
        "It takes memory, on the GPU too, that the other server then lacks."
        if wanted
        else "It takes memory, on the GPU too, and nobody asks it anything.",
        f"COMPOSE_PROFILES={','.join(keep)}",
    )


def _mode_and_file(configuration: Configuration) -> Iterator[Finding]:
    for name in ("LLM_MODE", "LLM_BACKEND"):
        value = configuration.value(name)
        if value and value != "vllm":
            yield configuration.finding(
                "error" if value in {*SERVERS, "none"} or name == "LLM_BACKEND" else "warning",
                "mode_against_file",
                name,
                f"{name}={value}, but {configuration.compose_file} starts vLLM and nothing else.",
                f"That file sets LLM_MODE=vllm for the backend. For {value} start "
                "docker-compose.yml, without -f.",
                f"{name}=vllm",
            )
    if configuration.profiles & set(SERVERS) - {"vllm"}:
        wrong = sorted(configuration.profiles & set(SERVERS) - {"vllm"})
        keep = sorted(configuration.profiles - set(SERVERS))
        yield configuration.finding(
            "warning",
            "profile_against_file",
            "COMPOSE_PROFILES",
            f"COMPOSE_PROFILES={','.join(wrong)} has no effect with {configuration.compose_file}.",
            "That file takes the chat model servers of docker-compose.yml out; only vLLM starts.",
            f"COMPOSE_PROFILES={','.join(keep)}",
        )

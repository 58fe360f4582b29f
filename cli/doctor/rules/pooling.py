"""Whether the embedding and the reranking server are started, asked, and have a model."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from backend.core.deployment import BASE_FILE
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.services import SERVERS
from cli.doctor.rules.urls import ours


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _embedding(configuration)
    yield from _reranking(configuration)


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
    if not chosen and configuration.compose_file == BASE_FILE and configuration.mode in SERVERS:
        chosen = [configuration.mode]
    place = f" (line {configuration.line(name)})" if configuration.line(name) else ""
    # A profile that is typed cannot be seen from the preflight.
    hidden = configuration.in_compose and not profiles
    return configuration.finding(
        "warning" if hidden else "error",
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
    ask = {"EMBED": "openai", "RERANK": "server"}[role]
    asked = "" if configuration.value(provider) else f"{provider}={ask}\n"
    return configuration.beside(
        provider if provider in configuration.entries else "COMPOSE_PROFILES",
        "error",
        "model_missing",
        f"{role}_MODEL",
        f"{role}_MODEL is not set, so the {server} has no model to load ({provider}="
        f"{configuration.value(provider) or 'unset'}).",
        "The backend and the server stop at the start.",
        f"{asked}{role}_MODEL={example}",
    )

"""Addresses, as they are seen from inside the backend's container."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from backend.core.deployment import SERVICES, Service
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding

# The names our compose files give the servers beside those of the services.
_ALIASES = {"ollama": "llm-ollama", "vllm": "llm-vllm"}
_LOCAL = {"localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]"}  # noqa: S104
_CHAT_OF_VLLM = ("llm-vllm", "vllm", "vllm-medium")


def ours(host: str) -> bool:
    return host in _ALIASES or any(service.name == host for service in SERVICES)


def check(configuration: Configuration) -> Iterator[Finding]:
    for name, service in _asked(configuration):
        value = configuration.value(name)
        if value:
            yield from _url(configuration, name, value, service)


def _asked(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """The addresses that would be used, each with the service that should be there."""
    chat = next((name for name in _CHAT_OF_VLLM if configuration.starts(name)), "llm-vllm")
    mode = configuration.mode
    if mode == "vllm":
        yield "LLM_VLLM_URL", chat
    elif mode == "ollama":
        yield "LLM_OLLAMA_URL", "llm-ollama"
    elif mode == "llamacpp":
        yield "LLM_LLAMACPP_URL", "llm-llamacpp"
    yield "LLM_SMALL_URL", "vllm-small"
    if configuration.value("EMBED_PROVIDER") == "openai":
        yield "EMBED_URL", "embedding"
    if configuration.value("RERANK_PROVIDER") == "server":
        yield "RERANK_URL", "reranker"
    yield "QDRANT_URL", "qdrant"


def _url(configuration: Configuration, name: str, value: str, expected: str) -> Iterator[Finding]:
    right = _right(name, expected)
    parts = _parts(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        mended = re.sub(r"^(https?:/*|ht+ps?:/*|//)?", "http://", re.sub(r"\s", "", value), count=1)
        again = _parts(mended)
        fix = mended if again is not None and again.hostname not in _LOCAL else right
        yield configuration.finding(
            "error",
            "bad_url",
            name,
            f"{name}={value} is no URL: it starts with http:// or https://, has a host and "
            "perhaps a port.",
            "The backend cannot send a request to it.",
            f"{name}={fix}",
        )
        return
    host = parts.hostname
    if host in _LOCAL:
        yield configuration.finding(
            "error",
            "localhost_in_container",
            name,
            f"{name}={value} points to the backend's own container.",
            f"Inside a container {host} is the container itself; the server is at "
            f"{expected}, and one on the host at host.docker.internal.",
            f"{name}={right}",
        )
    elif ours(host):
        yield from _of_ours(configuration, name, value, parts)
    elif near := _misspelt(host):
        yield configuration.finding(
            "error",
            "unknown_host",
            name,
            f"{name}={value}: nothing here is called {host}; there is {near}.",
            "The name cannot be resolved, and every request to it fails.",
            f"{name}={value.replace(host, near, 1)}",
        )
    yield from _path(configuration, name, value, parts)


def _misspelt(host: str) -> str | None:
    """One of our names that is a letter or two off; a name with a dot is somebody else's."""
    names = [*_ALIASES, *(service.name for service in SERVICES)]
    if "." in host or any(name in host for name in names):
        return None
    near = difflib.get_close_matches(host, names, n=1, cutoff=0.8)
    return near[0] if near else None


def _parts(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return None if re.search(r"\s", value) else parts


def _service(configuration: Configuration, host: str) -> Service | None:
    """What answers to ``host`` in this deployment, started or not."""
    if host == "vllm":
        names = [name for name in _CHAT_OF_VLLM if configuration.starts(name)] or ["llm-vllm"]
        host = names[0]
    else:
        host = _ALIASES.get(host, host)
    return next((service for service in SERVICES if service.name == host), None)


def _of_ours(
    configuration: Configuration, name: str, value: str, parts: SplitResult
) -> Iterator[Finding]:
    service = _service(configuration, parts.hostname or "")
    if service is None:
        return
    if not configuration.starts(service.name):
        # That the mode, the embedder or the reranker lacks its server is said by its own rule.
        if name in {"LLM_SMALL_URL"} or service.name not in _servers_of(name):
            yield configuration.finding(
                "error",
                "service_not_started",
                name,
                f"{name}={value} names {parts.hostname}, which does not start with "
                f"{configuration.compose_file} and COMPOSE_PROFILES="
                f"{configuration.value('COMPOSE_PROFILES') or '(unset)'}.",
                "The name cannot be resolved, and every request to it fails.",
                configuration.written(name)
                if name == "LLM_SMALL_URL"
                else f"{name}={_right(name, _expected(configuration, name))}",
                "remove" if name == "LLM_SMALL_URL" else "write",
            )
        return
    if service.name not in _servers_of(name):
        yield configuration.finding(
            "error",
            "wrong_service",
            name,
            f"{name}={value} points to {service.name}, which is another kind of server.",
            "It does not know these requests.",
            f"{name}={_right(name, _expected(configuration, name))}",
        )
        return
    yield from _port(configuration, name, value, parts, service)


def _port(
    configuration: Configuration, name: str, value: str, parts: SplitResult, service: Service
) -> Iterator[Finding]:
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if parts.scheme == "https" or port != service.inner_port:
        yield configuration.finding(
            "error",
            "wrong_port",
            name,
            f"{name}={value}: {service.name} listens at {service.inner_port} inside the network, "
            "without TLS.",
            "Ports changed with a *_PORT variable are those of the host; between containers the "
            "inner port counts.",
            f"{name}=http://{parts.hostname}:{service.inner_port}{parts.path}",
        )


def _servers_of(name: str) -> tuple[str, ...]:
    return {
        "LLM_VLLM_URL": (*_CHAT_OF_VLLM, "vllm-small"),
        "LLM_SMALL_URL": (*_CHAT_OF_VLLM, "vllm-small", "llm-llamacpp"),
        "LLM_OLLAMA_URL": ("llm-ollama",),
        "LLM_LLAMACPP_URL": ("llm-llamacpp",),
        "EMBED_URL": ("embedding",),
        "RERANK_URL": ("reranker",),
        "QDRANT_URL": ("qdrant",),
    }[name]


def _expected(configuration: Configuration, name: str) -> str:
    return next(service for asked, service in _asked(configuration) if asked == name)


def _right(name: str, service_name: str) -> str:
    service = next(service for service in SERVICES if service.name == service_name)
    host = {"llm-ollama": "ollama", "llm-vllm": "vllm", "vllm-medium": "vllm"}.get(
        service_name, service_name
    )
    path = "" if name in {"LLM_OLLAMA_URL", "QDRANT_URL"} else "/v1"
    return f"http://{host}:{service.inner_port}{path}"


def _path(
    configuration: Configuration, name: str, value: str, parts: SplitResult
) -> Iterator[Finding]:
    path = parts.path.rstrip("/")
    root = value.removesuffix("/").removesuffix(path)
    wanted = "" if name in {"LLM_OLLAMA_URL", "QDRANT_URL"} else "/v1"
    # llama.cpp answers at both.
    if path == wanted or (name == "LLM_LLAMACPP_URL" and not path):
        return
    if path in {"", "/v1"} and name != "QDRANT_URL":
        kind = "Ollama is asked by its own API" if not wanted else "The API is below /v1"
        yield configuration.finding(
            "warning",
            "url_path",
            name,
            f"{name}={value} {'ends in /v1' if path else 'lacks /v1'}.",
            f"{kind}; the backend copes with it, other programs that read the file do not.",
            f"{name}={root}{wanted}",
        )
    elif ours(parts.hostname or "") or path.endswith(("/completions", "/embeddings", "/rerank")):
        yield configuration.finding(
            "error",
            "url_path",
            name,
            f"{name}={value} has the path {path}; it must end in {wanted or 'the port'}.",
            "The backend adds the path of each request itself; this way all of them get 404.",
            f"{name}={root}{wanted}",
        )

"""Models for Ollama: its server fetches, resumes and checks them; here is asked for and watched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from backend.core.deployment import SERVICES
from cli.hub_download import check_address
from cli.model_fetch import FetchError
from cli.ollama_names import PUBLIC_REGISTRY, OllamaName, hint, parse

SERVICE = next(service for service in SERVICES if service.provider == "ollama")
_INNER_NAMES = frozenset({"ollama", SERVICE.name})
START = "docker compose --profile ollama up -d llm-ollama"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# The server is silent while it checks a large layer.
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_SHORT = httpx.Timeout(15.0, connect=5.0)
_UNKNOWN = ("file does not exist", "not found", "invalid model name")


class LayerReporter(Protocol):
    """What the person waiting is told. A layer is a file of the model."""

    def note(self, line: str) -> None: ...

    def layer(self, digest: str, total_bytes: int, done_bytes: int) -> None: ...


def server_url(environment: Mapping[str, str]) -> str:
    """LLM_OLLAMA_URL; its name within the compose network stands for the published port.

    Raises:
        FetchError: a variable makes no address.
    """
    said = environment.get("LLM_OLLAMA_URL", "")
    if said and httpx.URL(check_address("LLM_OLLAMA_URL", said)).host not in _INNER_NAMES:
        return said.rstrip("/").removesuffix("/v1")
    address = environment.get("BIND_ADDRESS", "")
    host = "127.0.0.1" if address in {"", "0.0.0.0", "::"} else address  # noqa: S104
    url = f"http://{host}:{environment.get('OLLAMA_PORT') or SERVICE.default_port}"
    return check_address("OLLAMA_PORT", url)


@dataclass(frozen=True, slots=True)
class Ollama:
    url: str

    def pull(self, name: str, reporter: LayerReporter) -> None:
        """Returns when the server can serve the model.

        Raises:
            FetchError: it cannot; what it fetched it keeps for the next time.
        """
        parse(name)
        last = ""
        try:
            with self._client(_TIMEOUT) as client:
                for event in self._events(client, name):
                    last = _show(event, reporter, last)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise FetchError(self._unreachable()) from error
        except httpx.HTTPError as error:
            raise FetchError(
                f"The connection to Ollama at {self.url} broke ({type(error).__name__})."
                " The same command goes on from here."
            ) from error
        if last != "success":
            raise FetchError(f"Ollama stopped before the end, after {last!r}. Try again.")
        if not self.has(name):
            raise FetchError(f"Ollama says it has fetched {name}, and does not know it.")

    def has(self, name: str) -> bool:
        """Whether the server can serve it.

        Raises:
            FetchError: no server answers.
        """
        try:
            with self._client(_SHORT) as client:
                response = client.post(f"{self.url}/api/show", json={"model": name})
        except httpx.HTTPError as error:
            raise FetchError(self._unreachable()) from error
        if response.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            raise FetchError(f"Ollama at {self.url} answered {response.status_code} to /api/show.")
        return response.is_success

    def _client(self, timeout: httpx.Timeout) -> httpx.Client:
        # A proxy for the internet is none for a server of this machine.
        local = httpx.URL(self.url).host in {"127.0.0.1", "localhost", "::1"}
        return httpx.Client(timeout=timeout, trust_env=not local)

    def _events(self, client: httpx.Client, name: str) -> Iterator[Mapping[str, Any]]:
        body = {"model": name, "stream": True}
        with client.stream("POST", f"{self.url}/api/pull", json=body) as response:
            if response.is_error:
                response.read()
                raise FetchError(_failure(name, _error_of(response.text, response.status_code)))
            for line in response.iter_lines():
                if not line.strip():
                    continue
                event = _event(line)
                if "error" in event:
                    raise FetchError(_failure(name, str(event["error"])))
                yield event

    def _unreachable(self) -> str:
        return (
            f"No Ollama answers at {self.url}. Start it:\n  {START}\n"
            "Another server's address goes into LLM_OLLAMA_URL, another port into OLLAMA_PORT."
        )


def registry_bytes(name: str, registry_url: str | None = None) -> int:
    """How big the model is, as its registry says; the server is not asked.

    Raises:
        FetchError: there is no such model, or the registry is not reached.
    """
    model: OllamaName = parse(name)
    base = registry_url or f"https://{model.host}"
    url = f"{base}/v2/{model.namespace}/{model.model}/manifests/{model.tag}"
    try:
        response = httpx.get(
            url, headers={"Accept": _MANIFEST}, timeout=_SHORT, follow_redirects=True
        )
    except httpx.HTTPError as error:
        raise FetchError(f"{model.host} is unreachable ({type(error).__name__}).") from error
    if response.status_code in {httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED}:
        raise FetchError(_unknown(name))
    if response.is_error:
        raise FetchError(f"{model.host} answered {response.status_code}.")
    try:
        manifest = response.json()
        return sum(int(part["size"]) for part in (manifest["config"], *manifest["layers"]))
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{model.host} did not answer as a registry of Ollama does.") from error


def _show(event: Mapping[str, Any], reporter: LayerReporter, last: str) -> str:
    """The event's status, which is told when it is new."""
    status = str(event.get("status", ""))
    digest, total = event.get("digest"), event.get("total")
    if isinstance(digest, str) and isinstance(total, int):
        reporter.layer(digest, total, int(event.get("completed") or 0))
    elif status != last:
        reporter.note(status)
    return status


def _event(line: str) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise FetchError("Ollama answered something that is no JSON.") from error
    if not isinstance(event, dict):
        raise FetchError("Ollama answered something that is no event.")
    return event


def _error_of(body: str, status: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"answered {status}"


def _failure(name: str, error: str) -> str:
    if any(words in error for words in _UNKNOWN):
        return f"{_unknown(name)} (Ollama: {error})"
    if "newer version of Ollama" in error:
        return f"{name} needs a newer Ollama: set OLLAMA_IMAGE to one. (Ollama: {error})"
    if "no space left" in error:
        return f"The disk of the Ollama server is full. (Ollama: {error})"
    return f"Ollama could not fetch {name}: {error}"


def _unknown(name: str) -> str:
    model = parse(name)
    where = "Ollama's registry" if model.host == PUBLIC_REGISTRY else model.host
    return f"{where} has no {name}.{hint(name)} Its tags: {model.page}"

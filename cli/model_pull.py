"""``python -m cli.models pull --provider …``: a model for the server of that provider."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from cli import gguf_models, hub_models
from cli.hub_api import PUBLIC_HUB, TOKEN_VARIABLES, Hub, Token, check_repository
from cli.hub_download import check_address
from cli.hub_models import HubCache
from cli.model_fetch import FetchError
from cli.model_volume import Docker, HostFolder, Volume
from cli.ollama_models import Ollama, registry_bytes, server_url
from cli.pull_view import Bar, LayerBars, progress
from cli.terminal import errors, tell

ROOT = Path(__file__).parents[1]
GGUF_FOLDER = "./data/llamacpp"
# What is taken from the env file, and nothing else of it.
READ = frozenset(
    (
        *TOKEN_VARIABLES,
        *"HF_ENDPOINT HF_HUB_OFFLINE VLLM_MODEL LLM_MODEL OLLAMA_MODEL OLLAMA_PORT".split(),
        *"LLM_OLLAMA_URL BIND_ADDRESS LLAMACPP_MODELS_DIR LLAMACPP_MODEL_FILE".split(),
    )
)
_USAGE = {
    "vllm": "pull --provider vllm ORGANIZATION/NAME [REVISION]",
    "ollama": "pull --provider ollama NAME:TAG",
    "llamacpp": "pull --provider llamacpp ORGANIZATION/NAME FILE.gguf [REVISION]",
}


@dataclass(frozen=True, slots=True)
class Pull:
    """``environment``: the caller's variables; ``variables``: those of ``READ``, the env file's
    where the caller has none."""

    options: argparse.Namespace
    environment: Mapping[str, str]
    variables: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        names: list[str] = self.options.names
        return names

    @property
    def revision(self) -> str:
        least = 2 if self.options.provider == "llamacpp" else 1
        return self.names[least] if len(self.names) > least else "main"

    @property
    def offline(self) -> bool:
        said = self.variables.get("HF_HUB_OFFLINE", "").lower()
        return bool(self.options.offline) or said in {"1", "on", "yes", "true"}


def pull(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """The exit code.

    Raises:
        FetchError: the model could not be had.
    """
    request = Pull(options, environment, _variables(options.env_file, environment))
    if options.provider == "vllm":
        return _pull_vllm(_with_default(request, 2, "VLLM_MODEL"))
    if options.provider == "ollama":
        return _pull_ollama(_with_default(request, 1, "OLLAMA_MODEL"))
    if not 2 <= len(request.names) <= 3:
        raise FetchError(f"usage: python -m cli.models {_USAGE['llamacpp']}")
    return _pull_gguf(request)


def _pull_vllm(request: Pull) -> int:
    repository, revision, options = request.names[0], request.revision, request.options
    check_repository(repository, revision)
    where = _where(request)
    if request.offline:
        return _say_offline(request, where)
    hub = _hub(request.variables)
    plan = hub_models.plan(hub, repository, revision)
    selection = plan.selection
    tell(
        f"{repository} at {plan.listing.commit[:12]}: {len(selection.files)} files,"
        f" {_size(selection.size_bytes)}; {len(selection.left_out)} that vLLM does not read stay"
        " where they are."
    )
    if selection.has_code:
        tell("It holds Python code, which vLLM runs only with --trust-remote-code.")
    if isinstance(where, Volume):
        tell(f"Into the volume {where.name}, which the vLLM container reads.")
        if options.dry_run:
            return 0
        words = ["pull", "--provider", "vllm", repository, revision, f"--to={where.cache_inside}"]
        # An empty endpoint of the shell outranks the env file's, which the container has not.
        environment = {**request.environment, "HF_ENDPOINT": hub.url}
        return Docker(ROOT, environment, options.env_file).fetch(
            where, words, hub.token.value if hub.token else None
        )
    cache = HubCache(where.cache)
    tell(f"Into {cache.folder}: {_size(plan.missing_bytes(cache))} are not there yet.")
    if not options.dry_run:
        with progress(errors) as bars:
            hub_models.fetch(plan, hub, cache, revision, Bar(bars))
        print(f"VLLM_MODEL={repository}")
    return 0


def _where(request: Pull) -> HostFolder | Volume:
    if request.options.to is not None:
        return HostFolder(request.options.to.absolute())
    found = Docker(ROOT, request.environment, request.options.env_file).cache_of_vllm()
    if found is not None:
        return found
    # The places of huggingface_hub, in its order.
    home = request.environment.get("HF_HOME")
    folder = request.environment.get("HF_HUB_CACHE") or (f"{home}/hub" if home else None)
    tell("There is no Docker Compose here, so this is for a vLLM of this machine.")
    return HostFolder(Path(folder or "~/.cache/huggingface/hub").expanduser().absolute())


def _say_offline(request: Pull, where: HostFolder | Volume) -> int:
    repository = request.names[0]
    if isinstance(where, HostFolder):
        snapshot = HubCache(where.cache).found(repository, request.revision)
        if snapshot is not None:
            tell(f"{repository} is in {snapshot}.")
            return 0
        raise FetchError(f"{repository} is not in {where.cache}, and {_OFFLINE}")
    raise FetchError(f"{repository} was not fetched: {_OFFLINE}")


_OFFLINE = "offline mode is on. To fetch: HF_HUB_OFFLINE=0 before the command."


def _pull_gguf(request: Pull) -> int:
    repository, file = request.names[0], _as_served(request.names[1], request.variables)
    folder = request.options.to
    if folder is None:
        folder = ROOT / (request.variables.get("LLAMACPP_MODELS_DIR") or GGUF_FOLDER)
    folder = folder.resolve()
    if request.offline:
        path = folder / file.rpartition("/")[2]
        if path.is_file():
            tell(f"{path} is there.")
            return 0
        raise FetchError(f"{path} is not there, and {_OFFLINE}")
    hub = _hub(request.variables)
    gguf = gguf_models.plan(hub, repository, request.revision, file)
    missing = sum(target.missing_bytes for target in gguf.targets(folder))
    for source, name in gguf.files:
        renamed = f" as {name}" if name != source.name else ""
        tell(f"{repository}: {source.path}{renamed}, {_size(source.size_bytes)}")
    tell(f"Into {folder}: {_size(missing)} are not there yet.")
    if not request.options.dry_run:
        with progress(errors) as bars:
            gguf_models.fetch(gguf, hub, folder, Bar(bars), replace=request.options.replace)
        print(f"LLAMACPP_MODEL_FILE={gguf.first_name}")
    return 0


def _as_served(file: str, variables: Mapping[str, str]) -> str:
    """``file`` with the upper and lower case of the name that the server will look for."""
    folder, slash, name = file.rpartition("/")
    served = variables.get("LLAMACPP_MODEL_FILE", "")
    return folder + slash + served if served.lower() == name.lower() else file


def _pull_ollama(request: Pull) -> int:
    name = request.names[0]
    server = Ollama(server_url(request.variables))
    if request.offline:
        if server.has(name):
            tell(f"Ollama at {server.url} has {name}.")
            return 0
        raise FetchError(f"Ollama at {server.url} has no {name}, and {_OFFLINE}")
    if request.options.dry_run:
        total = registry_bytes(name)
        tell(f"{name}: {_size(total)}, to be fetched by Ollama at {server.url}.")
        return 0
    with progress(errors) as bars:
        server.pull(name, LayerBars(bars))
    tell(f"Ollama at {server.url} has {name}.")
    print(f"OLLAMA_MODEL={name}")
    return 0


def _with_default(request: Pull, most: int, variable: str) -> Pull:
    """Without a name: the model that the env file serves."""
    if len(request.names) > most:
        raise FetchError(f"usage: python -m cli.models {_USAGE[request.options.provider]}")
    if not request.names:
        name = request.variables.get(variable) or request.variables.get("LLM_MODEL")
        if not name:
            raise FetchError(
                f"Which model? Name it, or set {variable} in .env."
                f" usage: python -m cli.models {_USAGE[request.options.provider]}"
            )
        request.options.names = [name]
    return request


def _variables(env_file: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    if env_file is not None and not env_file.is_file():
        raise FetchError(f"--env-file {env_file}: there is no such file.")
    path = env_file or ROOT / ".env"
    said = dotenv_values(path) if path.is_file() else {}
    from_file = {name: value for name, value in said.items() if name in READ and value is not None}
    return from_file | {name: value for name, value in environment.items() if name in READ}


def _hub(variables: Mapping[str, str]) -> Hub:
    url = check_address("HF_ENDPOINT", variables.get("HF_ENDPOINT") or PUBLIC_HUB)
    return Hub(url, _token(variables))


def _token(variables: Mapping[str, str]) -> Token | None:
    for variable in TOKEN_VARIABLES:
        value = variables.get(variable, "").strip()
        if value and variable == "HF_TOKEN_FILE":
            value = _content(ROOT / value)
        if not value:
            continue
        if not value.isascii() or not value.isprintable() or " " in value:
            raise FetchError(f"{variable} holds characters that no token has.")
        return Token(value, variable)
    return None


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise FetchError(f"HF_TOKEN_FILE={path} cannot be read ({error}).") from error


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.2f} {unit}"
    return f"{size_bytes} bytes"

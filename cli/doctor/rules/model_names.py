"""Whether the names of models are of the kind their server takes, and mean one model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from backend.core.models import KnownModel
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.services import mode_is_the_odd_one
from cli.doctor.servers import VllmServer, chat_servers

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+", re.ASCII)
_OLLAMA_NAME = re.compile(r"[\w.\-/]+(:[\w.\-]+)?", re.ASCII)
_HUB_PAGE = re.compile(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/", re.IGNORECASE)
_PATH = re.compile(r"^(/|\./|\.\./|~)")
# What every vLLM container sees; the second is the cache of the hub.
MOUNTED = ("/models/", "/root/.cache/")
_HUB_OWNERS = frozenset(
    """
    qwen meta-llama mistralai google openai deepseek-ai microsoft nvidia thebloke neuralmagic
    redhatai hugging-quants unsloth bartowski ibm-granite tiiuae cohereforai moonshotai zai-org
    """.split()
)
_WHY = {
    "vllm": "vLLM loads models by their id on the hub (org/name) or by a path, and finds nothing "
    "under this name.",
    "ollama": "Ollama knows its models by name:tag, and answers that there is no such model.",
}


def check(configuration: Configuration) -> Iterator[Finding]:
    if mode_is_the_odd_one(configuration):
        return  # the names are right, and the mode is said elsewhere
    if configuration.mode == "vllm":
        for server in chat_servers(configuration):
            yield from _loaded_by_vllm(configuration, server)
        yield from _asked_of_vllm(configuration)
    elif configuration.mode == "ollama":
        yield from _ollama(configuration)
    yield from _asked_of_small(configuration)


def _loaded_by_vllm(configuration: Configuration, server: VllmServer) -> Iterator[Finding]:
    name, value = server.model(configuration)
    if not value:
        yield configuration.finding(
            "error",
            "model_missing",
            name,
            f"{server.service} is told no model: {name} is empty or unset.",
            "vLLM would load its own small default model, so its start is refused.",
            f"{name}=Qwen/Qwen3-8B-AWQ",
        )
        return
    problem = _not_for_vllm(value) or _misspelt_owner(configuration, value)
    if problem is None:
        return
    what, mended = problem
    known = configuration.catalogue.find(value) or _by_last_part(configuration, value)
    yield configuration.finding(
        "error",
        "model_name_style",
        name,
        f"{name}={value} {what}; {server.service} is a vLLM server.",
        _WHY["vllm"],
        f"{name}={mended or (known.name if known else 'Qwen/Qwen3-8B-AWQ')}",
    )


def _by_last_part(configuration: Configuration, value: str) -> KnownModel | None:
    for model in configuration.catalogue.models:
        if model.name.rsplit("/", maxsplit=1)[-1].lower() == value.lower():
            return model
    return None


def _not_for_vllm(value: str) -> tuple[str, str] | None:
    """What is wrong with the name, and the right one where it can be told."""
    first_two = "/".join(_HUB_PAGE.sub("", value).strip("/").split("/")[:2])
    found: tuple[str, str] | None = None
    if re.search(r"\s", value):
        found = "has a blank in it", _without_blanks(value)
    elif _HUB_PAGE.match(value):
        found = "is the address of a page, not an id", first_two
    elif re.search(r"[-_.]gguf$", value, re.IGNORECASE):
        plain = re.sub(r"[-_.]gguf$", "", value, flags=re.IGNORECASE)
        found = "is a GGUF file for llama.cpp", plain if _HUB_ID.fullmatch(plain) else ""
    elif _PATH.match(value):
        found = _not_in_container(value)
    elif _HUB_ID.fullmatch(value):
        found = None
    elif ":" in value:
        found = "is a name of Ollama", ""
    elif "/" not in value:
        found = "is no id: it has no organization", ""
    else:
        found = "is no id of the form org/name", first_two
    return found


def _without_blanks(value: str) -> str:
    first, *rest = value.split()
    return first if _HUB_ID.fullmatch(first) and rest else "".join([first, *rest])


def _not_in_container(value: str) -> tuple[str, str] | None:
    if value.startswith(MOUNTED):
        return None
    return (
        "is a folder of this machine; the container has VLLM_MODELS_DIR at /models",
        f"/models/{value.rstrip('/').rsplit('/', maxsplit=1)[-1]}",
    )


def _misspelt_owner(configuration: Configuration, value: str) -> tuple[str, str] | None:
    """A known model under a name of its owner that is a letter off."""
    if configuration.catalogue.find(value) is not None:
        return None
    owner, _, name = value.partition("/")
    for model in configuration.catalogue.models:
        known_owner, _, known_name = model.name.partition("/")
        alike = difflib.SequenceMatcher(None, owner.lower(), known_owner.lower()).ratio()
        if name == known_name and 0.85 <= alike < 1:
            return f"has a misspelt owner (it is {known_owner})", model.name
        if owner == known_owner and _a_word_off(name, known_name):
            return f"is misspelt (there is {known_name})", model.name
    return None


def _a_word_off(name: str, known: str) -> bool:
    """One long word differs by a letter or so, and no number does: Instuct for Instruct."""
    words, others = re.split("[-_.]", name), re.split("[-_.]", known)
    if len(words) != len(others):
        return False
    odd = [(one, other) for one, other in zip(words, others, strict=True) if one != other]
    if len(odd) != 1 or min(map(len, odd[0])) < 5:
        return False
    one, other = (word.lower() for word in odd[0])
    same_numbers = re.sub(r"\D", "", one) == re.sub(r"\D", "", other)
    return same_numbers and 0.8 <= difflib.SequenceMatcher(None, one, other).ratio() < 1


def asked_server(configuration: Configuration) -> VllmServer | None:
    servers = chat_servers(configuration)
    url = configuration.value("LLM_VLLM_URL")
    host = urlsplit(url).hostname if "//" in url else "vllm"
    for server in servers:
        if server.service == host:
            return server
    return servers[0] if servers and host in {"vllm", "llm-vllm", None} else None


def _asked_of_vllm(configuration: Configuration) -> Iterator[Finding]:
    server = asked_server(configuration)
    asked = configuration.value("LLM_MODEL")
    if server is None or not asked:
        return
    served = server.served(configuration)
    if served and asked not in served:
        yield _not_served(configuration, "LLM_MODEL", asked, server)


def _asked_of_small(configuration: Configuration) -> Iterator[Finding]:
    asked = configuration.value("LLM_SMALL_MODEL")
    url = configuration.value("LLM_SMALL_URL")
    for name, other, value in (
        ("LLM_SMALL_MODEL", "LLM_SMALL_URL", asked),
        ("LLM_SMALL_URL", "LLM_SMALL_MODEL", url),
    ):
        small_server = any(server.service == "vllm-small" for server in chat_servers(configuration))
        if value and not configuration.value(other) and not small_server:
            yield configuration.finding(
                "error",
                "small_model_incomplete",
                name,
                f"{name} is set without {other}.",
                "The backend does not start: the two belong together.",
                f"{configuration.written(name)}\n{other}="
                + ("http://…/v1" if other.endswith("URL") else "…"),
            )
    host = urlsplit(url).hostname if "//" in url else "vllm-small"
    for server in chat_servers(configuration):
        if asked and server.service == host and asked not in server.served(configuration):
            yield _not_served(configuration, "LLM_SMALL_MODEL", asked, server)


def _not_served(configuration: Configuration, name: str, asked: str, server: VllmServer) -> Finding:
    for other in chat_servers(configuration):
        if other != server and asked in other.served(configuration):
            return _at_the_other(configuration, name, asked, other)
    served = server.served(configuration)
    source = server.model(configuration)[0]
    place = f", line {configuration.line(source)}" if configuration.line(source) else ""
    return configuration.finding(
        "error",
        "model_not_served",
        name,
        f"{name}={asked}, but {server.service} serves {' and '.join(dict.fromkeys(served))} "
        f"({source}{place}).",
        "vLLM answers every request for another name with 404.",
        f"{name}={served[0]}",
    )


def _at_the_other(
    configuration: Configuration, name: str, asked: str, other: VllmServer
) -> Finding:
    url = "LLM_SMALL_URL" if name == "LLM_SMALL_MODEL" else "LLM_VLLM_URL"
    service = next(service for service in configuration.started if service.name == other.service)
    return configuration.beside(
        name,
        "error",
        "model_not_served",
        url,
        f"{name}={asked} is served by {other.service}, and {url}="
        f"{configuration.value(url) or '(unset)'} asks another server.",
        "vLLM answers every request for a name that it does not serve with 404.",
        f"{url}=http://{other.service}:{service.inner_port}/v1",
    )


def _ollama(configuration: Configuration) -> Iterator[Finding]:
    for name in ("LLM_MODEL", "OLLAMA_MODEL"):
        value = configuration.value(name)
        problem = _not_for_ollama(configuration, value) if value else None
        if problem is None:
            continue
        yield configuration.finding(
            "error",
            "model_name_style",
            name,
            f"{name}={value} {problem}, but LLM_MODE=ollama.",
            _WHY["ollama"],
            f"{name}={_tag_of(configuration, value)}",
        )
        return
    asked, pulled = configuration.value("LLM_MODEL"), configuration.value("OLLAMA_MODEL")
    if asked and pulled and asked.removesuffix(":latest") != pulled.removesuffix(":latest"):
        yield configuration.finding(
            "error",
            "model_not_served",
            "LLM_MODEL",
            f"LLM_MODEL={asked}, but OLLAMA_MODEL={pulled} (line "
            f"{configuration.line('OLLAMA_MODEL')}).",
            "The backend asks for LLM_MODEL; what is pulled as OLLAMA_MODEL is not used.",
            f"LLM_MODEL={pulled}",
        )


def _tag_of(configuration: Configuration, value: str) -> str:
    known = configuration.catalogue.find(value)
    tags = [alias for alias in known.aliases if ":" in alias] if known else []
    return tags[0] if tags else "qwen3:8b"


def _not_for_ollama(configuration: Configuration, value: str) -> str | None:
    if re.search(r"\s", value):
        return "has a blank in it"
    if value.lower().endswith(".gguf"):
        return "is a file for llama.cpp"
    if value.lower().startswith(("hf.co/", "huggingface.co/")):
        return None
    if not _OLLAMA_NAME.fullmatch(value):
        return "is no name of the form name:tag"
    if "/" in value and ":" not in value:
        known = configuration.catalogue.find(value)
        owner = value.split("/", maxsplit=1)[0].lower()
        if known is not None or owner in _HUB_OWNERS or value != value.lower():
            return "is an id of the model hub (org/name)"
    return None

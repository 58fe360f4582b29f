"""Names of models as Ollama writes them: ``[HOST/][NAMESPACE/]MODEL[:TAG]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cli.model_fetch import FetchError

PUBLIC_REGISTRY = "registry.ollama.ai"
HUB_HOSTS = frozenset({"hf.co", "huggingface.co"})  # Ollama fetches their GGUF files
_PART = re.compile(r"[A-Za-z0-9_][\w.-]*")
_HOST = re.compile(r"[A-Za-z0-9][\w.-]*(:\d+)?")
_OTHER_FORMAT = re.compile(r"[-_](awq|gptq|fp8|exl2|w4a16|w8a8|bnb)\b", re.I)
_SIZE_AFTER_DASH = re.compile(r"(?P<model>[a-z][\w.-]*?)-(?P<tag>e?\d+(\.\d+)?(x\d+)?[bm])\b.*")


@dataclass(frozen=True, slots=True)
class OllamaName:
    host: str
    namespace: str
    model: str
    tag: str

    @property
    def page(self) -> str:
        """Where a person sees the model's tags."""
        if self.host in HUB_HOSTS:
            return f"https://huggingface.co/{self.namespace}/{self.model}"
        if self.host != PUBLIC_REGISTRY:
            return f"https://{self.host}/{self.namespace}/{self.model}"
        folder = "library" if self.namespace == "library" else self.namespace
        return f"https://ollama.com/{folder}/{self.model}"


def parse(name: str) -> OllamaName:
    """The parts of the name, as Ollama completes it.

    Raises:
        FetchError: Ollama cannot fetch that; the message says what was probably meant.
    """
    if name.startswith(("http://", "https://")):
        _, _, rest = name.partition("://")
        raise FetchError(f"{name!r} is an address. Ollama takes the name alone: {rest}")
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
    *before, model = path.split("/")
    if len(before) == 2:
        host, namespace = before
    else:
        host, namespace = PUBLIC_REGISTRY, before[0] if before else "library"
    parts_are_good = all(_PART.fullmatch(part) for part in (namespace, model, tag))
    if len(before) > 2 or not parts_are_good or not _HOST.fullmatch(host):
        raise FetchError(f"{name!r} is no name of a model of Ollama: those are written qwen3:8b.")
    if model.lower().endswith(".gguf"):
        raise FetchError(
            f"{name!r} names a file. Ollama takes a repository of GGUF files as"
            " hf.co/ORGANIZATION/NAME:Q4_K_M; llama.cpp's server takes the file:"
            " --provider llamacpp ORGANIZATION/NAME FILE.gguf"
        )
    if _OTHER_FORMAT.search(model) and not model.lower().endswith("gguf"):
        raise FetchError(
            f"{name!r} is a model in a format Ollama does not run. It is vLLM's:"
            f" python -m cli.models pull --provider vllm {path}"
        )
    return OllamaName(host, namespace, model, tag)


def hint(name: str) -> str:
    """What was probably meant by a name that no registry knows; may be empty."""
    parsed = parse(name)
    if parsed.host in HUB_HOSTS:
        return " The repository must hold GGUF files; the tag is a quantization, as Q4_K_M."
    if parsed.namespace != "library":
        repository = f"{parsed.namespace}/{parsed.model}"
        return (
            f" For a repository of GGUF files on the model hub: hf.co/{repository}. For another"
            f" one: python -m cli.models pull --provider vllm {repository}."
        )
    if match := _SIZE_AFTER_DASH.fullmatch(name.lower()):
        return f" Did you mean {match['model']}:{match['tag']}?"
    return ""

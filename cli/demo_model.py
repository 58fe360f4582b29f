"""The chat model of the demo: fetched once, when the backend is to run one itself."""

from __future__ import annotations

from collections.abc import Mapping

from backend.core.errors import RagError
from backend.core.local_models import is_present, load_catalogue
from cli import models
from cli.terminal import tell


def fetch_model(environment: Mapping[str, str]) -> None:
    """See that the model is on this machine, or say that there will be none.

    Raises:
        KeyboardInterrupt: in the middle of it; the next time goes on from there.
    """
    name = environment.get("LLM_MODEL") or None
    if not _is_ours(environment) or (name or "").endswith(".gguf"):
        return
    try:
        model = load_catalogue(models.CATALOGUE).find(name)
    except RagError as error:
        tell(str(error))  # the backend will say the same and not start
        return
    if is_present(models.Places.of(models.parse(["list"]), environment).models_dir, model):
        return
    tell(f"Fetching the chat model {model.title} ({model.size_bytes / 1e6:.0f} MB), once.")
    exit_code = models.run(["pull", model.name], environment)
    if exit_code == models.INTERRUPTED:
        raise KeyboardInterrupt
    if exit_code != 0:
        tell("Without a chat model answers are extractive: the best sentences of the documents.")


def _is_ours(environment: Mapping[str, str]) -> bool:
    """Whether the backend starts its own llama.cpp, as it does unless told otherwise."""
    local = environment.get("LLM_MODE", "llamacpp") in ("", "llamacpp")
    return local and not environment.get("LLM_LLAMACPP_URL")

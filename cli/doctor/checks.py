"""All rules over one env file, in the order an operator can work them off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cli.doctor.findings import Finding
from cli.doctor.load import Loaded
from cli.doctor.rules import (
    backend_settings,
    containers,
    context,
    gpus,
    llamacpp,
    memory,
    model_names,
    pooling,
    ports,
    providers,
    quantization,
    roles,
    secrets,
    services,
    syntax,
    unknown,
    urls,
    values,
)


def check(loaded: Loaded, read_file: bool = True) -> list[Finding]:
    """``read_file`` False: the values are not those of the file, so only they are judged."""
    found: list[Finding] = []
    if read_file:
        found += syntax.check(loaded.file, loaded.configuration)
        found += unknown.check(loaded.file, loaded.configuration)
    if loaded.file.stopped is not None:
        # Compose reads nothing of such a file, and half of it would only breed phantom findings.
        return in_order(found)
    # A line that is written wrongly is judged by its meaning once it is written right.
    spoilt = {(one.file, one.line) for one in found if one.severity == "error"}
    later = list(values.check(loaded.configuration))
    if loaded.problem is not None:
        later += backend_settings.check(loaded.configuration, loaded.problem)
    later += _meaning(loaded)
    if loaded.problem is not None and not any(one.severity == "error" for one in [*found, *later]):
        later += backend_settings.together(loaded.configuration, loaded.problem)
    found += (one for one in later if (one.file, one.line) not in spoilt)
    return in_order(found)


def _meaning(loaded: Loaded) -> Iterator[Finding]:
    for rules in (
        services,
        pooling,
        model_names,
        quantization,
        roles,
        context,
        gpus,
        memory,
        llamacpp,
        containers,
        ports,
        urls,
        secrets,
        providers,
    ):
        yield from rules.check(loaded.configuration)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Errors first, each kind from the top of the file; nothing is said twice."""
    once = {(one.file, one.line, one.fix): one for one in reversed([*found])}
    return sorted(
        reversed(once.values()), key=lambda one: (one.severity, one.file is None, one.line or 10**6)
    )

"""The compose and env files as they stand, without Docker."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from backend.core.deployment import (
    BASE_FILE,
    CONTAINER_VARIABLES,
    FIXED_IN_CONTAINER,
    MIG_FILE,
    SERVICES,
    VLLM_FILE,
    VLLM_OPTIONS,
)
from backend.settings import SECRETS, Settings, known_variables

ROOT = Path(__file__).parents[2]
ENV_FILES = (".env.ollama", ".env.vllm", ".env.vllm-fp8", ".env.vllm-mig", ".env.llamacpp")
COMPOSE_FILES = (
    BASE_FILE,
    VLLM_FILE,
    MIG_FILE,
    *(f"deploy/compose/{path.name}" for path in sorted((ROOT / "deploy/compose").glob("*.yml"))),
)
PREFLIGHTS = {"preflight", "preflight-ollama", "preflight-vllm", "preflight-llamacpp"}
BASE_ONLY = {"qdrant", "backend", *PREFLIGHTS, "api", "prometheus", "grafana"}
INNER_VARIABLES = {"COMPOSE_FILE"}  # compose's own, set for the preflight


class _Loader(yaml.SafeLoader):
    """Compose's tags !reset and !override say nothing here."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


_Loader.add_multi_constructor("!", _untagged)


@cache
def compose(name: str) -> dict[str, Any]:
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506


def variables_of(name: str) -> set[str]:
    """Every ${VARIABLE} that compose itself would fill in."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("$$", "")
    text = "\n".join(line.partition(" # ")[0] for line in text.splitlines())
    return set(re.findall(r"\$\{([A-Z_]+)", text))


def defines_image_or_build(service: dict[str, Any] | None) -> bool:
    return bool(service) and bool({"image", "build", "extends"} & set(service))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_every_variable_of_a_compose_file_is_known(name: str) -> None:
    assert variables_of(name) <= known_variables()


@pytest.mark.parametrize("name", [*ENV_FILES, "env.example"])
def test_every_key_of_an_env_file_is_known(name: str) -> None:
    assert set(dotenv_values(ROOT / name)) <= known_variables()


@pytest.mark.parametrize("name", ENV_FILES)
def test_an_env_file_chooses_its_model_server_in_one_command(name: str) -> None:
    values = dotenv_values(ROOT / name)

    chosen = values.get("COMPOSE_PROFILES") or values.get("COMPOSE_FILE", "")

    assert values["LLM_MODE"] in chosen
    assert values["LLM_MODEL"]


def test_the_base_is_defined_once() -> None:
    for name in COMPOSE_FILES:
        if name == BASE_FILE:
            continue
        services = compose(name)["services"]
        again = {key for key in BASE_ONLY & set(services) if defines_image_or_build(services[key])}
        assert not again, f"{name} defines {again} a second time"


@pytest.mark.parametrize("name", [VLLM_FILE, MIG_FILE])
def test_a_vllm_file_includes_the_base(name: str) -> None:
    [included] = compose(name)["include"]

    assert included["path"][0] == BASE_FILE


def test_the_backend_is_given_every_setting() -> None:
    environment = compose(BASE_FILE)["services"]["backend"]["environment"]

    settings = {
        str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()
    }

    assert settings | {f"{name}_FILE" for name in SECRETS} <= set(environment)


@pytest.mark.parametrize("service", ["backend", "api"])
def test_the_backend_is_given_no_other_service_s_secret(service: str) -> None:
    definition = compose(BASE_FILE)["services"][service]

    assert not {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GRAFANA_PASSWORD", "VLLM_API_KEY"} & set(
        definition["environment"]
    )
    assert "hf_token" not in definition["secrets"]


def test_the_preflight_sees_every_variable() -> None:
    environment = compose(BASE_FILE)["services"]["preflight"]["environment"]

    assert known_variables() - FIXED_IN_CONTAINER <= set(environment)
    assert set(environment) <= known_variables() | INNER_VARIABLES


def test_the_shared_image_is_built_by_what_everything_waits_for() -> None:
    services = compose(BASE_FILE)["services"]
    image = services["backend"]["image"]

    built = [name for name, definition in services.items() if "build" in definition]
    assert built == ["preflight"]  # two builds of one tag at once fail
    for name, definition in services.items():
        if definition.get("image") == image and name != "preflight":
            assert "preflight" in definition["depends_on"]


@pytest.mark.parametrize("service", ["backend", "api", "preflight"])
def test_the_backend_s_containers_can_write_nothing_but_their_volumes(service: str) -> None:
    definition = compose(BASE_FILE)["services"][service]

    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["user"] == "10001:10001"
    assert "no-new-privileges:true" in definition["security_opt"]
    assert "docker.sock" not in str(definition)


def test_every_vllm_option_reaches_the_chat_server() -> None:
    environment = compose("deploy/compose/vllm-server.yml")["services"]["chat"]["environment"]

    assert set(environment) >= VLLM_OPTIONS


def test_every_variable_of_the_table_is_read_somewhere() -> None:
    read = set.union(*(variables_of(name) for name in COMPOSE_FILES))
    for name in COMPOSE_FILES:
        for service, definition in compose(name)["services"].items():
            if service not in PREFLIGHTS and definition:
                read |= set(definition.get("environment") or {})
    composes_own = {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE"}

    assert read | composes_own | {"OLLAMA_MODELS"} >= CONTAINER_VARIABLES


def test_every_service_of_the_table_is_in_its_file() -> None:
    for service in SERVICES:
        for name in service.files:
            present = compose(BASE_FILE)["services"] | compose(name)["services"]
            assert service.name in present


def test_log_files_are_bounded_the_same_everywhere() -> None:
    base = compose(BASE_FILE)["x-logging"]

    assert compose("deploy/compose/vllm-server.yml")["services"]["server"]["logging"] == base


def test_the_dashboard_shows_metrics_the_backend_has() -> None:
    text = (ROOT / "deploy/grafana/dashboards/quadrate.json").read_text(encoding="utf-8")
    source = (ROOT / "backend/telemetry/metrics.py").read_text(encoding="utf-8")

    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            for metric in re.findall(r"quadrate_[a-z_]+", target["expr"]):
                assert re.sub(r"_(total|bucket)$", "", metric) in source


def test_the_file_of_secrets_not_given_is_empty() -> None:
    assert (ROOT / "deploy/none").read_bytes() == b""

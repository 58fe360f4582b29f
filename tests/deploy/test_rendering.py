"""Every compose file with every env file, as Compose itself renders them.

Needs only Compose's own binary: COMPOSE_BINARIES holds the paths of one or several, separated by
colons. Nothing is started.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from backend.core.deployment import (
    ALWAYS_LOCAL,
    BASE_FILE,
    COMPOSE_DEFAULTS,
    MIG_FILE,
    SERVICES,
    VLLM_FILE,
    started,
)

pytestmark = pytest.mark.compose_cli

ROOT = Path(__file__).parents[2]
BINARIES = tuple(path for path in os.environ.get("COMPOSE_BINARIES", "").split(":") if path)
FILES = (BASE_FILE, VLLM_FILE, MIG_FILE)
NO_ENV_FILE = "/dev/null"
ENV_FILES = (
    NO_ENV_FILE,
    ".env.ollama",
    ".env.vllm",
    ".env.vllm-fp8",
    ".env.vllm-mig",
    ".env.llamacpp",
    "env.example",
)
PROFILES = ("ollama", "vllm", "llamacpp", "embedding", "reranker", "api", "observability")
# What the vLLM files change of the base's backend, and the variables that an env file sets.
CHANGED_BY_FILE = {"LLM_MODE", "LLM_MODEL", "LLM_SMALL_MODEL", "LLM_SMALL_URL"}


@pytest.fixture(params=BINARIES or [None])
def binary(request: pytest.FixtureRequest) -> str:
    if request.param is None:
        pytest.skip("COMPOSE_BINARIES names no Compose")
    return str(request.param)


@cache
def rendered(
    binary: str, env_file: str, profiles: tuple[str, ...], *files: str, extra: str = ""
) -> dict[str, Any]:
    words = [binary, "--env-file", env_file]
    words += [word for name in files for word in ("-f", name)]
    words += [word for name in profiles for word in ("--profile", name)]
    given = dict(pair.split("=", 1) for pair in extra.split())
    done = subprocess.run(
        [*words, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr, done.stderr
    return json.loads(done.stdout)["services"]


def chosen_profiles(env_file: str) -> tuple[str, ...]:
    if env_file == NO_ENV_FILE:
        return ()
    chosen = dotenv_values(ROOT / env_file).get("COMPOSE_PROFILES") or ""
    return tuple(name for name in chosen.split(",") if name)


def published(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [
        (port["host_ip"], int(port["published"]), int(port["target"]))
        for port in service.get("ports", ())
    ]


def with_preflights(file: str, profiles: tuple[str, ...]) -> set[str]:
    """What starts; the base's model servers have a preflight each, of the same profile."""
    services = started(file, profiles)
    names = {service.name for service in services} | {"preflight"}
    own = {service.provider for service in services if service.provider and file == BASE_FILE}
    return names | {f"preflight-{provider}" for provider in own}


@pytest.mark.parametrize("env_file", ENV_FILES)
@pytest.mark.parametrize("file", FILES)
def test_what_starts_is_what_the_table_says(binary: str, file: str, env_file: str) -> None:
    services = rendered(binary, env_file, (), file)

    assert set(services) == with_preflights(file, chosen_profiles(env_file))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("file", FILES)
def test_a_profile_starts_what_the_table_says(binary: str, file: str, profile: str) -> None:
    services = rendered(binary, NO_ENV_FILE, (profile,), file)

    assert set(services) == with_preflights(file, (profile,))


@pytest.mark.parametrize("env_file", ENV_FILES)
@pytest.mark.parametrize("file", FILES)
def test_ports_are_the_table_s_and_on_this_machine_only(
    binary: str, file: str, env_file: str
) -> None:
    services = rendered(binary, env_file, PROFILES, file)
    values = {} if env_file == NO_ENV_FILE else dotenv_values(ROOT / env_file)

    for item in SERVICES:
        if file not in item.files:
            continue
        port = int(values.get(item.port_variable or "") or item.default_port or 0)
        assert published(services[item.name]) == [("127.0.0.1", port, item.inner_port)]


@pytest.mark.parametrize("file", FILES)
def test_vllm_and_the_store_stay_local_when_the_backend_does_not(binary: str, file: str) -> None:
    services = rendered(binary, NO_ENV_FILE, PROFILES, file, extra="BIND_ADDRESS=0.0.0.0")

    addresses = {name: published(definition) for name, definition in services.items()}
    for name, ports in addresses.items():
        for host, _, _ in ports:
            assert host == ("127.0.0.1" if name in ALWAYS_LOCAL else "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("env_file", ENV_FILES)
@pytest.mark.parametrize("file", [VLLM_FILE, MIG_FILE])
def test_the_store_and_the_backend_are_the_base_s(binary: str, file: str, env_file: str) -> None:
    base = rendered(binary, env_file, PROFILES, BASE_FILE)
    other = rendered(binary, env_file, PROFILES, file)

    for name in ("qdrant", "prometheus", "grafana", "embedding", "reranker"):
        assert other[name] == base[name]
    for name in ("backend", "api"):
        ours, theirs = dict(base[name]), dict(other[name])
        ours.pop("depends_on"), theirs.pop("depends_on")
        before, after = ours.pop("environment"), theirs.pop("environment")
        assert theirs == ours
        differing = {key for key in before | after if before.get(key) != after.get(key)}
        assert differing <= CHANGED_BY_FILE
        assert after["LLM_MODE"] == "vllm"


@pytest.mark.parametrize("env_file", ENV_FILES)
@pytest.mark.parametrize("file", FILES)
def test_everything_waits_for_the_preflight_and_the_model_servers(
    binary: str, file: str, env_file: str
) -> None:
    services = rendered(binary, env_file, PROFILES, file)

    servers = {item.name for item in SERVICES if file in item.files and item.provider}
    for name in servers | {"embedding", "reranker", "backend", "api"}:
        waited = services[name]["depends_on"]["preflight"]
        assert waited["condition"] == "service_completed_successfully"
    if file == BASE_FILE:
        for item in SERVICES:
            if item.name in servers:
                own = services[item.name]["depends_on"][f"preflight-{item.provider}"]
                assert own["condition"] == "service_completed_successfully"
    for name in servers | {"embedding", "reranker"}:
        waited = services["backend"]["depends_on"][name]
        assert (waited["condition"], waited["required"]) == ("service_healthy", False)
        assert services[name]["healthcheck"]["start_period"]


@pytest.mark.parametrize("file", FILES)
def test_every_lasting_service_restarts_and_has_bounded_logs(binary: str, file: str) -> None:
    for name, service in rendered(binary, NO_ENV_FILE, PROFILES, file).items():
        assert service["logging"]["options"]["max-size"]
        assert service["restart"] == ("no" if name.startswith("preflight") else "unless-stopped")
        if not name.startswith("preflight"):
            assert service["healthcheck"]["test"]


@pytest.mark.parametrize("file", FILES)
def test_what_has_a_gpu_is_what_the_table_says(binary: str, file: str) -> None:
    services = rendered(binary, NO_ENV_FILE, PROFILES, file)

    for item in SERVICES:
        if file in item.files:
            assert ("deploy" in services[item.name]) == item.on_gpu


def test_each_slice_is_taken_by_its_uuid(binary: str) -> None:
    extra = "VLLM_MEDIUM_MIG_UUID=MIG-a VLLM_SMALL_MIG_UUID=MIG-b"

    services = rendered(binary, ".env.vllm-mig", (), MIG_FILE, extra=extra)

    for name, uuid in (("vllm-medium", "MIG-a"), ("vllm-small", "MIG-b")):
        [device] = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == [uuid]
        assert not any("VISIBLE_DEVICES" in key for key in services[name]["environment"])


def test_the_number_of_gpus_is_the_env_file_s(binary: str) -> None:
    services = rendered(binary, ".env.vllm", (), VLLM_FILE, extra="VLLM_GPU_COUNT=4")

    [device] = services["vllm"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == 4


def test_the_defaults_of_docker_are_the_table_s(binary: str) -> None:
    environment = rendered(binary, NO_ENV_FILE, (), BASE_FILE)["backend"]["environment"]

    for name in ("LLM_MODE", "OLLAMA_MODEL", "LLM_LLAMACPP_URL", "QDRANT_URL"):
        assert environment[name] == COMPOSE_DEFAULTS[name]


@pytest.mark.parametrize(
    ("env_file", "service", "file"),
    [(".env.vllm", "llm-vllm", BASE_FILE), (".env.vllm", "vllm", VLLM_FILE)],
)
def test_server_and_backend_name_the_same_model(
    binary: str, env_file: str, service: str, file: str
) -> None:
    services = rendered(binary, env_file, (), file, extra="VLLM_MODEL=org/other")

    assert services[service]["environment"]["VLLM_MODEL"] == "org/other"
    assert services["backend"]["environment"]["LLM_MODEL"] == "org/other"


def test_the_model_of_the_backend_is_the_server_s_where_vllm_s_is_not_named(binary: str) -> None:
    extra = "LLM_MODE=vllm LLM_MODEL=org/model"

    services = rendered(binary, NO_ENV_FILE, ("vllm",), BASE_FILE, extra=extra)

    assert services["llm-vllm"]["environment"]["VLLM_MODEL"] == "org/model"


def test_the_gpu_file_gives_a_gpu_to_ollama_and_llama_cpp(binary: str) -> None:
    services = rendered(
        binary, NO_ENV_FILE, ("ollama", "llamacpp"), BASE_FILE, "deploy/compose/gpu.yml"
    )

    assert "deploy" in services["llm-ollama"]
    assert "server-cuda" in services["llm-llamacpp"]["image"]


def test_the_env_file_of_mig_names_its_compose_file(binary: str) -> None:
    services = rendered(binary, ".env.vllm-mig", ())

    assert {"vllm-medium", "vllm-small", "backend", "qdrant"} <= set(services)


def test_a_folder_for_ollama_s_models_is_bound(binary: str) -> None:
    extra = "OLLAMA_MODELS_DIR=./data/ollama"

    [volume] = rendered(binary, NO_ENV_FILE, (), BASE_FILE, extra=extra)["llm-ollama"]["volumes"]

    assert (volume["type"], volume["source"]) == ("bind", str(ROOT / "data/ollama"))

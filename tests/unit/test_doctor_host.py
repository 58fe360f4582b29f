from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from backend.core.deployment import BASE_FILE, MIG_FILE, VLLM_FILE
from backend.core.models import load_model_catalogue
from cli.doctor import host_probe
from cli.doctor.configuration import Configuration, Entry
from cli.doctor.findings import Finding
from cli.doctor.host import Host, check_host, inspect_host, unchecked
from cli.doctor.host_docker import compose_sources, needed_compose
from cli.doctor.host_probe import Container, PortState, parse_containers, port_state
from cli.nvidia import GpuState, parse_list

ROOT = Path(__file__).parents[2]
CATALOGUE = load_model_catalogue(ROOT / "config" / "llm_models.json")
GB = 10**9

H100 = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57)
  MIG 2g.20gb     Device  0: (UUID: MIG-377e)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39a)
"""
STATE = GpuState(0, "GPU-7f57", "NVIDIA H100 80GB HBM3", 81559, 4, "580.95.05", mig=False)


def always_free(address: str, port: int) -> PortState:
    return "free"


SERVER = Host(
    docker_cli=True,
    engine=(28, 5, 2),
    docker_root=Path("/var/lib/docker"),
    nvidia_in_docker=True,
    compose=(2, 40, 3),
    containers=(),
    images=frozenset(),
    nvidia_smi=True,
    gpus=parse_list(H100.splitlines()[0]),
    states=(STATE,),
    memory_bytes=256 * GB,
    port_state=always_free,
    free_bytes=lambda folder: 2000 * GB,
)
SLICED = replace(SERVER, gpus=parse_list(H100), states=(replace(STATE, mig=True),))
LAPTOP = Host(port_state=always_free)


def configuration(
    values: Mapping[str, str] | None = None,
    *,
    file: str = BASE_FILE,
    profiles: tuple[str, ...] = (),
    root: Path = ROOT,
    in_compose: bool = False,
) -> Configuration:
    entries = {
        name: Entry(name, value, ".env", line)
        for line, (name, value) in enumerate((values or {}).items(), start=1)
    }
    return Configuration(
        entries=entries,
        env_file=".env",
        root=root,
        compose_file=file,
        profiles=frozenset(profiles),
        mode="vllm",
        settings=None,
        catalogue=CATALOGUE,
        in_compose=in_compose,
    )


OLLAMA = configuration({"LLM_MODEL": "qwen3:8b"})
VLLM = configuration({"VLLM_MODEL": "Qwen/Qwen3-8B"}, file=VLLM_FILE)


def mig(medium: str = "MIG-377e", small: str = "MIG-f39a") -> Configuration:
    return configuration(
        {"VLLM_MEDIUM_MIG_UUID": medium, "VLLM_SMALL_MIG_UUID": small}, file=MIG_FILE
    )


def codes(host: Host, wanted: Configuration) -> list[str]:
    return [finding.code for finding in check_host(host, wanted)]


def only(host: Host, wanted: Configuration) -> Finding:
    (finding,) = check_host(host, wanted)
    return finding


def test_a_fitting_server_has_no_findings() -> None:
    for wanted in (OLLAMA, VLLM, configuration(profiles=("vllm", "api", "observability"))):
        assert codes(SERVER, wanted) == []
    assert codes(SLICED, mig()) == []


def test_a_machine_without_docker_and_gpu_is_no_fault_of_the_configuration() -> None:
    for wanted in (OLLAMA, VLLM, mig()):
        assert codes(LAPTOP, wanted) == []
    said = " ".join(unchecked(LAPTOP, VLLM))
    assert "python -m backend" in said
    assert "nvidia-smi" in said


def test_the_preflight_looks_at_no_machine() -> None:
    def busy(address: str, port: int) -> PortState:
        return "busy"

    inside = configuration(in_compose=True)

    assert codes(replace(SERVER, port_state=busy), inside) == []
    assert list(unchecked(LAPTOP, inside)) == []


# --- docker ------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [(2, 3, 3), (2, 20, 0), (2, 23, 3)])
def test_an_old_compose_is_an_error_that_says_what_it_lacks(found: tuple[int, ...]) -> None:
    finding = only(replace(SERVER, compose=found), OLLAMA)

    assert (finding.severity, finding.code, finding.action) == ("error", "compose_too_old", "run")
    assert "include" in finding.why


def test_compose_of_the_two_debian_releases_will_do() -> None:
    assert codes(replace(SERVER, compose=(2, 26, 1)), OLLAMA) == []
    assert needed_compose(compose_sources(ROOT))[0] <= (2, 26)


def test_docker_with_compose_v1_only_is_an_error() -> None:
    finding = only(replace(SERVER, compose=(), compose_v1=True), OLLAMA)

    assert finding.code == "compose_missing"
    assert "version 1" in finding.what


def test_an_old_engine_is_told_only_where_start_interval_is_used(tmp_path: Path) -> None:
    old = replace(SERVER, engine=(24, 0, 7))
    file = tmp_path / "docker-compose.yml"
    file.write_text("services: {}  # start_interval: no\n", encoding="utf-8")
    assert codes(old, configuration(root=tmp_path)) == []

    file.write_text("healthcheck:\n  start_interval: 1s\n", encoding="utf-8")

    assert codes(old, configuration(root=tmp_path)) == ["engine_too_old"]
    assert codes(SERVER, configuration(root=tmp_path)) == []


# --- ports -------------------------------------------------------------------------------------


def busy_at(*ports: int, **changes: object) -> Host:
    def state(address: str, port: int) -> PortState:
        return "busy" if port in ports else "free"

    return replace(SERVER, port_state=state, **changes)  # type: ignore[arg-type]


def test_a_busy_port_names_its_variable_its_line_and_the_next_free_port() -> None:
    wanted = configuration({"A": "1", "BACKEND_PORT": "9000"})

    finding = only(busy_at(9000, 9001), wanted)

    assert (finding.code, finding.place, finding.fix) == (
        "port_taken",
        ".env:2",
        "BACKEND_PORT=9002",
    )


def test_the_port_offered_is_none_that_another_service_wants() -> None:
    wanted = configuration({"BACKEND_PORT": "11433"})

    assert only(busy_at(11433), wanted).fix == "BACKEND_PORT=11435"


def test_our_own_running_stack_is_no_alarm() -> None:
    ours = Container("llm-ollama", frozenset({11434}), "quadrate-rag", "llm-ollama")

    assert codes(busy_at(11434, containers=(ours,)), OLLAMA) == []


def test_another_stack_on_the_port_is_named() -> None:
    theirs = Container("other-ollama-1", frozenset({11434}), "other", "llm-ollama")

    finding = only(busy_at(11434, containers=(theirs,)), OLLAMA)

    assert "other-ollama-1" in finding.what
    assert finding.fix == "OLLAMA_PORT=11435"


def test_the_server_of_an_earlier_choice_has_to_be_stopped() -> None:
    before = Container("vllm", frozenset({8001}), "quadrate-rag", "vllm")

    finding = only(busy_at(8001, containers=(before,)), configuration(profiles=("vllm",)))

    assert finding.fix == "docker stop vllm && docker rm vllm"


def test_a_container_of_another_project_may_hold_the_name() -> None:
    theirs = Container("llm-ollama", frozenset(), "other", "llm-ollama")
    ours = Container("llm-ollama", frozenset(), "quadrate-rag", "llm-ollama")

    assert codes(replace(SERVER, containers=(theirs,)), OLLAMA) == ["container_name_taken"]
    assert codes(replace(SERVER, containers=(ours,)), OLLAMA) == []


def test_only_what_is_published_openly_obeys_the_bind_address() -> None:
    asked: list[tuple[str, int]] = []

    def state(address: str, port: int) -> PortState:
        asked.append((address, port))
        return "free"

    codes(replace(SERVER, port_state=state), configuration({"BIND_ADDRESS": "192.0.2.7"}))

    assert ("192.0.2.7", 8000) in asked
    assert ("127.0.0.1", 6333) in asked


def test_an_address_of_another_machine_is_told() -> None:
    def state(address: str, port: int) -> PortState:
        return "no such address" if address == "10.9.9.9" else "free"

    finding = only(replace(SERVER, port_state=state), configuration({"BIND_ADDRESS": "10.9.9.9"}))

    assert (finding.code, finding.place) == ("bind_address", ".env:1")


@pytest.mark.loopback
def test_a_port_that_someone_listens_on_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        assert port_state("127.0.0.1", port) == "busy"

    assert port_state("127.0.0.1", port) == "free"


def test_a_name_in_place_of_an_address_is_not_looked_up() -> None:
    assert port_state("server.example", 8000) == "unknown"


# --- GPUs --------------------------------------------------------------------------------------


def test_a_server_whose_driver_lists_no_gpu_cannot_run_vllm() -> None:
    broken = replace(SERVER, gpus=(), states=(), driver_trouble="No devices were found")

    assert codes(broken, VLLM) == ["no_gpu"]
    assert codes(broken, OLLAMA) == []


def test_docker_without_the_container_toolkit_is_a_warning() -> None:
    finding = only(replace(SERVER, nvidia_in_docker=False), VLLM)

    assert (finding.severity, finding.code) == ("warning", "no_container_toolkit")


@pytest.mark.parametrize(
    ("driver", "image", "expected"),
    [
        ("575.64.03", "", ["driver_too_old"]),
        ("575.64.03", "vllm/vllm-openai:v0.32.0", ["driver_too_old"]),
        ("575.64.03", "vllm/vllm-openai:v0.32.0-cu129", []),
        ("535.183.01", "vllm/vllm-openai:v0.11.0", []),
        ("470.256.02", "vllm/vllm-openai:v0.11.0", ["driver_too_old"]),
        ("580.65.06", "vllm/vllm-openai:v0.32.0", []),
        ("580.65.06", "registry.local:5000/vllm:latest", []),
    ],
)
def test_the_driver_must_know_the_cuda_of_the_image(
    driver: str, image: str, expected: list[str]
) -> None:
    host = replace(SERVER, states=(replace(STATE, driver=driver),))

    assert codes(host, configuration({"VLLM_IMAGE": image}, file=VLLM_FILE)) == expected


def test_more_gpus_than_there_are_is_an_error_at_the_line_that_asks() -> None:
    wanted = configuration(
        {"VLLM_GPU_COUNT": "2", "VLLM_TENSOR_PARALLEL_SIZE": "4"}, file=VLLM_FILE
    )

    finding = only(SERVER, wanted)

    assert (finding.code, finding.place) == ("too_few_gpus", ".env:2")


def test_a_card_in_mig_mode_has_no_whole_gpu_to_give() -> None:
    assert codes(SLICED, VLLM) == ["mig_mode_on"]


@pytest.mark.parametrize(
    ("host", "chosen", "fix"),
    [
        (SERVER, "1", "EMBEDDING_GPU=0"),
        (SERVER, "0", None),
        (SERVER, "GPU-7f57", None),
        (SLICED, "0", "EMBEDDING_GPU=MIG-f39a"),
        (SLICED, "MIG-f39a", None),
        (SLICED, "MIG-gone", "EMBEDDING_GPU=0"),
    ],
)
def test_the_card_of_the_embedding_server_must_be_there(
    host: Host, chosen: str, fix: str | None
) -> None:
    wanted = configuration({"EMBEDDING_GPU": chosen}, file=MIG_FILE, profiles=("embedding",))

    fixes = [one.fix for one in check_host(host, wanted) if one.code == "no_such_gpu"]

    assert fixes == ([fix] if fix else [])


def test_ollama_asks_for_a_gpu_only_with_the_file_that_says_so() -> None:
    without = replace(SERVER, nvidia_in_docker=False)
    chosen = {"COMPOSE_FILE": "docker-compose.yml:deploy/compose/gpu.yml"}

    assert codes(without, configuration()) == []
    assert codes(without, configuration(chosen)) == ["no_container_toolkit"]


def test_memory_others_use_is_weighed_against_the_share_that_is_asked_for() -> None:
    state = replace(STATE, used_mib=30000.0)
    host = replace(SERVER, states=(state,), processes={"GPU-7f57": ("python (pid 7, 29 GiB)",)})
    wanted = configuration({"VLLM_GPU_MEMORY_UTILIZATION": "0.90"}, file=VLLM_FILE)

    finding = only(host, wanted)

    assert "python (pid 7" in finding.what
    assert finding.fix == "VLLM_GPU_MEMORY_UTILIZATION=0.61"
    assert codes(host, configuration({"VLLM_GPU_MEM_UTIL": "0.6"}, file=VLLM_FILE)) == []


def test_the_memory_of_our_own_running_server_is_no_alarm() -> None:
    ours = Container("vllm", frozenset({8001}), "quadrate-rag", "vllm")
    host = replace(SERVER, states=(replace(STATE, used_mib=79000.0),), containers=(ours,))

    assert codes(host, VLLM) == []


def test_a_uuid_that_is_not_there_is_answered_with_those_that_are() -> None:
    finding = only(SLICED, mig(small="MIG-gone"))

    assert (finding.code, finding.place) == ("mig_uuid_unknown", ".env:2")
    assert finding.fix == "VLLM_SMALL_MIG_UUID=MIG-f39a"
    assert "2g.20gb  19.6 GiB  MIG-377e" in finding.what


def test_two_unknown_uuids_are_offered_two_slices_the_larger_first() -> None:
    fixes = [finding.fix for finding in check_host(SLICED, mig("MIG-x", "MIG-y"))]

    assert fixes == ["VLLM_MEDIUM_MIG_UUID=MIG-377e", "VLLM_SMALL_MIG_UUID=MIG-f39a"]


def test_mig_mode_off_and_mig_without_slices_are_told_apart() -> None:
    off = only(SERVER, mig())
    empty = only(replace(SERVER, states=(replace(STATE, mig=True),)), mig())

    assert (off.code, off.fix) == ("no_mig_slices", "sudo nvidia-smi -i 0 -mig 1")
    assert "it has no slice" in empty.what


def test_the_first_driver_with_mig_is_known_for_the_workstation_card() -> None:
    card = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
    host = replace(SLICED, states=(replace(STATE, name=card, driver="575.51.02", mig=True),))

    assert codes(host, mig()) == ["driver_too_old", "driver_without_mig"]


# --- disk and memory ---------------------------------------------------------------------------


def test_a_disk_too_small_for_image_and_weights_is_a_warning_with_both_sizes() -> None:
    host = replace(SERVER, free_bytes=lambda folder: 60 * GB)
    wanted = configuration(
        {"VLLM_MODEL": "Qwen/Qwen3-32B", "VLLM_IMAGE": "v:1", "QDRANT_IMAGE": "q:1"}, file=VLLM_FILE
    )

    finding = only(host, wanted)

    assert finding.code == "disk_too_small"
    assert "66 GB" in finding.what
    assert codes(replace(host, images=frozenset({"v:1", "q:1"})), wanted) == []


def test_a_model_larger_than_the_memory_is_a_warning_for_ollama_without_a_gpu() -> None:
    host = replace(SERVER, gpus=None, states=(), memory_bytes=16 * GB)
    wanted = configuration({"OLLAMA_MODEL": "qwen3:32b"})

    finding = only(host, wanted)

    assert (finding.code, finding.place) == ("memory_too_small", ".env:1")
    assert finding.fix.startswith("OLLAMA_MODEL=")
    assert codes(replace(host, memory_bytes=32 * GB), wanted) == []


def test_a_gguf_larger_than_the_memory_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "data" / "llamacpp").mkdir(parents=True)
    (tmp_path / "data" / "llamacpp" / "m.gguf").write_bytes(b"x" * 2000)
    wanted = configuration({"LLAMACPP_MODEL_FILE": "m.gguf"}, profiles=("llamacpp",), root=tmp_path)

    assert codes(replace(SERVER, memory_bytes=1000), wanted) == ["memory_too_small"]
    assert codes(replace(SERVER, memory_bytes=3000), wanted) == []


# --- asking ------------------------------------------------------------------------------------


def programs(folder: Path, **scripts: str) -> None:
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


def test_the_answers_of_the_programs_become_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = json.dumps(
        {"ServerVersion": "28.5.2", "DockerRootDir": "/srv/docker", "Runtimes": {"nvidia": {}}}
    )
    ps = r"llm-vllm\t127.0.0.1:8001->8001/tcp\tquadrate-rag\tllm-vllm\t/srv\n"
    programs(
        tmp_path,
        docker=f"""case "$1 $2" in
          "info --format") echo '{info}' ;;
          "compose version") echo v2.40.3 ;;
          "ps --format") printf '{ps}' ;;
          "image ls") echo 'vllm/vllm-openai:v0.32.0' ;;
        esac""",
        nvidia_smi=f"""case "$1" in
          -L) cat <<'END'
{H100}END
          ;;
          --query-gpu*) echo '0, GPU-7f57, NVIDIA H100, 81559 MiB, 4 MiB, 580.95.05, Enabled' ;;
        esac""",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    host = inspect_host()

    assert (host.engine, host.compose, host.docker_root) == (
        (28, 5, 2),
        (2, 40, 3),
        Path("/srv/docker"),
    )
    assert host.nvidia_in_docker
    assert host.containers == (
        Container("llm-vllm", frozenset({8001}), "quadrate-rag", "llm-vllm", "/srv"),
    )
    assert [one.uuid for one in host.slices] == ["MIG-377e", "MIG-f39a"]
    assert host.driver == (580, 95, 5)
    assert list(unchecked(host, mig())) == []


def test_programs_that_hang_or_fail_leave_things_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(
        tmp_path,
        docker="sleep 60 & sleep 60",
        nvidia_smi="echo 'NVIDIA-SMI has failed because it could not reach the driver'; exit 9",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(host_probe, "TIMEOUT_S", 0.3)

    host = inspect_host()

    assert (host.engine, host.compose, host.containers) == (None, None, None)
    assert "no answer within" in host.engine_trouble
    assert "could not reach the driver" in host.driver_trouble


@pytest.mark.parametrize(
    ("found", "compose", "first"), [("2.40.3", (2, 40, 3), False), ("1.29.2", (), True)]
)
def test_compose_as_a_program_of_its_own_counts_from_version_2(
    found: str,
    compose: tuple[int, ...],
    first: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs(tmp_path, docker="exit 1", docker_compose=f"echo {found}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    host = inspect_host()

    assert (host.compose, host.compose_v1) == (compose, first)


def test_an_engine_that_is_down_is_said_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"ServerVersion": "", "ServerErrors": ["Cannot connect. Is it running?"]})
    programs(tmp_path, docker=f"echo '{answer}'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    host = inspect_host()

    assert not host.runs_docker
    assert list(unchecked(host, OLLAMA)) == [
        "Docker's engine was not asked: Cannot connect. Is it running?"
    ]


def test_published_ranges_and_unpublished_ports_are_read() -> None:
    (found,) = parse_containers("a\t0.0.0.0:8000-8002->8000-8002/tcp, [::]:81->81/tcp, 9/tcp\t\t\t")

    assert found == Container("a", frozenset({8000, 8001, 8002, 81}))

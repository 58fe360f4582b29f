"""Whole repositories for vLLM, from a hub on loopback into a cache folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.hub_api import Hub
from cli.hub_models import HubCache, fetch, plan
from cli.model_fetch import FetchError
from cli.models import run
from tests.fakes.model_hub import COMMIT, FakeHub, serving

WEIGHTS = {
    "model-00001-of-00002.safetensors": bytes(range(256)) * 300,
    "model-00002-of-00002.safetensors": bytes(reversed(range(256))) * 200,
}
CONFIGURATION = {
    "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
    "tokenizer.json": b"{}" * 500,
    "chat_template.jinja": b"{{ messages }}",
    "modeling_custom.py": b"raise SystemExit('code of a model must not run')",
    "1_Pooling/config.json": b"{}",
    "LICENSE": b"",
}
USELESS = {
    "pytorch_model.bin": b"pickle",
    "consolidated.00.pth": b"pickle",
    "original/params.json": b"{}",
    "onnx/model.onnx": b"onnx",
    "model.gguf": b"GGUF",
    "figures/plot.png": b"png",
    ".gitattributes": b"",
}


class Silent:
    def note(self, line: str) -> None: ...

    def phase(self, what: str, total_bytes: int) -> None: ...

    def at(self, done_bytes: int) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serving(FakeHub("org/model", WEIGHTS | CONFIGURATION | USELESS)) as fake:
        yield fake


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def pull(hub: FakeHub, cache: Path, *words: str, **variables: str) -> int:
    empty = cache.parent / "no.env"
    empty.touch()
    command = ["pull", "--provider", "vllm", *words, "--to", str(cache), "--env-file", str(empty)]
    return run(command, {"HF_ENDPOINT": hub.url} | variables)


def snapshot(cache: Path) -> dict[str, bytes]:
    folder = cache / "models--org--model" / "snapshots" / COMMIT
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.loopback
def test_what_vllm_reads_is_put_where_an_offline_server_looks(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, cache, "org/model") == 0

    folder = cache / "models--org--model"
    assert snapshot(cache) == WEIGHTS | CONFIGURATION
    assert (folder / "refs" / "main").read_text() == COMMIT
    link = folder / "snapshots" / COMMIT / "1_Pooling" / "config.json"
    assert os.readlink(link).startswith("../../../blobs/")
    assert not list(folder.rglob("*.incomplete"))
    assert capsys.readouterr().out == "VLLM_MODEL=org/model\n"


@pytest.mark.loopback
def test_the_second_time_nothing_is_transferred(hub: FakeHub, cache: Path) -> None:
    pull(hub, cache, "org/model")
    hub.asked.clear()

    assert pull(hub, cache, "org/model") == 0

    assert hub.transfers() == []


@pytest.mark.loopback
def test_a_tag_gets_a_ref_of_its_own_and_a_commit_none(hub: FakeHub, cache: Path) -> None:
    assert pull(hub, cache, "org/model", "v1.0") == 0
    assert pull(hub, cache, "org/model", COMMIT) == 0

    refs = cache / "models--org--model" / "refs"
    assert [path.name for path in refs.iterdir()] == ["v1.0"]


@pytest.mark.loopback
def test_a_cut_transfer_goes_on_where_it_was_cut(hub: FakeHub, cache: Path) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": bytes(100_000)}
    hub.cuts = [2, 40_000]  # of config.json, of the weights

    assert pull(hub, cache, "org/model") == 0

    assert [asked.range for asked in hub.transfers()] == [None, None, "bytes=40000-"]


@pytest.mark.loopback
def test_a_stopped_pull_leaves_a_beginning_that_the_next_one_uses(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": bytes(100_000)}
    hub.cuts = [2, 40_000, 0]

    assert pull(hub, cache, "org/model") == 1
    assert "unreachable" in capsys.readouterr().err
    assert not (cache / "models--org--model" / "refs").exists()

    assert pull(hub, cache, "org/model") == 0
    assert hub.transfers()[-1].range == "bytes=40000-"


@pytest.mark.loopback
@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors"])
def test_content_that_is_not_the_listed_one_is_refused_and_removed(
    hub: FakeHub, cache: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.served = {name: bytes(len(hub.files[name]))}

    assert pull(hub, cache, "org/model") == 1

    assert "the file was removed" in capsys.readouterr().err
    assert name not in snapshot(cache)
    assert not (cache / "models--org--model" / "refs").exists()


@pytest.mark.loopback
def test_a_dry_run_says_what_and_how_big_and_writes_nothing(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, cache, "org/model", "--dry-run") == 0

    said = capsys.readouterr().err
    assert "8 files, 129.1" in said
    assert "7 that vLLM does not read" in said
    assert not cache.exists()
    assert hub.transfers() == []


@pytest.mark.loopback
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_gated_model_without_token_names_the_page_and_the_variable(
    hub: FakeHub, cache: Path, dry: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.gated = True

    assert pull(hub, cache, "org/model", *dry) == 1

    said = capsys.readouterr().err
    assert f"{hub.url}/org/model" in said
    assert "HF_TOKEN=" in said


@pytest.mark.loopback
def test_a_gated_model_whose_terms_were_not_accepted_names_the_tokens_variable(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.gated, hub.accepted = True, "hf_reader"

    assert pull(hub, cache, "org/model", **{"HUGGING_FACE_HUB_TOKEN": "hf_stranger"}) == 1

    said = capsys.readouterr().err
    assert "accept its terms" in said
    assert "HUGGING_FACE_HUB_TOKEN" in said
    assert "hf_stranger" not in said


@pytest.mark.loopback
def test_the_token_of_a_file_opens_a_gated_model_and_stays_with_the_hub(
    hub: FakeHub, cache: Path, tmp_path: Path
) -> None:
    hub.gated, hub.accepted, hub.cdn_host = True, "hf_reader", "localhost"
    (tmp_path / "token").write_text("hf_reader\n")

    assert pull(hub, cache, "org/model", HF_TOKEN_FILE=str(tmp_path / "token")) == 0

    assert {asked.authorization for asked in hub.transfers()} == {None}


@pytest.mark.loopback
def test_a_wrong_token_is_named_by_its_variable(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, cache, "org/model", **{"HF_TOKEN": "hf_xxxxxxxx"}) == 1

    said = capsys.readouterr().err
    assert "does not accept the token in HF_TOKEN" in said
    assert "hf_xxxxxxxx" not in said


@pytest.mark.loopback
@pytest.mark.parametrize("token", ["", "hf_reader"])
def test_an_unknown_repository_and_an_unknown_revision_are_said(
    hub: FakeHub, cache: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, cache, "org/modell", HF_TOKEN=token) == 1
    assert pull(hub, cache, "org/model", "v9", HF_TOKEN=token) == 1

    said = capsys.readouterr().err
    assert "has no repository org/modell" in said
    assert "org/model has no revision 'v9'" in said


@pytest.mark.parametrize(
    "name", ["qwen3:8b", "qwen3", "../etc/passwd", "a/b/c", "org/..", "https://h/o/m"]
)
def test_what_is_no_repository_is_refused_before_anything_is_asked(
    cache: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(FakeHub(), cache, name) == 1

    assert "is no repository of a model hub" in capsys.readouterr().err


@pytest.mark.loopback
def test_too_little_room_is_noticed_before_anything_is_transferred(
    hub: FakeHub, cache: Path
) -> None:
    ours = Hub(hub.url)
    planned = plan(ours, "org/model", "main")

    with pytest.raises(FetchError, match="0 MB free"):
        fetch(planned, ours, HubCache(cache), "main", Silent(), free=lambda _: 1000)

    assert hub.transfers() == []


@pytest.mark.loopback
def test_offline_mode_asks_nobody_and_knows_what_is_there(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(hub, cache, "org/model", HF_HUB_OFFLINE="1") == 1
    assert "offline mode is on" in capsys.readouterr().err
    assert hub.asked == []

    pull(hub, cache, "org/model")
    hub.asked.clear()

    assert pull(hub, cache, "org/model", HF_HUB_OFFLINE="1") == 0
    assert hub.asked == []


@pytest.mark.loopback
def test_the_env_file_is_read_and_the_shell_outranks_it(
    hub: FakeHub, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "deployment.env"
    path.write_text(f"HF_HUB_OFFLINE=1\nHF_ENDPOINT={hub.url}\nVLLM_MODEL=org/model\n")
    command = ["pull", "--provider", "vllm", "--to", str(cache), "--env-file", str(path)]

    assert run(command, {}) == 1
    assert run(command, {"HF_HUB_OFFLINE": "0"}) == 0

    assert snapshot(cache)


@pytest.mark.parametrize("endpoint", ["hf-mirror.example", "http://", "http://a:b"])
def test_an_endpoint_that_is_no_address_is_said(
    cache: Path, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(FakeHub(), cache, "org/model", HF_ENDPOINT=endpoint) == 1

    assert "is no address" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["hf_\u0430", "two words"])
def test_a_token_that_cannot_be_one_is_not_repeated_in_the_message(
    cache: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        pull(FakeHub(), cache, "org/model", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=token) == 1
    )

    said = capsys.readouterr().err
    assert "HF_TOKEN holds characters that no token has" in said
    assert token not in said


@pytest.mark.loopback
def test_a_failing_store_of_the_hub_is_told_to_be_tried_again(
    hub: FakeHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.broken = 503

    assert pull(hub, cache, "org/model") == 1

    assert "answered 503. Try again later" in capsys.readouterr().err


@pytest.mark.loopback
@pytest.mark.parametrize("path", ["../outside.json", "a/../../b", "/etc/passwd", "a\\b"])
def test_a_listing_that_leads_out_of_the_folder_is_refused(
    hub: FakeHub, cache: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files = {path: b"x", "model.safetensors": b"y"}

    assert pull(hub, cache, "org/model") == 1

    assert "impossible name" in capsys.readouterr().err

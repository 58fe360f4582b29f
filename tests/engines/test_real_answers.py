"""The whole product on the real chat model of the catalogue: ``make test-engines``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.core.local_models import is_present, load_catalogue
from backend.settings import load_settings
from tests.process.backend_process import RunningBackend, running_backend, until

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "docs" / "samples"
FILES = (
    "protocols/2026-11-24_protokol_statusa.md",
    "email_correspondence/2026-10_frostlyn_calibration.md",
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBackend]:
    settings, _ = load_settings(None)
    model = load_catalogue(ROOT / "config" / "local_models.json").find()
    if not is_present(settings.models_dir, model):
        pytest.fail(f"fetch the model first: python -m cli.models pull {model.name}")
    data = tmp_path_factory.mktemp("engine") / "data"
    with running_backend(
        data, LLM_MODE="llamacpp", LLM_THREADS="1", ASK_CONTEXT_TOKENS="600", LLM_MAX_TOKENS="200"
    ) as running:
        for source in FILES:
            path = SAMPLES / source
            running.client.post(
                "/ingest",
                files={"file": (path.name, path.read_bytes())},
                data={"space_id": "s", "source": source},
            ).raise_for_status()
        until(lambda: running.client.get("/health").status_code == 200, seconds=120)
        yield running


def ask(backend: RunningBackend, question: str) -> dict[str, Any]:
    response = backend.client.post(
        "/ask", json={"q": question, "space_id": "s"}, timeout=600
    ).raise_for_status()
    body: dict[str, Any] = response.json()
    return body


def quotes_hold(backend: RunningBackend, body: dict[str, Any]) -> bool:
    """Every quote is the stored text at its place; an unsupported citation has none."""
    for citation in (*body["citations"], *body["attributed"]):
        if citation["status"] == "unsupported":
            if citation["quote"]:
                return False
            continue
        text = backend.client.get(f"/documents/{citation['doc_id']}/text").text
        if text[citation["char_start"] : citation["char_end"]] != citation["quote"]:
            return False
    return True


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("Какие дедлайны по проекту?", "ru", "15 марта 2027"),
        ("How many sensors failed the calibration check?", "en", "11"),
    ],
)
def test_a_question_about_the_samples_is_answered_with_quotes_that_hold(
    backend: RunningBackend, question: str, language: str, expected: str
) -> None:
    body = ask(backend, question)

    shown = json.dumps(body, ensure_ascii=False)
    assert body["answered"], shown
    assert body["language"] == language
    assert expected in body["answer"], shown
    assert body["citations"] or body["attributed"], shown
    assert quotes_hold(backend, body), shown
    assert body["context"]["prompt_tokens"] + body["context"]["max_tokens"] < 8192


def test_a_question_the_samples_cannot_answer_pretends_no_source(backend: RunningBackend) -> None:
    body = ask(backend, "Какая столица Австралии?")

    shown = json.dumps(body, ensure_ascii=False)
    assert body["answered"] is False, shown
    assert body["sources"] == []
    assert quotes_hold(backend, body), shown


def test_no_other_user_of_the_machine_can_read_the_childs_key(backend: RunningBackend) -> None:
    (model,) = (c for c in backend.descendants() if "llamacpp_child" in " ".join(c.cmdline()))
    port = model.net_connections(kind="tcp")[0].laddr.port

    without_key = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"messages": []})

    assert without_key.status_code == 401
    assert len(model.cmdline()) == 3  # nothing secret among the arguments

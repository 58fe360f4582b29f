"""What is left when the process dies, on the real parser, embedder and store."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest

from tests.process.backend_process import RunningBackend, running_backend, until

pytestmark = pytest.mark.loopback

TEXT = "\n\n".join(
    f"# Раздел {n}\n\n" + f"Работы этапа {n} сдаются в срок, указанный в плане. " * 8
    for n in range(12)
)


def ingest(backend: RunningBackend, text: str, source: str = "plan.md") -> httpx.Response:
    return backend.client.post(
        "/ingest", files={"file": (source, text.encode())}, data={"space_id": "s"}
    )


def documents(backend: RunningBackend) -> list[dict[str, object]]:
    listed = backend.client.get("/documents", params={"space_id": "s"}).json()["documents"]
    return [backend.client.get(f"/documents/{doc['doc_id']}").json() for doc in listed]


def begin_ingest(backend: RunningBackend) -> None:
    def send() -> None:
        with suppress(httpx.TransportError):  # the backend is killed under it
            httpx.post(
                f"{backend.client.base_url}/ingest",
                files={"file": ("plan.md", TEXT.encode())},
                data={"space_id": "s"},
                timeout=60,
            )

    Thread(target=send, daemon=True).start()


@pytest.mark.parametrize("written", [0, 8])
def test_a_document_whose_ingest_was_killed_is_finished_by_the_next_start(
    tmp_path: Path, written: int
) -> None:
    data = tmp_path / "data"
    with running_backend(data) as backend:
        begin_ingest(backend)
        until(lambda: any(int(str(d["chunks_indexed"])) >= written for d in documents(backend)))
        found = backend.client.get("/search", params={"q": "работы", "space_id": "s"}).json()
        backend.kill()
    with running_backend(data) as backend:
        until(lambda: [d["state"] for d in documents(backend)] == ["ready"])
        (document,) = documents(backend)
        text = backend.client.get(f"/documents/{document['doc_id']}/text").text
        answer = backend.client.post("/ask", json={"q": "Когда сдаются работы?", "space_id": "s"})

    assert found["results"] == []  # nothing half was ever visible
    assert document["chunks_indexed"] == document["chunks_total"]
    assert text.split() == TEXT.split()
    assert answer.status_code == 200


def test_no_child_survives_a_killed_backend(tmp_path: Path) -> None:
    with running_backend(tmp_path / "data") as backend:
        ingest(backend, "Короткий текст.")
        children = backend.descendants()
        backend.kill()

    assert children  # the parser's worker
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_sigterm_stops_the_backend_and_its_children_with_exit_code_zero(tmp_path: Path) -> None:
    with running_backend(tmp_path / "data") as backend:
        ingest(backend, "Короткий текст.")
        children = backend.descendants()
        backend.process.send_signal(signal.SIGTERM)
        code = backend.process.wait(20)

    assert code == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_second_backend_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_backend(data) as backend:
        pid = backend.process.pid
        with pytest.raises(AssertionError, match="ended with code 3"), running_backend(data):
            pass
        logs = [path.read_text(encoding="utf-8") for path in tmp_path.glob("backend-*.log")]

    assert any(f"in use by another process (pid {pid})" in log for log in logs)


def test_a_wrong_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="ended with code 2"),
        running_backend(tmp_path / "data", LLM_TIMEOUT="soon"),
    ):
        pass

    (log,) = tmp_path.glob("backend-*.log")
    assert "LLM_TIMEOUT='soon'" in log.read_text(encoding="utf-8")

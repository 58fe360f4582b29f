from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from backend.core.errors import DependencyError
from tests.api.conftest import OpenClient, put, running_app, settings_for
from tests.fakes.embedder import HashingEmbedder

MINUTES = "# Протокол\n\nСрок сдачи проекта 15 января 2027 года.\n"


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_file_becomes_a_document_that_says_what_was_made_of_it(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        response = await put(client, MINUTES, "protocols/2026.md")

    body = response.json()
    assert response.status_code == 200
    assert body["source"] == "protocols/2026.md"
    assert (body["doc_type"], body["doc_type_origin"]) == ("protocols", "folder")
    assert (body["chunks_indexed"], body["language"]) == (1, "ru")
    assert (body["state"], body["summary_pending"]) == ("ready", False)
    assert body["unchanged"] is False


async def test_without_a_source_the_document_has_the_name_of_its_file(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        response = await client.post(
            "/ingest", files={"file": ("memo.txt", b"Hello there")}, data={"space_id": "s"}
        )

    assert response.json()["source"] == "memo.txt"


async def test_the_same_file_again_changes_nothing(open_client: OpenClient) -> None:
    embedder = HashingEmbedder()
    async with open_client(embedder=embedder) as client:
        first = (await put(client, MINUTES)).json()
        embedded = len(embedder.embedded)
        second = (await put(client, MINUTES)).json()

    assert second["unchanged"] is True
    assert second["doc_id"] == first["doc_id"]
    assert len(embedder.embedded) == embedded


async def test_a_changed_file_replaces_the_old_version(
    open_client: OpenClient, tmp_path: Path
) -> None:
    async with open_client() as client:
        first = (await put(client, "Срок 15 января.")).json()
        second = (await put(client, "Срок 20 февраля.")).json()
        found = (await client.get("/search", params={"q": "срок", "space_id": "s"})).json()

    assert second["replaced"] is True
    assert second["doc_id"] == first["doc_id"]
    assert [hit["text"] for hit in found["results"]] == ["Срок 20 февраля."]
    assert len(files_under(tmp_path / "originals")) == 1


async def test_two_readmes_of_different_folders_are_two_documents(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        first = (await put(client, "About a.", "a/readme.md")).json()
        second = (await put(client, "About b.", "b/readme.md")).json()
        listed = (await client.get("/documents", params={"space_id": "s"})).json()

    assert first["doc_id"] != second["doc_id"]
    assert [doc["source"] for doc in listed["documents"]] == ["a/readme.md", "b/readme.md"]


async def test_a_refused_file_leaves_no_trace(open_client: OpenClient, tmp_path: Path) -> None:
    async with open_client() as client:
        response = await put(client, "   ")
        listed = (await client.get("/documents", params={"space_id": "s"})).json()

    assert response.status_code == 422
    assert response.json()["error"]["reason"] == "empty"
    assert listed["total"] == 0
    assert files_under(tmp_path / "originals") == []
    assert files_under(tmp_path / "uploads") == []


@pytest.mark.parametrize("source", ["../../etc/passwd", "a/../b.txt", "x" * 300 + ".txt"])
async def test_a_name_that_climbs_or_is_too_long_is_refused(
    open_client: OpenClient, source: str
) -> None:
    async with open_client() as client:
        response = await put(client, "text", source)

    assert response.status_code == 400
    assert "source" in response.json()["error"]["message"]


async def test_an_oversized_upload_is_refused_by_its_declared_length(
    open_client: OpenClient, tmp_path: Path
) -> None:
    async with open_client(ingest_max_file_bytes=1000) as client:
        declared = await put(client, "x" * 100_000)
        close = await put(client, "x" * 1001)

    assert declared.status_code == close.status_code == 413
    assert declared.json()["error"]["setting"] == "INGEST_MAX_FILE_BYTES"
    assert files_under(tmp_path / "uploads") == []


async def test_an_oversized_upload_without_a_length_is_refused_as_it_comes_in(
    open_client: OpenClient,
) -> None:
    async def endless() -> object:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'
        while True:
            yield b"x" * 50_000

    async with open_client(ingest_max_file_bytes=1000) as client:
        response = await client.post(
            "/ingest",
            content=endless(),  # type: ignore[arg-type]
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )

    assert response.status_code == 413


async def test_an_unknown_document_type_is_refused_with_the_known_ones(
    open_client: OpenClient,
) -> None:
    async with open_client() as client:
        response = await put(client, "text", doc_type="novel")

    assert response.status_code == 400
    assert "work_plans" in response.json()["error"]["message"]


async def test_a_deleted_document_is_found_no_more(open_client: OpenClient, tmp_path: Path) -> None:
    async with open_client() as client:
        doc_id = (await put(client, MINUTES)).json()["doc_id"]
        deleted = await client.delete(f"/documents/{doc_id}")
        found = (await client.get("/search", params={"q": "срок", "space_id": "s"})).json()
        gone = await client.get(f"/documents/{doc_id}")

    assert deleted.json()["deleted"] is True
    assert found["results"] == []
    assert gone.status_code == 404
    assert files_under(tmp_path / "originals") == []


async def test_an_original_stays_while_another_document_has_the_same_content(
    open_client: OpenClient, tmp_path: Path
) -> None:
    async with open_client() as client:
        first = (await put(client, MINUTES, "a.txt")).json()["doc_id"]
        await put(client, MINUTES, "b.txt")
        await client.delete(f"/documents/{first}")

    assert len(files_under(tmp_path / "originals")) == 1


async def test_the_text_of_a_document_can_be_read_by_the_ranges_of_citations(
    open_client: OpenClient,
) -> None:
    text = "\n\n".join(f"Абзац {n} говорит о сроке номер {n}." for n in range(200))
    async with open_client() as client:
        doc_id = (await put(client, text)).json()["doc_id"]
        whole = (await client.get(f"/documents/{doc_id}/text")).text
        part = (await client.get(f"/documents/{doc_id}/text", params={"start": 8, "end": 15})).text

    assert whole == text
    assert part == text[8:15]


# --- crashes -----------------------------------------------------------------------------------


class BrokenEmbedder(HashingEmbedder):
    """Fails, or hangs, after some texts."""

    def __init__(self, after: int, *, hangs: bool = False) -> None:
        super().__init__()
        self.after = after
        self.hangs = hangs

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        if len(self.embedded) >= self.after:
            if self.hangs:
                await asyncio.Event().wait()
            raise DependencyError("the embedder is gone", dependency="embedder")
        return await super().embed_passages(texts)


LONG = "\n\n".join(f"# Раздел {n}\n\n" + f"Пункт {n} о сроках и работах. " * 40 for n in range(12))


async def test_a_failure_in_the_middle_leaves_no_trace_of_a_new_document(
    open_client: OpenClient, tmp_path: Path
) -> None:
    async with open_client(embedder=BrokenEmbedder(after=8)) as client:
        response = await put(client, LONG)
        listed = (await client.get("/documents", params={"space_id": "s"})).json()

    assert response.status_code == 502
    assert listed["total"] == 0
    assert files_under(tmp_path / "originals") == []


async def test_a_failure_in_the_middle_keeps_the_old_version(open_client: OpenClient) -> None:
    embedder = BrokenEmbedder(after=8)
    async with open_client(embedder=embedder) as client:
        await put(client, "Старый срок 15 января.")
        await put(client, LONG)
        found = (await client.get("/search", params={"q": "срок", "space_id": "s"})).json()
        listed = (await client.get("/documents", params={"space_id": "s"})).json()

    assert [hit["text"] for hit in found["results"]] == ["Старый срок 15 января."]
    assert listed["documents"][0]["state"] == "ready"


async def test_what_a_stopped_process_left_is_finished_by_the_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    stuck = BrokenEmbedder(after=8, hangs=True)
    async with running_app(settings, embedder=stuck) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            begun = asyncio.create_task(put(client, LONG))
            while len(stuck.embedded) < 8:
                await asyncio.sleep(0.01)
            (pending,) = (await client.get("/documents", params={"space_id": "s"})).json()[
                "documents"
            ]
            found = (await client.get("/search", params={"q": "срок", "space_id": "s"})).json()
            begun.cancel()
    again = HashingEmbedder()
    async with running_app(settings, embedder=again) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            async with asyncio.timeout(5):
                while True:
                    doc = (await client.get(f"/documents/{pending['doc_id']}")).json()
                    if doc["state"] == "ready":
                        break
                    await asyncio.sleep(0.01)

    assert pending["state"] == "pending"
    assert found["results"] == []
    assert doc["chunks_indexed"] == doc["chunks_total"] > 8
    assert len(again.embedded) == doc["chunks_total"] - 8  # the written ones are not made again

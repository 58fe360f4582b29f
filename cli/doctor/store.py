"""The configured embedding against the store that is there: what the backend would refuse."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from backend.core.identity import chunker_part, embedding_part
from backend.settings import Settings
from cli.doctor.configuration import Configuration
from cli.doctor.embedded import META_ID, remembered
from cli.doctor.findings import Finding

TIMEOUT_S = 1.0

# As in the fingerprint of the bundled embedder; tests/unit/test_doctor_store.py compares.
BUNDLED_MODEL = "multilingual-e5-small-q4"
BUNDLED_DIMENSIONS = 384

# By the last part of the name, from the models' own pages; only to compare sizes where a store
# tells nothing else.
_DIMENSIONS = {
    "all-minilm-l6-v2": 384,
    "all-mpnet-base-v2": 768,
    "bge-base-en-v1.5": 768,
    "bge-large-en-v1.5": 1024,
    "bge-m3": 1024,
    "bge-small-en-v1.5": 384,
    "labse": 768,
    "multilingual-e5-base": 768,
    "multilingual-e5-large": 1024,
    "multilingual-e5-large-instruct": 1024,
    "multilingual-e5-small": 384,
    "paraphrase-multilingual-minilm-l12-v2": 384,
    "paraphrase-multilingual-mpnet-base-v2": 768,
    "qwen3-embedding-0.6b": 1024,
    "qwen3-embedding-4b": 2560,
    "qwen3-embedding-8b": 4096,
}
_SERVED = re.compile(r"^(?P<model>.+)/(?P<size>\d+)/query=(?P<query>.+)/passage=(?P<passage>.+)$")
_CHUNKS = re.compile(r"chunks-v\d+/(\d+)/(\d+)$")


@dataclass(frozen=True, slots=True)
class Embedding:
    """None: not known. ``chunks`` is CHUNK_SIZE_TOKENS and CHUNK_OVERLAP_TOKENS."""

    model: str | None = None
    dimensions: int | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    chunks: tuple[int, int] | None = None

    @property
    def is_bundled(self) -> bool:
        return self.model == BUNDLED_MODEL


@dataclass(frozen=True, slots=True)
class Store:
    where: str
    filled_with: Embedding
    reindex: str


def check_store(configuration: Configuration) -> Iterator[Finding]:
    settings = configuration.settings
    if settings is None or configuration.in_compose:
        return
    expected = configured(settings)
    with ThreadPoolExecutor(2) as pool:
        stores = [
            pool.submit(find, configuration, settings) for find in (embedded_store, server_store)
        ]
    for store in (future.result() for future in stores):
        if store is not None:
            yield from compare(store, expected, configuration)


def configured(settings: Settings) -> Embedding:
    chunks = (settings.chunk_size_tokens, settings.chunk_overlap_tokens)
    if settings.embed_provider == "bundled":
        return Embedding(BUNDLED_MODEL, BUNDLED_DIMENSIONS, chunks=chunks)
    model = settings.embed_model or ""
    known = _DIMENSIONS.get(model.rpartition("/")[2].casefold())
    return Embedding(
        model, known, settings.embed_query_prefix, settings.embed_passage_prefix, chunks
    )


def parse_fingerprint(fingerprint: str) -> Embedding:
    """The inverse of ``collection_fingerprint`` and of the embedders' own fingerprints."""
    part = embedding_part(fingerprint)
    cut = _CHUNKS.search(chunker_part(fingerprint))
    chunks = (int(cut[1]), int(cut[2])) if cut else None
    if served := _SERVED.match(part):
        prefixes = (_literal(served["query"]), _literal(served["passage"]))
        return Embedding(served["model"], int(served["size"]), *prefixes, chunks)
    sizes = re.findall(r"/(\d+)(?=/|$)", part)
    size = int(sizes[0]) if sizes else None
    return Embedding(part.partition("/")[0], size, chunks=chunks)


def _literal(text: str) -> str | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) else None


# --- where stores are --------------------------------------------------------------------------


def embedded_store(configuration: Configuration, settings: Settings) -> Store | None:
    """Where the record cannot be read, the size of the vectors still can."""
    if settings.qdrant_url is not None:
        return None
    folder = configuration.root / settings.data_dir / "qdrant"
    if fingerprint := remembered(folder):
        found = parse_fingerprint(fingerprint)
    elif size := _dense_size(_read(folder / "chunks" / "edge_config.json")):
        found = Embedding(dimensions=size)
    else:
        return None
    return Store(f"The embedded store in {folder}", found, "python -m backend --reindex")


def server_store(configuration: Configuration, settings: Settings) -> Store | None:
    url = _reachable_url(configuration, settings)
    headers = {"api-key": settings.qdrant_api_key} if settings.qdrant_api_key else {}
    try:
        with httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            found = _ask_qdrant(client, settings.qdrant_collection_prefix)
    except (httpx.HTTPError, httpx.InvalidURL, LookupError, TypeError, ValueError, AttributeError):
        return None
    command = "docker compose run --rm backend python -m backend --reindex"
    return None if found is None else Store(f"The Qdrant server at {url}", found, command)


def _reachable_url(configuration: Configuration, settings: Settings) -> str:
    """A name without a dot is one of Compose's network; from here its published port is asked."""
    host = urlsplit(settings.qdrant_url or "").hostname or ""
    if settings.qdrant_url and ("." in host or ":" in host or host == "localhost"):
        return settings.qdrant_url
    port = configuration.effective("QDRANT_PORT") or "6333"
    return f"http://127.0.0.1:{port}"


def _ask_qdrant(client: httpx.Client, prefix: str) -> Embedding | None:
    """None where there is no collection of ours. After a re-index an alias names the one in use."""
    for alias in _result(client.get("/aliases"))["aliases"]:
        if alias["alias_name"] == f"{prefix}_in_use":
            prefix = str(alias["collection_name"]).removesuffix("_documents")
    asked = client.post(
        f"/collections/{prefix}_documents/points", json={"ids": [META_ID], "with_payload": True}
    )
    if asked.status_code == httpx.codes.OK:
        for point in asked.json()["result"]:
            return parse_fingerprint(str(point["payload"]["fingerprint"]))
    size = _dense_size(_result(client.get(f"/collections/{prefix}_chunks"))["config"]["params"])
    return Embedding(dimensions=size) if size else None


def _result(response: httpx.Response) -> Mapping[str, Any]:
    result: Mapping[str, Any] = response.raise_for_status().json()["result"]
    return result


def _dense_size(config: Mapping[str, Any]) -> int | None:
    dense = (config.get("vectors") or {}).get("dense") or {}
    size = dense.get("size")
    return size if isinstance(size, int) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- what differs ------------------------------------------------------------------------------


def compare(store: Store, expected: Embedding, configuration: Configuration) -> Iterator[Finding]:
    found = store.filled_with
    if found.model is not None and found.model != expected.model:
        yield _other_model(store, expected, configuration)
    elif found.dimensions and expected.dimensions and found.dimensions != expected.dimensions:
        yield _other_size(store, expected, configuration)
    else:
        yield from _other_prefixes(store, expected, configuration)
    if found.chunks is not None and found.chunks != expected.chunks:
        yield from _other_chunks(store, found.chunks, expected, configuration)


def _why(store: Store) -> str:
    return (
        "The backend refuses to start: vectors of different origin cannot be compared. Either set "
        f"it back, or index all documents again: {store.reindex}"
    )


def _name_of(expected: Embedding) -> str:
    return "EMBED_PROVIDER" if expected.is_bundled else "EMBED_MODEL"


def _other_model(store: Store, expected: Embedding, configuration: Configuration) -> Finding:
    found = store.filled_with
    size = f" ({found.dimensions} dimensions)" if found.dimensions else ""
    now = "the bundled model" if expected.is_bundled else expected.model
    before = "the bundled model" if found.is_bundled else found.model
    name = "EMBED_PROVIDER" if found.is_bundled else "EMBED_MODEL"
    return configuration.finding(
        "error",
        "store_other_embedding",
        _name_of(expected) if configuration.line(name) is None else name,
        f"{store.where} was filled by {before}{size}; {_name_of(expected)} now means {now}.",
        _why(store),
        "EMBED_PROVIDER=bundled" if found.is_bundled else f"EMBED_MODEL={found.model}",
    )


def _other_size(store: Store, expected: Embedding, configuration: Configuration) -> Finding:
    found = store.filled_with
    now = "the bundled model" if expected.is_bundled else expected.model
    bundled = found.dimensions == BUNDLED_DIMENSIONS
    return configuration.finding(
        "error",
        "store_other_dimensions",
        _name_of(expected),
        f"{store.where} holds vectors of {found.dimensions} dimensions; {now} "
        f"({_name_of(expected)}) makes {expected.dimensions}.",
        _why(store),
        "EMBED_PROVIDER=bundled" if bundled else store.reindex,
        action="write" if bundled else "run",
    )


def _other_prefixes(
    store: Store, expected: Embedding, configuration: Configuration
) -> Iterator[Finding]:
    found = store.filled_with
    for name, before, now in (
        ("EMBED_QUERY_PREFIX", found.query_prefix, expected.query_prefix),
        ("EMBED_PASSAGE_PREFIX", found.passage_prefix, expected.passage_prefix),
    ):
        if before is not None and now is not None and before != now:
            yield configuration.finding(
                "error",
                "store_other_prefix",
                name,
                f"{store.where} was filled with {name}={before!r}; now it is {now!r}.",
                _why(store),
                f'{name}="{before}"',
            )


def _other_chunks(
    store: Store, found: tuple[int, int], expected: Embedding, configuration: Configuration
) -> Iterator[Finding]:
    names = ("CHUNK_SIZE_TOKENS", "CHUNK_OVERLAP_TOKENS")
    for name, before, now in zip(names, found, expected.chunks or found, strict=True):
        if before != now:
            yield configuration.finding(
                "error",
                "store_other_chunks",
                name,
                f"{store.where} was filled with {name}={before}; now it is {now}.",
                _why(store),
                f"{name}={before}",
            )

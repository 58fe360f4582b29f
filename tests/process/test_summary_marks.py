"""Every part of a long document reaches the model once, and nothing is over the window: seen from
the model's server, through the real adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.language import AnswerLanguage, detect_language
from tests.fakes.prose import MARK, marked_prose
from tests.fakes.summary_server import Asked, SummaryServer, summary_server
from tests.process.summary_app import put, summary_app

pytestmark = pytest.mark.loopback


def marks_seen(asked: list[Asked]) -> list[str]:
    """By part, the parts in the order of the document."""
    found = [MARK.findall("".join(one.texts)) for one in asked if one.kind == "document"]
    return [mark for marks in sorted(found) for mark in marks]


@pytest.mark.parametrize(
    ("language", "tokens", "window"),
    [
        ("ru", 12_000, 2048),
        ("en", 12_000, 1024),
        ("en", 60_000, 8192),
        ("ru", 450_000, 8192),
    ],
)
async def test_every_mark_is_seen_once_and_in_order(
    quick_folder: Path, language: AnswerLanguage, tokens: int, window: int
) -> None:
    document = marked_prose(language, tokens)
    with summary_server(SummaryServer(window=window)) as server:
        async with summary_app(quick_folder, server) as client:
            doc_id = await put(client, document.text, "long.txt")
            response = await client.post("/summarize", json={"doc_id": doc_id, "space_id": "s"})
            summary = response.json()

    assert response.status_code == 200, summary
    assert marks_seen(server.answered) == list(document.marks)
    assert [one.ended for one in server.ended if one.ended != "answered"] == []
    assert summary["strategy"] == "map_reduce"
    assert summary["chunks_processed"] >= tokens / 256
    assert detect_language(summary["summary"]) == language == summary["language"]
    assert summary["parts"] == sum(one.kind == "document" for one in server.answered)


async def test_nothing_is_dropped_when_the_server_has_less_room_than_it_said(
    quick_folder: Path,
) -> None:
    document = marked_prose("ru", 20_000)
    with summary_server(SummaryServer(window=4096)) as server:

        def shrink(asked: Asked) -> float:
            server.window = 2048
            return 0.0

        server.seconds = shrink
        async with summary_app(quick_folder, server) as client:
            doc_id = await put(client, document.text, "long.txt")
            response = await client.post("/summarize", json={"doc_id": doc_id, "space_id": "s"})

    assert response.status_code == 200, response.json()
    assert marks_seen(server.answered) == list(document.marks)

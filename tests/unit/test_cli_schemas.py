from __future__ import annotations

import pytest
from pydantic import BaseModel

from backend.api import document_schemas as documents
from backend.api import schemas as api
from cli import schemas as cli


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (cli.Document, documents.DocumentOut),
        (cli.DocumentPage, documents.DocumentList),
        (cli.Ingested, documents.IngestResponse),
        (cli.Hit, api.SearchHit),
        (cli.SearchAnswer, api.SearchResponse),
        (cli.Source, api.SourceOut),
        (cli.Citation, api.CitationOut),
        (cli.Answer, api.AskResponse),
        (cli.Context, api.ContextOut),
        (cli.Health, api.HealthResponse),
        (cli.Health.Component, api.ComponentOut),
    ],
)
def test_the_command_line_reads_only_what_the_api_writes(
    read: type[BaseModel], written: type[BaseModel]
) -> None:
    assert set(read.model_fields) <= set(written.model_fields)

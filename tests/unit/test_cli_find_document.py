from __future__ import annotations

import json

import pytest

from backend.core.identity import document_id
from cli.find_document import matching
from cli.schemas import Document
from cli.summarize import run
from tests.fakes.api import document
from tests.fakes.summary_api import (
    PLAN,
    Backend,
    around,
)

Captured = pytest.CaptureFixture[str]


def summarize(backend: Backend, *options: str, doc: str = "plans/plan.md") -> int:
    return run([doc, "--space", "s", *options], {}, around(backend.answer))


@pytest.mark.parametrize(
    "given", [PLAN, PLAN.upper(), "plans/plan.md", "plan.md", "./plan.md", "/docs/plans/plan.md"]
)
def test_a_document_has_an_id_a_source_a_name_and_a_path(given: str) -> None:
    backend = Backend(documents=[document("a.md"), document("plans/plan.md")])

    assert summarize(backend, doc=given) == 0
    assert json.loads(backend.of("/summarize-stream")[0].content)["doc_id"] == PLAN


def test_a_name_of_several_documents_lists_them(capsys: Captured) -> None:
    backend = Backend(documents=[document("b/plan.md"), document("a/plan.md")])

    exit_code = summarize(backend, doc="plan.md")

    told = capsys.readouterr().err
    assert exit_code == 2
    assert "names 2 documents" in told
    assert told.index("a/plan.md") < told.index("b/plan.md")
    assert document_id("s", "a/plan.md") in told
    assert backend.of("/summarize-stream") == []


def test_an_unknown_name_lists_those_spelt_like_it(capsys: Captured) -> None:
    many = [document(f"notes/{number}.txt") for number in range(50)]
    backend = Backend(documents=[*many, document("reports/Отчёт.pdf")])

    exit_code = summarize(backend, doc="отчет.pdf")

    told = capsys.readouterr().err.splitlines()
    assert exit_code == 2
    assert "reports/Отчёт.pdf" in told[1]
    assert told[-1].strip() == "and 41 more"


def test_an_empty_space_says_so(capsys: Captured) -> None:
    assert summarize(Backend(documents=[])) == 2
    assert "holds no documents" in capsys.readouterr().err


def test_the_exact_spelling_wins_over_case_and_unicode_form() -> None:
    documents = [Document.model_validate(document(name)) for name in ("Й.md", "й.md", "x/й.md")]

    assert [found.source for found in matching("и\u0306.md", documents)] == ["й.md"]
    assert [found.source for found in matching("X\\Й.MD", documents)] == ["x/й.md"]
    assert matching("  ", documents) == []

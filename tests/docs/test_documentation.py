from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backend.settings import Settings

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "tests" / "quality" / "questions.jsonl"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)


def headings(text: str) -> list[int]:
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [len(marks) for marks in re.findall(r"^(#+) ", without_code, re.M)]


def test_both_readmes_have_the_same_headings_and_commands() -> None:
    english, russian = read("README.md"), read("README.ru.md")

    assert headings(english) == headings(russian)
    assert commands(english) == commands(russian)
    assert len(commands(english)) > 5


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", read("docs/configuration.md"), re.M))
    existing = {
        str(field.validation_alias or name).upper() for name, field in Settings.model_fields.items()
    }

    assert documented == existing


def test_documented_defaults_are_the_real_ones() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`]*)` \|", read("docs/configuration.md"), re.M)
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}

    wrong = {name: (said, defaults[name]) for name, said in rows if not _same(said, defaults[name])}

    assert wrong == {}
    assert len(rows) > 25


def _same(said: str, default: object) -> bool:
    if isinstance(default, bool) or not isinstance(default, int | float):
        return said == str(default) or said == str(default).lower()
    return float(said) == float(default)


@pytest.mark.parametrize(
    "page", ["README.md", "README.ru.md", "CONTRIBUTING.md", "docs/architecture.md"]
)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!http)([^)#]+)", read(page))

    assert [link for link in links if not (folder / link).exists()] == []
    assert links


def test_make_targets_named_in_the_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        target
        for page in pages
        for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }

    assert named - targets == set()
    assert "demo" in named


def test_the_lock_files_hold_hashes_and_no_address() -> None:
    for name in ("requirements/run.txt", "requirements/dev.txt"):
        text = read(name)
        pinned = re.findall(r"^[a-z0-9][^\s=]*==", text, re.M | re.I)
        assert len(pinned) > 30
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text


def test_the_quality_questions_name_documents_that_exist() -> None:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]

    missing = [
        question["source"]
        for question in questions
        if question["answerable"] and not (ROOT / "docs" / "samples" / question["source"]).is_file()
    ]

    assert missing == []
    assert len(questions) == 50

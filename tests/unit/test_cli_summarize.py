from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from cli.summarize import run
from tests.fakes.summary_api import (
    PLAN,
    Backend,
    around,
    summary,
    whole,
)

Captured = pytest.CaptureFixture[str]


def summarize(backend: Backend, *options: str, doc: str = "plans/plan.md") -> int:
    return run([doc, "--space", "s", *options], {}, around(backend.answer))


def on_terminal(backend: Backend, *options: str, width: int = 200) -> tuple[int, str, str]:
    """The exit code, and what a terminal without colours got as result and on the way."""
    out, errors = (
        Console(
            file=io.StringIO(), force_terminal=True, no_color=True, width=width, highlight=False
        )
        for _ in range(2)
    )
    places = replace(around(backend.answer), out=out, errors=errors)
    exit_code = run(["plans/plan.md", "--space", "s", *options], {}, places)
    assert isinstance(out.file, io.StringIO)
    assert isinstance(errors.file, io.StringIO)
    return exit_code, out.file.getvalue(), errors.file.getvalue()


def test_a_pipe_gets_nothing_but_the_text(capsys: Captured) -> None:
    exit_code = summarize(Backend())

    captured = capsys.readouterr()
    assert exit_code == 0
    assert captured.out == "Срок сдачи перенесён на 15 января.\n"
    assert captured.err == ""


def test_a_pipe_is_told_on_the_side_what_the_document_does_not_say(capsys: Captured) -> None:
    summarize(Backend([whole(unsupported=["42 %"], warnings=["Cut short."])]))

    captured = capsys.readouterr()
    assert "42 %" not in captured.out
    assert captured.err == (
        "Warning: the summary says this, the document does not\n- 42 %\nNote: Cut short.\n"
    )


def test_a_terminal_gets_the_text_the_warnings_and_the_facts() -> None:
    exit_code, out, _ = on_terminal(Backend([whole(unsupported=["42 %"], cached=True)]))

    assert exit_code == 0
    assert "Срок сдачи перенесён на 15 января." in out
    assert "- 42 %" in out
    facts = "model small · 2 parts · 1 merge level · 7 chunks · 12.3 s, from the cache"
    assert facts in out


def test_partial_summaries_are_shown_only_when_asked_for(capsys: Captured) -> None:
    summarize(Backend())
    quiet = capsys.readouterr()
    summarize(Backend(), "--stream")
    captured = capsys.readouterr()

    assert quiet.err == ""
    assert "Part 1 of 2\nЧасть первая.\n" in captured.err
    assert "Part 2 of 2\nЧасть вторая.\n" in captured.err
    assert captured.out == "Срок сдачи перенесён на 15 января.\n"


def test_structured_fields_are_lists_with_owner_and_deadline(capsys: Captured) -> None:
    found = {
        "decisions": [{"what": "Сдать в январе", "who": "Иванов", "when": "15 января"}],
        "action_items": [
            {"task": "Отчёт", "owner": "Петров", "deadline": "20 января"},
            {"task": "Смета", "owner": None, "deadline": None},
        ],
        "topics": ["сроки"],
        "participants": ["Иванов", "Петров"],
        "open_questions": [],
    }
    backend = Backend([whole(**found)])

    summarize(backend, "--structured")

    shown = capsys.readouterr().out
    assert "Decisions\n- Сдать в январе (Иванов; 15 января)\n" in shown
    assert "- Отчёт (owner: Петров; deadline: 20 января)\n" in shown
    assert "- Смета (no owner; no deadline)\n" in shown
    assert "Participants\n- Иванов\n- Петров\n" in shown
    assert "Open questions: none\n" in shown
    assert json.loads(backend.of("/summarize-stream")[0].content)["structured"] is True


def test_what_was_asked_for_is_sent_and_nothing_else() -> None:
    backend = Backend()
    plain_backend = Backend()

    summarize(
        backend, "--focus", " сроки ", "--language", "en", "--max-tokens", "300", "--api-key", "k"
    )
    summarize(plain_backend)

    sent = backend.of("/summarize-stream")[0]
    wish = {"doc_id": PLAN, "space_id": "s"}
    assert json.loads(sent.content) == wish | {
        "focus": "сроки",
        "language": "en",
        "max_tokens": 300,
    }
    assert sent.headers["authorization"] == "Bearer k"
    assert json.loads(plain_backend.of("/summarize-stream")[0].content) == wish


def test_json_is_the_whole_answer_of_the_api(capsys: Captured) -> None:
    exit_code = summarize(Backend([whole(future="kept")]), "--json")

    captured = capsys.readouterr()
    assert exit_code == 0
    assert json.loads(captured.out) == summary(future="kept")
    assert "\\u" not in captured.out


def test_long_text_wraps_at_words_on_a_terminal_and_not_in_a_pipe(capsys: Captured) -> None:
    text = "Очень длинное предложение " * 10
    _, out, _ = on_terminal(Backend([whole(summary=text)]), width=40)
    summarize(Backend([whole(summary=text)]))

    lines = [line for line in out.splitlines() if "предложение" in line]
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert all(line.split()[-1] in text.split() for line in lines)
    assert text.strip() in capsys.readouterr().out


def test_text_of_documents_cannot_steer_the_terminal(capsys: Captured) -> None:
    evil = "\x1b]0;owned\x07 [bold]b[/bold] :smile:"

    summarize(Backend([whole(summary=evil, topics=[evil], unsupported=[evil])]))

    captured = capsys.readouterr()
    assert not set("\x1b\x07") & set(captured.out + captured.err)
    assert "[bold]b[/bold] :smile:" in captured.out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--space", "s"],
        ["x", "--all", "--space", "s"],
        ["x"],
        [" ", "--space", "s"],
        ["x", "--space", "a/b"],
        ["x", "--space", "s", "--language", "de"],
        ["x", "--space", "s", "--max-tokens", "0"],
        ["--all", "--space", "s", "--focus", "сроки"],
        ["--all", "--space", "s", "--structured"],
    ],
)
def test_wrong_usage_is_exit_code_two(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(wrong, {})

    assert caught.value.code == 2

from __future__ import annotations

import json

import httpx
import pytest

from cli.ask import NOT_ANSWERED, run
from cli.terminal import plain
from tests.fakes import api
from tests.fakes.api import FakeBackend

Captured = pytest.CaptureFixture[str]


def ask(backend: FakeBackend, *options: str) -> int:
    return run(["Когда срок?", "--space", "s", *options], {}, backend.transport)


def changed(**changes: object) -> FakeBackend:
    """A backend that gives one answer, streamed and whole."""
    text = str(changes.get("draft") or changes.get("answer") or "Срок 15 января [1].")
    return FakeBackend(whole=api.answer(**changes), stream=api.streamed(text, **changes))


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_the_answer_comes_with_its_citations(options: tuple[str, ...], capsys: Captured) -> None:
    exit_code = ask(changed(), *options)

    shown = capsys.readouterr().out
    assert exit_code == 0
    assert shown.count("Срок 15 января [1].") == 1
    assert "[1] plans/plan.md, page 2, План > Сроки  (exact)" in shown
    assert "«Срок сдачи: 15 января»" in shown
    assert "generate 1.50 s" in shown
    assert "900 of 8192 tokens" in shown


def test_a_citation_that_does_not_hold_is_marked(capsys: Captured) -> None:
    lost = api.citation(marker=2, status="unsupported", reason="not_found", quote="")

    ask(changed(citations=[api.citation(), lost]))

    shown = capsys.readouterr().out
    assert "[2] NOT SUPPORTED: plans/plan.md, page 2, План > Сроки does not say it" in shown


def test_a_misplaced_citation_names_the_better_source(capsys: Captured) -> None:
    misplaced = api.citation(
        marker=2, status="unsupported", reason="misplaced", quote="", better_marker=1
    )

    ask(changed(citations=[misplaced]))

    assert "does not say it, [1] plans/plan.md does" in capsys.readouterr().out


def test_an_invented_number_is_said_to_have_no_source(capsys: Captured) -> None:
    invented = api.citation(
        marker=9, status="unsupported", reason="no_such_source", quote="", source=None
    )

    ask(changed(citations=[invented]))

    assert "[9] NOT SUPPORTED: there is no source of this number" in capsys.readouterr().out


def test_statements_without_a_citation_and_warnings_are_shown(capsys: Captured) -> None:
    ask(changed(uncited=["Всё идёт по плану."], warnings=["The answer was cut."]))

    shown = capsys.readouterr().out
    assert "Without a source: Всё идёт по плану." in shown
    assert "Note: The answer was cut." in shown


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_documents_without_the_answer_are_exit_code_three(
    options: tuple[str, ...], capsys: Captured
) -> None:
    backend = changed(answered=False, answer="В документах нет ответа.", sources=[], citations=[])

    exit_code = ask(backend, *options)

    shown = capsys.readouterr().out
    assert exit_code == NOT_ANSWERED
    assert shown.count("В документах нет ответа.") == 1
    assert "Not answered: the documents do not hold the answer." in shown


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_a_draft_is_said_to_be_unsupported(options: tuple[str, ...], capsys: Captured) -> None:
    backend = changed(
        answered=False, answer="В документах нет ответа.", draft="Срок — март [1].", sources=[]
    )

    exit_code = ask(backend, *options)

    shown = capsys.readouterr().out
    assert exit_code == NOT_ANSWERED
    assert "Срок — март [1].\nNot answered: the text above is a draft" in shown


def test_an_answer_that_is_not_what_was_streamed_is_shown_whole(capsys: Captured) -> None:
    backend = FakeBackend(stream=api.streamed("Черновик", answer="Срок 15 января [1]."))

    ask(backend)

    assert "Черновик\nСрок 15 января [1].\n" in capsys.readouterr().out


def test_json_is_the_whole_answer_of_the_api(capsys: Captured) -> None:
    exit_code = ask(changed(future="kept"), "--json")

    shown = json.loads(capsys.readouterr().out)
    assert exit_code == 0
    assert shown["citations"][0]["char_start"] == 10
    assert shown["future"] == "kept"


def test_a_stream_that_breaks_off_is_exit_code_one(capsys: Captured) -> None:
    cut = api.sse(("sources", {"sources": []}), ("delta", {"text": "Срок"}))

    exit_code = ask(FakeBackend(stream=cut))

    captured = capsys.readouterr()
    assert exit_code == 1
    assert captured.out == "Срок\n"
    assert "broke off in the middle" in captured.err


def test_an_error_of_the_api_is_exit_code_one(capsys: Captured) -> None:
    refusal = api.error("too_large", "top_k is at most 100.", 413)

    assert ask(FakeBackend(refusals={"/ask": [refusal]})) == 1
    assert "top_k is at most 100." in capsys.readouterr().err


def test_a_model_that_is_loading_is_waited_for(capsys: Captured) -> None:
    loading = api.error("not_ready", "The model is loading.", 503, Retry_After="0.1")

    assert ask(FakeBackend(refusals={"/ask": [loading]})) == 0
    captured = capsys.readouterr()
    assert "The model is loading." in captured.err
    assert captured.out.count("Срок 15 января [1].") == 1


@pytest.mark.parametrize("raised", [httpx.ConnectError, httpx.ReadTimeout])
def test_a_backend_that_does_not_answer_is_exit_code_two(
    raised: type[httpx.TransportError], capsys: Captured
) -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise raised("down", request=request)

    assert run(["?", "--space", "s"], {}, httpx.MockTransport(down)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_question_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        run(["  ", "--space", "s"], {})

    assert caught.value.code == 2


def test_text_of_documents_cannot_steer_the_terminal(capsys: Captured) -> None:
    evil = api.citation(quote="\x1b]0;owned\x07 [bold]q[/bold]\x9b31m")

    ask(changed(citations=[evil]))

    shown = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(shown)
    assert "[bold]q[/bold]" in shown


def test_plain_text_keeps_lines_and_tabs() -> None:
    assert plain("a\r\n\tb\udcff") == "a\n\tb?"


def test_what_looks_like_a_picture_is_printed_as_it_is(capsys: Captured) -> None:
    ask(changed(answer="Ключ :key: и [bold]жирный[/bold] [1]."))

    assert "Ключ :key: и [bold]жирный[/bold] [1]." in capsys.readouterr().out

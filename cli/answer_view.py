"""How an answer looks: the text as it is written, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.status import Status

from cli.schemas import Answer, Citation, Source
from cli.terminal import plain

_TIMING_DIGITS = 2


class AnswerView:
    """Prints deltas as they come, then everything else from the final answer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written = ""
        self._line_is_open = False
        self._spinner: Status | None = None

    def found(self, sources: Sequence[Source]) -> None:
        """A small model on a small machine reads for a while before it writes."""
        if sources:
            self._spinner = self._console.status(f"Reading {len(sources)} sources")
            self._spinner.start()

    def delta(self, text: str) -> None:
        self._stop_spinner()
        shown = plain(text if self._written else text.lstrip())
        self._written += shown
        self._line_is_open = bool(self._written)
        self._console.print(shown, end="", markup=False, soft_wrap=True)

    def end(self) -> None:
        """Close the line that deltas were written on."""
        self._stop_spinner()
        if self._line_is_open:
            self._console.print()
        self._line_is_open = False

    def _stop_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
        self._spinner = None

    def complete(self, answer: Answer, found: Iterable[Source] = ()) -> None:
        """``found`` names the sources of an answer that has none of its own."""
        self.end()
        self._text(answer)
        sources = {source.n: source for source in (*found, *answer.sources)}
        self._sources(answer.sources)
        self._citations("Citations", answer.citations, sources)
        self._citations("Found in the sources, without a marker", answer.attributed, sources)
        self._list("Without a source", answer.uncited, "yellow")
        self._list("Note", answer.warnings, "yellow")
        self._line(_facts(answer), "dim")

    def _text(self, answer: Answer) -> None:
        text = plain(answer.answer)
        if answer.answered:
            if self._written.strip() != text.strip():
                self._line(text)
            return
        if answer.draft is not None and not self._written:
            self._line(plain(answer.draft))
        if answer.draft is not None:
            self._line("Not answered: the text above is a draft the sources do not support.", "red")
        elif self._written.strip() != text.strip():
            self._line(text)
        if answer.draft is None:
            self._line("Not answered: the documents do not hold the answer.", "red")

    def _sources(self, sources: Iterable[Source]) -> None:
        for number, source in enumerate(sources):
            if number == 0:
                self._line("\nSources", "bold")
            place = _place(source.source, source.page, source.heading)
            self._line(f"[{source.n}] {place}", "" if source.cited else "dim")

    def _citations(
        self, title: str, citations: Iterable[Citation], sources: dict[int, Source]
    ) -> None:
        for number, citation in enumerate(citations):
            if number == 0:
                self._line(f"\n{title}", "bold")
            if citation.status == "unsupported":
                self._unsupported(citation, sources)
                continue
            self._line(f"[{citation.marker}] {_place_of(citation)}  ({citation.status})", "cyan")
            self._line(f"    «{plain(' '.join(citation.quote.split()))}»")

    def _unsupported(self, citation: Citation, sources: dict[int, Source]) -> None:
        self._line(f"[{citation.marker}] NOT SUPPORTED: {_why(citation, sources)}", "red")
        self._line(f"    {plain(' '.join(citation.statement.split()))}")

    def _list(self, title: str, lines: Iterable[str], style: str) -> None:
        for line in lines:
            self._line(f"{title}: {plain(' '.join(line.split()))}", style)

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)


def _why(citation: Citation, sources: dict[int, Source]) -> str:
    if citation.better_marker is not None:
        better = sources.get(citation.better_marker)
        name = f" {plain(better.source)}" if better else ""
        return f"{_place_of(citation)} does not say it, [{citation.better_marker}]{name} does"
    if citation.source is None:
        return "there is no source of this number"
    return f"{_place_of(citation)} does not say it"


def _place_of(citation: Citation) -> str:
    return _place(citation.source or "no source", citation.page, citation.heading)


def _place(source: str, page: int | None, heading: str | None) -> str:
    parts = [source, f"page {page}" if page is not None else "", heading or ""]
    return plain(", ".join(part for part in parts if part))


def _facts(answer: Answer) -> str:
    context = answer.context
    parts = [f"model {plain(answer.model)}"] if answer.generation == "model" else []
    if answer.generation == "extractive":
        parts.append("no model, sentences of the sources")
    if context.window is not None:
        parts.append(
            f"{context.prompt_tokens} of {context.window} tokens for {context.chunks_in} chunks"
        )
    if answer.cached:
        parts.append("from the cache")
    parts += [
        f"{plain(stage)} {seconds:.{_TIMING_DIGITS}f} s"
        for stage, seconds in answer.timings.items()
    ]
    return " · ".join(parts)

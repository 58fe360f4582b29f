"""Check what a model wrote against the text it was to summarize. Called in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from backend.core.errors import UnusableCompletion
from backend.core.features import Terms
from backend.core.language import AnswerLanguage
from backend.core.ports import Embedder
from backend.core.summary_checks import Fault, find_fault
from backend.core.summary_source import SourceText
from backend.core.types import FinishReason
from backend.core.unsupported import unsupported
from backend.services.summarize.unrelated import UNRELATED

Similarity = Callable[[str, Sequence[str]], Sequence[float]]

# How much nearer a summary is to a piece of its text, in the other language, than to any text at
# all. multilingual-e5-small on XQuAD: right ones 0.046 to 0.2, those of other texts up to 0.04 (99
# of 100) or 0.059, nonsense up to 0.015. The bare cosine is no measure: nonsense has 0.80 too.
NEARER_BY = 0.045
_MOST_PIECES = 8  # 20-60 ms each
_EMBEDDED_CHARS = 1200  # of the summary


class CompletionCheck:
    """Words, figures and names decide first; only what they leave open, between two languages, is
    compared by meaning.

    Args:
        terms: stemmed term ids of a text, without stop words.
        instructions: all prompt texts; a model that repeats them has not answered.
        similarity: the cosines of a text with some others; without it, what is left open passes.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        dependency: str,
        instructions: str = "",
        similarity: Similarity | None = None,
    ) -> None:
        self._terms = terms
        self._dependency = dependency
        self._instructions = instructions
        self._similarity = similarity

    def __call__(
        self, text: str, *, of: str, language: AnswerLanguage, finish_reason: FinishReason
    ) -> None:
        """Milliseconds per thousand characters of ``of``.

        Raises:
            UnusableCompletion: ``text`` is no summary of ``of``.
            DependencyError: the embedder failed.
        """
        check_completion(
            text,
            of=SourceText(of, self._terms),
            language=language,
            finish_reason=finish_reason,
            dependency=self._dependency,
            instructions=self._instructions,
            similarity=self._similarity,
        )


class UnsupportedFinder:
    """Figures, dates and names of a summary that the document does not have."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def __call__(self, summary_text: str, document_text: str, /) -> tuple[str, ...]:
        return unsupported(summary_text, SourceText(document_text, self._terms))


def check_completion(
    text: str,
    *,
    of: SourceText,
    language: AnswerLanguage,
    finish_reason: FinishReason,
    dependency: str,
    instructions: str = "",
    similarity: Similarity | None = None,
) -> None:
    """
    Raises:
        UnusableCompletion: ``text`` is no summary of ``of``.
    """
    cut = finish_reason == "length"
    fault = find_fault(text, of, language, cut=cut, instructions=instructions)
    is_open = fault is None and of.relation(text, language) == "unsure"
    if is_open and similarity is not None and not _is_about(text, of, similarity):
        fault = Fault("nonsense", "it is not about this text")
    if fault is not None:
        message = f"What {dependency} wrote is not usable: {fault.detail}."
        raise UnusableCompletion(message, dependency=dependency, reason=fault.reason)


def _is_about(text: str, of: SourceText, similarity: Similarity) -> bool:
    pieces = of.pieces(_MOST_PIECES)
    language: AnswerLanguage = "ru" if of.share_of("ru") > of.share_of("en") else "en"
    cosines = similarity(text[:_EMBEDDED_CHARS], (*pieces, *UNRELATED[language]))
    return max(cosines[: len(pieces)]) - max(cosines[len(pieces) :]) >= NEARER_BY


def similarity_by(embedder: Embedder, loop: asyncio.AbstractEventLoop) -> Similarity:
    """For use in threads of ``loop``, never on it: the thread waits for the embedder."""

    async def cosines(text: str, others: Sequence[str]) -> list[float]:
        own, *vectors = await embedder.embed_passages([text, *others])
        return [float(sum(a * b for a, b in zip(own, v, strict=True))) for v in vectors]

    def similarity(text: str, others: Sequence[str]) -> Sequence[float]:
        return asyncio.run_coroutine_threadsafe(cosines(text, others), loop).result()

    return similarity

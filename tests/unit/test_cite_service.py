from collections.abc import Sequence

import pytest

from backend.adapters.sparse.bm25 import BilingualBm25
from backend.core.errors import DependencyError
from backend.core.types import Chunk, DocType, StoredChunk
from backend.services.cite import CitationChecker
from backend.services.extract import ExtractiveAnswerer

_BM25 = BilingualBm25()


def terms(text: str) -> frozenset[int]:
    return frozenset(_BM25.query(text).indices)


def chunk(text: str) -> StoredChunk:
    return StoredChunk("d", "a.txt", DocType.UNSTRUCTURED, Chunk(0, text, 0, len(text), 9))


MAIL = chunk("The server migration starts on January 29, 2027. The office is closed in May.")
NOTE = chunk("Пилот продлится три недели. За пилот отвечает Ирина Соколова.")


class TopicEmbedder:
    """Texts that mention one of the topics point the same way, all others another way."""

    fingerprint = "topics"
    dimensions = 2
    max_tokens = 512

    def __init__(self, *topics: str) -> None:
        self._topics = topics
        self.embedded: list[str] = []

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def embed_query(self, text: str) -> Sequence[float]:
        return self._vector(text)

    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        self.embedded.extend(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Sequence[float]:
        return (1.0, 0.0) if any(topic in text for topic in self._topics) else (0.0, 1.0)


class BrokenEmbedder(TopicEmbedder):
    async def embed_passages(self, texts: Sequence[str]) -> list[Sequence[float]]:
        raise DependencyError("The embedding server is down.", dependency="embedding")


async def test_what_words_decide_is_never_embedded():
    embedder = TopicEmbedder()

    checked = await CitationChecker(embedder, terms).check(
        "Пилот продлится 3 недели [2].", "Сколько длится пилот?", [MAIL, NOTE]
    )

    assert checked.citations[0].status == "normalized"
    assert embedder.embedded == []


async def test_a_translation_is_found_by_meaning():
    embedder = TopicEmbedder("migration", "Перенос")

    checked = await CitationChecker(embedder, terms).check(
        "Перенос сервера начнётся 29 января 2027 года [1].", "Когда перенос?", [MAIL, NOTE]
    )

    (citation,) = checked.citations
    assert (citation.status, citation.method, citation.score) == ("normalized", "meaning", 1.0)
    assert citation.quote == "The server migration starts on January 29, 2027."
    assert checked.supported


async def test_an_invented_marker_needs_no_embedding():
    embedder = TopicEmbedder()

    checked = await CitationChecker(embedder, terms).check("Погода [9].", "?", [MAIL])

    assert checked.citations[0].reason == "no_such_source"
    assert embedder.embedded == []


async def test_the_number_of_embedded_texts_is_bounded():
    embedder = TopicEmbedder("Кошки")
    many = chunk(" ".join(f"Кошки любят спать днём возле окна номер {n}." for n in range(40)))
    answer = " ".join(
        f"Собаки бегают по парку очень быстро вечером {'ы' * n} [1]." for n in range(30)
    )

    checked = await CitationChecker(embedder, terms, most_embedded_texts=20).check(
        answer, "Кто бегает?", [many]
    )

    assert 0 < len(embedder.embedded) <= 20
    assert {c.status for c in checked.citations} == {"unsupported"}


async def test_a_failing_embedder_is_not_taken_for_a_missing_quote():
    with pytest.raises(DependencyError):
        await CitationChecker(BrokenEmbedder(), terms).check(
            "Собаки бегают по парку [1].", "Кто бегает?", [NOTE]
        )


async def test_an_answer_without_a_model_quotes_the_sentence_that_answers():
    embedder = TopicEmbedder("пилот")

    answer = await ExtractiveAnswerer(embedder, terms).answer(
        "Кто отвечает за пилот?", [MAIL, NOTE]
    )

    assert answer is not None
    assert answer.text == "За пилот отвечает Ирина Соколова. [2]"


async def test_an_answer_without_a_model_is_none_when_nothing_answers():
    answer = await ExtractiveAnswerer(TopicEmbedder("отпуск"), terms).answer(
        "Сколько дней отпуск у директора?", [MAIL, NOTE]
    )

    assert answer is None


async def test_a_figure_from_a_source_in_the_other_language_is_supported_by_the_question():
    area = chunk("The centre has a floor area of 18,400 m2. Sensors cost 40 euros each.")
    embedder = TopicEmbedder("площадь", "area")

    checked = await CitationChecker(embedder, terms).check(
        "18 400 [1]", "Какая площадь центра?", [area]
    )

    (citation,) = checked.citations
    assert (citation.status, citation.method) == ("normalized", "meaning")
    assert citation.quote == "The centre has a floor area of 18,400 m2."


async def test_a_figure_that_the_source_does_not_have_is_supported_by_no_meaning():
    area = chunk("The centre has a floor area of 18,400 m2.")
    embedder = TopicEmbedder("площадь", "area")

    checked = await CitationChecker(embedder, terms).check(
        "19 400 [1]", "Какая площадь центра?", [area]
    )

    assert checked.citations[0].status == "unsupported"

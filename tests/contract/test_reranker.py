"""What every Reranker must do; against a real llama.cpp, scripted vLLM answers and the library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from backend.adapters.rerankers.cross_encoder import CrossEncoderReranker
from backend.adapters.rerankers.http import HttpReranker
from backend.core.errors import (
    ConfigurationError,
    DependencyError,
    DependencyRejected,
    InvalidRequest,
    ModelNotServed,
    NotReady,
)
from backend.core.ports import Reranker
from tests.fakes.embedding_server import MODEL, RunningModel, running_bert
from tests.fakes.reranker import FakeLibrary, OverlapReranker, VllmPooling, refusal, wire

pytestmark = pytest.mark.loopback

TEXTS = ["the bank is closed", "кот спит", "a cat sat", "b"]
LONG = " ".join(["слово"] * 60)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningModel]:
    with running_bert(tmp_path_factory.mktemp("rerank"), reranks=True) as server:
        yield server


@pytest.fixture(params=["double", "llamacpp", "vllm", "library"])
async def reranker(request: pytest.FixtureRequest, llama: RunningModel) -> AsyncIterator[Reranker]:
    if request.param == "llamacpp":
        async with httpx.AsyncClient() as client:
            yield HttpReranker(llama.endpoint(client), model=MODEL, batch_size=3)
    elif request.param == "vllm":
        yield HttpReranker(wire(VllmPooling())[0], model="m", batch_size=3)
    elif request.param == "library":
        library = CrossEncoderReranker("m", import_module=FakeLibrary())
        yield library
        library.close()
    else:
        yield OverlapReranker()


async def test_scores_come_in_the_order_of_the_texts(reranker: Reranker) -> None:
    together = await reranker.scores("cat", TEXTS)

    alone = [(await reranker.scores("cat", [text]))[0] for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-4)


async def test_no_texts_have_no_scores(reranker: Reranker) -> None:
    assert await reranker.scores("cat", []) == []


@pytest.mark.parametrize("text", ["", "a\x00b", "\ud800", LONG], ids=["", "nul", "half", "long"])
async def test_any_text_has_a_score(reranker: Reranker, text: str) -> None:
    assert len(await reranker.scores("cat", [text, "a cat"])) == 2


async def test_a_check_says_one_line(reranker: Reranker) -> None:
    assert "\n" not in await reranker.check()


# --- over the wire -----------------------------------------------------------------------------


async def test_a_real_server_refuses_what_is_too_long_and_the_text_is_scored_in_halves(
    llama: RunningModel,
) -> None:
    async with httpx.AsyncClient() as client:
        reranker = HttpReranker(llama.endpoint(client), model=MODEL)
        text = "первая часть текста здесь " + "вторая часть текста тут"
        parts = ("первая часть текста здесь ", "вторая часть текста тут")

        (whole,) = await reranker.scores("вопрос о чём то очень длинный", [text])
        pieces = await reranker.scores("вопрос о чём то очень длинный", parts)

    assert whole == pytest.approx(max(pieces), abs=1e-4)


async def test_the_end_of_a_long_text_counts() -> None:
    reranker = HttpReranker(wire(VllmPooling())[0], model="m")

    scores = await reranker.scores("cat", [f"{LONG} cat", LONG])

    assert scores == [1.0, 0.0]


async def test_every_piece_of_a_long_text_reaches_the_server() -> None:
    server = VllmPooling()
    words = [f"w{n}" for n in range(100)]

    await HttpReranker(wire(server)[0], model="m").scores("q", [" ".join(words), "short"])

    assert " ".join(" ".join(batch) for batch in server.sent).replace("short", "").split() == words


async def test_a_question_over_the_window_is_the_callers_error() -> None:
    reranker = HttpReranker(wire(VllmPooling())[0], model="m")

    with pytest.raises(InvalidRequest, match=r"question is too long.*12 tokens"):
        await reranker.scores(LONG, ["text"])


@pytest.mark.parametrize(
    "results",
    [
        [{"index": 0, "relevance_score": 1.0}],
        [{"index": 0, "relevance_score": 1.0}] * 2,
        [{"index": 0, "relevance_score": 1.0}, {"index": 2, "relevance_score": 1.0}],
        [{"index": 0, "relevance_score": 1.0}, {"index": 1, "relevance_score": None}],
    ],
    ids=["missing", "twice", "beyond", "no number"],
)
async def test_scores_that_do_not_match_the_texts_are_an_error(results: list[object]) -> None:
    endpoint, _ = wire(lambda _: httpx.Response(200, json={"results": results}))

    with pytest.raises(DependencyError):
        await HttpReranker(endpoint, model="m").scores("q", ["a", "b"])


@pytest.mark.parametrize(
    ("response", "error", "says"),
    [
        (httpx.Response(401, json={"error": "Unauthorized"}), DependencyRejected, "RERANK_API_KEY"),
        (refusal(404, "The model `m` does not exist."), ModelNotServed, "RERANK_MODEL"),
        (httpx.Response(404, json={"detail": "Not Found"}), DependencyRejected, "RERANK_URL"),
        (refusal(501, "This server does not support reranking."), DependencyRejected, "support"),
        (refusal(503, "Loading model"), NotReady, "loading"),
        (httpx.Response(500, text="<html>oops</html>"), DependencyRejected, "500"),
        (httpx.Response(200, text="<html>login</html>"), DependencyError, "not its protocol"),
    ],
)
async def test_a_refusal_says_what_to_change(
    response: httpx.Response, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await HttpReranker(wire(lambda _: response)[0], model="m").scores("q", ["a"])


async def test_a_wrong_model_name_is_explained_with_the_names_there_are() -> None:
    reranker = HttpReranker(wire(VllmPooling(model="other"))[0], model="m")

    with pytest.raises(ModelNotServed, match=r"'m'.*other.*RERANK_MODEL") as raised:
        await reranker.check()

    assert raised.value.served == ("other",)


# --- in this process ---------------------------------------------------------------------------


async def test_the_library_never_sees_a_text_it_would_cut() -> None:
    library = FakeLibrary()
    reranker = CrossEncoderReranker("m", import_module=library)

    scores = await reranker.scores("cat", [f"{LONG} cat", LONG])
    with pytest.raises(InvalidRequest, match="12 tokens"):
        await reranker.scores(LONG, ["text"])
    reranker.close()

    assert scores == [1.0, 0.0]
    assert library.longest <= 12
    assert library.loaded == [("m", {"device": "cpu", "local_files_only": True})]


def test_without_the_library_the_message_says_what_to_install() -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    with pytest.raises(ConfigurationError, match=r"quadrate-rag\[sentence-transformers\]"):
        CrossEncoderReranker("m", import_module=missing)

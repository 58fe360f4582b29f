"""Embedding servers: a real llama.cpp and scripted vLLM answers; and the library's own limits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence

import httpx
import pytest

from backend.adapters.embedders.openai_server import ServerEmbedder
from backend.adapters.embedders.sentence_transformers import SentenceTransformersEmbedder
from backend.core.errors import (
    ConfigurationError,
    DependencyError,
    DependencyRejected,
    DependencyTimeout,
    ModelNotServed,
    NotReady,
    PromptTruncated,
)
from tests.fakes.embedding_server import MODEL, RunningModel, running_bert
from tests.fakes.reranker import FakeLibrary, VllmPooling, refusal, wire
from tests.fakes.tiny_rerank_gguf import WIDTH

pytestmark = pytest.mark.loopback

BATCH = 64  # of the real server, in tokens; its context is larger
WORDS = [f"w{n}" for n in range(100)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningModel]:
    with running_bert(tmp_path_factory.mktemp("embed"), reranks=False, window=BATCH) as server:
        yield server


@pytest.fixture
async def real(llama: RunningModel) -> AsyncIterator[ServerEmbedder]:
    async with httpx.AsyncClient() as client:
        embedder = await ServerEmbedder.open(
            llama.endpoint(client), model=MODEL, query_prefix="q: ", passage_prefix="p: "
        )
        yield embedder
        embedder.close()


async def scripted(server: VllmPooling, **options: object) -> ServerEmbedder:
    endpoint, counting = wire(server)
    return await ServerEmbedder.open(endpoint, model="m", counting=counting, **options)  # type: ignore[arg-type]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


# --- a real llama.cpp --------------------------------------------------------------------------


async def test_size_and_window_are_learned_from_the_server(real: ServerEmbedder) -> None:
    assert real.dimensions == WIDTH
    assert real.max_tokens == BATCH
    assert real.fingerprint == f"{MODEL}/{WIDTH}/query='q: '/passage='p: '"
    assert MODEL in await real.check()


async def test_a_real_server_gives_unit_vectors_in_order(real: ServerEmbedder) -> None:
    texts = ["привет", "a cat sat", "", "x" * 50]

    together = await real.embed_passages(texts)

    for text, vector in zip(texts, together, strict=True):
        (alone,) = await real.embed_passages([text])
        assert math.hypot(*vector) == pytest.approx(1.0)
        assert cosine(vector, alone) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "text", ["a\x00b", "\ud800", "слово " * 600, "x" * 5000], ids=["nul", "half", "long", "word"]
)
async def test_any_text_is_counted_and_embedded(real: ServerEmbedder, text: str) -> None:
    assert real.count_tokens(text) > 0
    assert len(await real.embed_query(text)) == WIDTH
    assert len((await real.embed_passages([text]))[0]) == WIDTH


async def test_a_text_that_exactly_fills_the_window_is_one_input(real: ServerEmbedder) -> None:
    text = "a" * (BATCH - real.count_tokens(""))

    (exact,) = await real.embed_passages([text])

    assert real.count_tokens(text) == BATCH
    assert math.hypot(*exact) == pytest.approx(1.0)


async def test_the_end_of_a_long_text_is_part_of_its_vector(real: ServerEmbedder) -> None:
    start = "слово " * 40

    one, other = await real.embed_passages([start + "кот " * 40, start + "дом " * 40])

    assert cosine(one, other) < 0.9999


# --- scripted vLLM -----------------------------------------------------------------------------


async def test_a_long_text_is_the_mean_of_its_windows_weighted_by_tokens() -> None:
    server = VllmPooling(window=12)
    embedder = await scripted(server)
    parts = ("aaaaaa bb cc dd ee ff ", "hh ii jj kk ll mm nn")  # 8 and 9 tokens

    (whole,) = await embedder.embed_passages(["".join(parts)])
    first, second = await embedder.embed_passages(list(parts))

    mean = [8 * a + 9 * b for a, b in zip(first, second, strict=True)]
    length = math.hypot(*mean)
    assert list(whole) == pytest.approx([value / length for value in mean])


async def test_every_word_of_a_long_text_reaches_the_server_with_the_prefix() -> None:
    server = VllmPooling()
    embedder = await scripted(server, passage_prefix="passage: ")
    server.sent.clear()

    await embedder.embed_passages([" ".join(WORDS)])

    inputs = [text for batch in server.sent for text in batch]
    assert all(text.startswith("passage: ") for text in inputs)
    assert " ".join(text.removeprefix("passage: ") for text in inputs).split() == WORDS


async def test_questions_and_passages_have_their_prefixes_and_passages_go_in_batches() -> None:
    server = VllmPooling()
    embedder = await scripted(server, query_prefix="Q ", passage_prefix="P ", batch_size=2)
    server.sent.clear()

    await embedder.embed_query("x")
    await embedder.embed_passages(["a", "b", "c"])

    assert server.sent == [["Q x"], ["P a", "P b"], ["P c"]]


async def test_a_count_is_asked_for_once() -> None:
    server = VllmPooling()
    embedder = await scripted(server)
    server.paths.clear()

    counts = {embedder.count_tokens("a b c") for _ in range(5)}

    assert counts == {5}
    assert server.paths == ["/tokenize"]


async def test_a_server_that_reads_less_than_it_was_sent_is_an_error() -> None:
    server = VllmPooling(window=12)
    embedder = await scripted(server)
    server.cuts, server.window = True, 6

    with pytest.raises(PromptTruncated, match="6 of the 10"):
        await embedder.embed_passages(["a b c d e f g h"])


async def test_a_server_that_came_back_with_a_smaller_window_gets_smaller_pieces() -> None:
    server = VllmPooling(window=50)
    embedder = await scripted(server)
    server.window = 12
    server.sent.clear()

    (vector,) = await embedder.embed_passages([" ".join(WORDS[:40])])

    sent = " ".join(text for batch in server.sent for text in batch).split()
    assert sent == WORDS[:40]
    assert embedder.max_tokens == 12
    assert math.hypot(*vector) == pytest.approx(1.0)


async def test_a_changed_size_of_the_vectors_is_an_error() -> None:
    server = VllmPooling(dimensions=8)
    embedder = await scripted(server)
    server.dimensions = 16

    with pytest.raises(DependencyError, match="16 numbers instead of 8"):
        await embedder.embed_query("x")


async def test_another_model_of_the_same_size_and_name_is_noticed() -> None:
    server = VllmPooling()
    embedder = await scripted(server)
    embedder.verify_every_s = 0.0
    server.twist = 5.0

    with pytest.raises(DependencyError, match="another model"):
        await embedder.embed_query("x")


async def test_another_model_name_behind_the_url_is_noticed() -> None:
    server = VllmPooling()
    embedder = await scripted(server)
    embedder.verify_every_s = 0.0
    server.model = "other"

    with pytest.raises(ModelNotServed, match="other"):
        await embedder.embed_query("x")


async def test_the_model_is_not_checked_before_every_question() -> None:
    server = VllmPooling()
    embedder = await scripted(server)
    server.paths.clear()

    for n in range(5):
        await embedder.embed_query(f"question {n}")

    assert "/v1/models" not in server.paths


async def test_cancelling_stops_between_batches() -> None:
    server = VllmPooling()
    embedder = await scripted(server, batch_size=1)
    server.sent.clear()
    work = asyncio.create_task(embedder.embed_passages(WORDS * 20))
    while not server.sent:
        await asyncio.sleep(0)

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert len(server.sent) < 100


@pytest.mark.parametrize(
    "vector", [[0.0] * 8, [1e999] + [0.0] * 7, [float("nan")] * 8], ids=["zero", "infinite", "nan"]
)
async def test_a_vector_without_a_direction_is_an_error(vector: list[float]) -> None:
    embedder = await scripted(VllmPooling())
    rows = ",".join(map(repr, vector)).replace("nan", "null")
    content = f'{{"data": [{{"index": 0, "embedding": [{rows}]}}]}}'.replace("inf", "1e999")
    embedder._service.endpoint = wire(lambda _: httpx.Response(200, content=content))[0]

    with pytest.raises(DependencyError):
        await embedder.embed_query("x")


@pytest.mark.parametrize(
    ("response", "error", "says"),
    [
        (httpx.Response(401, json={"error": "Unauthorized"}), DependencyRejected, "EMBED_API_KEY"),
        (httpx.Response(404, json={"detail": "Not Found"}), DependencyRejected, "EMBED_URL"),
        (refusal(503, "Loading model"), NotReady, "loading"),
        (httpx.Response(502, text="<html>bad gateway</html>"), DependencyRejected, "502"),
        (httpx.Response(200, text="<html>login</html>"), DependencyError, "not its protocol"),
    ],
)
async def test_a_refusal_says_what_to_change(
    response: httpx.Response, error: type[Exception], says: str
) -> None:
    endpoint, counting = wire(lambda _: response)

    with pytest.raises(error, match=says):
        await ServerEmbedder.open(endpoint, model="m", counting=counting)


async def test_a_server_without_a_tokenizer_is_refused_at_the_start() -> None:
    server = VllmPooling()

    def without(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tokenize":
            return httpx.Response(404, json={"detail": "Not Found"})
        return server(request)

    endpoint, counting = wire(without)

    with pytest.raises(DependencyRejected, match=r"/tokenize.*404"):
        await ServerEmbedder.open(endpoint, model="m", counting=counting)


async def test_a_slow_server_is_a_timeout() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    endpoint, counting = wire(slow)

    with pytest.raises(DependencyTimeout):
        await ServerEmbedder.open(endpoint, model="m", counting=counting)


async def test_a_prefix_that_leaves_no_room_is_a_configuration_error() -> None:
    embedder = await scripted(VllmPooling(), passage_prefix="a b c d e f g h i j k l ")

    with pytest.raises(ConfigurationError, match="prefix"):
        await embedder.embed_passages(["x y"])


# --- the library -------------------------------------------------------------------------------


async def test_the_library_never_sees_a_text_it_would_cut() -> None:
    library = FakeLibrary()
    embedder = SentenceTransformersEmbedder("m", passage_prefix="p: ", import_module=library)

    await embedder.embed_passages([" ".join(WORDS), "short"])
    embedder.close()

    inputs = [text.removeprefix("p: ") for batch in library.encoded[1:] for text in batch]
    assert " ".join(inputs).split() == [*WORDS, "short"]
    assert library.longest <= embedder.max_tokens == 12
    assert library.loaded == [("m", {"device": "cpu", "local_files_only": True})]


def test_without_the_library_the_message_says_what_to_install() -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    with pytest.raises(ConfigurationError, match=r"quadrate-rag\[sentence-transformers\]"):
        SentenceTransformersEmbedder("m", import_module=missing)


def test_a_model_that_is_not_on_this_machine_is_a_configuration_error() -> None:
    class Absent(FakeLibrary):
        def _load(self, model: str, **options: object) -> None:  # type: ignore[override]
            raise OSError("not a local folder")

    with pytest.raises(ConfigurationError, match=r"'m'.*EMBED_MODEL"):
        SentenceTransformersEmbedder("m", import_module=Absent())

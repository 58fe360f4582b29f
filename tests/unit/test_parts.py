from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.parts import Outline, Ruler, halves, lay_out
from backend.core.types import Chunk
from tests.fakes.summaries import tokens_of
from tests.fakes.summary_tasks import (
    chunks_of,
)

LINES = st.sampled_from(
    [
        "# Глава", "## Раздел", "", "", "Короткая строка", "x" * 900, "слово " * 120, " " * 400,
        "Предложение первое. Второе — подлиннее, с запятыми! И третье?", "й́" * 80, "a | b | c",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=400), st.lists(LINES, max_size=40).map("\n".join))


def ruler_of(text: str, block: int = 200) -> Ruler:
    blocks = [text[low : low + block] for low in range(0, len(text), block)]
    return Ruler([(len(one), tokens_of(one)) for one in blocks])


def outline_of(text: str) -> Outline:
    return Outline(text, [stored.chunk for stored in chunks_of(text)])


def chunk(index: int, start: int, end: int, *path: str) -> Chunk:
    return Chunk(index, "x" * (end - start), start, end, 1, None, path)


@settings(deadline=None)
@given(TEXTS, st.integers(4, 120), st.integers(1, 9))
def test_parts_cover_the_text_once_in_order_and_leave_out_blank_space_only(
    text: str, limit: int, at_least: int
) -> None:
    spans = lay_out(
        outline_of(text), ruler_of(text), (0, len(text)), limit=limit, at_least=at_least
    )

    covered = 0
    for start, end in spans:
        assert start >= covered
        assert not text[covered:start].strip()
        assert text[start:end].strip() == text[start:end] != ""
        covered = end
    assert not text[covered:].strip()


@settings(deadline=None)
@given(st.lists(LINES, min_size=10, max_size=60).map("\n".join), st.integers(40, 200))
def test_parts_fit_the_limit_by_the_ruler_they_were_laid_out_with(text: str, limit: int) -> None:
    ruler = ruler_of(text)

    spans = lay_out(outline_of(text), ruler, (0, len(text)), limit=limit)

    assert all(ruler.between(*span) <= limit * 1.1 + 1 for span in spans)


def test_parts_are_of_even_size() -> None:
    text = "The pump was tested again, and it held. " * 400
    ruler = ruler_of(text)

    spans = lay_out(outline_of(text), ruler, (0, len(text)), limit=1000)

    sizes = [ruler.between(*span) for span in spans]
    assert max(sizes) < 1.1 * min(sizes)


def test_a_part_begins_at_a_chapter_rather_than_at_a_section_or_a_paragraph() -> None:
    text = (
        "word " * 80 + "\n\n" + "word " * 10 + "Section. " + "word " * 5 + "Chapter. " + "w " * 400
    )
    section, chapter = text.index("Section"), text.index("Chapter")
    chunks = [
        chunk(0, 0, section, "One"),
        chunk(1, section, chapter, "One", "Section"),
        chunk(2, chapter, len(text), "Two"),
    ]

    spans = lay_out(
        Outline(text, chunks), Ruler([(len(text), len(text))]), (0, len(text)),
        limit=10_000, at_least=3,
    )  # fmt: skip

    assert spans[1][0] == chapter


def test_a_part_begins_at_a_paragraph_where_no_heading_is_near() -> None:
    text = "One sentence. " * 30 + "\n\n" + "Another sentence. " * 26

    spans = lay_out(outline_of(text), ruler_of(text), (0, len(text)), limit=10_000, at_least=2)

    assert text[spans[1][0] :].startswith("Another")


def test_a_word_longer_than_a_part_is_cut_between_characters() -> None:
    text = "x" * 4000

    spans = lay_out(outline_of(text), ruler_of(text), (0, 4000), limit=300)

    assert "".join(text[start:end] for start, end in spans) == text
    assert len(spans) == 4


def test_tokens_lie_where_they_were_measured() -> None:
    ruler = Ruler([(100, 10), (100, 90)])

    assert (ruler.tokens(50), ruler.tokens(150), ruler.offset(55)) == (5, 55, 150)
    assert ruler.total == 100


def test_a_single_character_has_no_halves() -> None:
    assert halves(outline_of("x"), (0, 1)) == [(0, 1)]
    assert len(halves(outline_of("one two"), (0, 7))) == 2


def test_the_heading_path_of_a_place_is_that_of_its_chunk() -> None:
    outline = Outline("x" * 20, [chunk(0, 0, 10, "A"), chunk(1, 10, 20, "A", "B")])

    assert outline.heading_path(9) == ("A",)
    assert outline.heading_path(10) == ("A", "B")
    assert outline.chunks_between(0, 20) == 2

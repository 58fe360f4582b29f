from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.chunking import chunk_document
from backend.core.types import Chunk, Heading, ParsedDocument

SPECIAL = 4


def count_tokens(text: str) -> int:
    """Like a subword tokenizer: a word is a token per four letters, a sign is a token."""
    return SPECIAL + sum(-(-len(piece) // 4) for piece in re.findall(r"\w+|[^\w\s]", text))


def parsed(text: str, page_starts: tuple[int, ...] = ()) -> ParsedDocument:
    """A document whose headings are its lines that begin with #."""
    headings = tuple(
        Heading(len(line[1]), line[2], line.start(), line.end())
        for line in re.finditer(r"^(#{1,6}) (.*)$", text, re.MULTILINE)
    )
    return ParsedDocument(text=text, format="md", headings=headings, page_starts=page_starts)


def chunks(doc: ParsedDocument | str, size: int = 64, overlap: int = 0) -> list[Chunk]:
    doc = parsed(doc) if isinstance(doc, str) else doc
    return chunk_document(doc, count_tokens, size=size, overlap=overlap)


LINES = st.sampled_from(
    [
        "# Глава", "## Раздел", "### Пункт " + "длинный " * 60, "", "", "Короткая строка",
        "Предложение первое. Второе — подлиннее, с запятыми! И третье?", "x" * 700,
        "Имя: Иван; Роль: PM; Срок: 1 мая", "слово " * 90, "\x01" * 300, " " * 400, "й́" * 50,
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=300), st.lists(LINES, max_size=25).map("\n".join))
PAGES = st.lists(st.integers(0, 3000), max_size=5).map(lambda n: (0, *sorted(n)))
SIZES = st.integers(32, 120)


@settings(deadline=None)
@given(TEXTS, PAGES, SIZES, st.integers(0, 16))
def test_chunks_cover_the_text_in_order_and_fit_the_model(
    text: str, pages: tuple[int, ...], size: int, overlap: int
) -> None:
    found = chunks(parsed(text, pages), size, overlap)

    covered = 0
    for index, chunk in enumerate(found):
        assert chunk.index == index
        assert chunk.text == text[chunk.start : chunk.end]
        assert index == 0 or chunk.start > found[index - 1].start
        assert not text[covered : chunk.start].strip()
        assert chunk.token_count == count_tokens(chunk.embedding_text) <= size
        assert chunk.page is not None
        assert chunk.page == max(1, sum(start <= chunk.start for start in pages))
        covered = max(covered, chunk.end)
    assert not text[covered:].strip()


@settings(deadline=None)
@given(TEXTS, SIZES)
def test_without_overlap_no_character_is_in_two_chunks(text: str, size: int) -> None:
    found = chunks(parsed(text), size)

    assert all(a.end <= b.start for a, b in pairwise(found))


def test_empty_text_has_no_chunks() -> None:
    assert chunks("") == chunks(" \n\n ") == []


def test_a_short_document_is_one_chunk() -> None:
    [chunk] = chunks("Первое предложение. Второе.\n\nДругой абзац.")

    assert (chunk.start, chunk.page, chunk.heading_path) == (0, None, ())


def test_a_token_without_spaces_is_split_by_characters() -> None:
    found = chunks("x" * 10_000)

    assert "".join(chunk.text for chunk in found) == "x" * 10_000
    assert len(found) < 10_000 / 4 / 64 * 2


def test_sentences_stay_whole_while_they_fit() -> None:
    text = " ".join(f"Предложение под номером {n} стоит здесь." for n in range(40))

    assert all(chunk.text.endswith(".") for chunk in chunks(text))


def test_a_chunk_ends_with_a_paragraph_where_one_is_near() -> None:
    paragraph = "Шесть слов стоят в этом предложении. " * 3
    found = chunks("\n\n".join([paragraph.strip()] * 8), size=100)

    assert all(chunk.text.count("\n\n") * 3 + 3 == chunk.text.count(".") for chunk in found)


def test_the_last_chunk_is_not_a_scrap() -> None:
    text = " ".join(f"Предложение под номером {n} стоит здесь." for n in range(7))
    found = chunks(text, size=70)

    assert len(found) == 2
    assert found[1].token_count > 30


def test_a_chunk_does_not_end_with_a_numbered_title() -> None:
    body = "Предложение раздела стоит здесь и занимает место. "
    found = chunks(
        "\n".join(f"{n}. Раздел\n{n}.1. Пункт\n{body * (n % 3 + 1)}" for n in range(1, 30))
    )

    assert not any(re.search(r"(Раздел|Пункт)$", chunk.text) for chunk in found)


def test_neighbours_share_whole_sentences_up_to_the_overlap() -> None:
    text = " ".join(f"Предложение {n} стоит здесь." for n in range(40))
    found = chunks(text, overlap=20)

    for before, after in pairwise(found):
        shared = text[after.start : before.end]
        assert shared.startswith("Предложение")
        assert 0 < count_tokens(shared) - SPECIAL <= 20


def test_heading_paths_follow_the_levels() -> None:
    body = "Достаточно длинный текст раздела, чтобы он не был слишком мал. " * 2
    found = chunks(f"# A\n\n{body}\n## B\n\n{body}\n### C\n\n{body}\n## D\n\n{body}\n# E\n\n{body}")

    assert [chunk.heading_path for chunk in found] == [
        ("A",),
        ("A", "B"),
        ("A", "B", "C"),
        ("A", "D"),
        ("E",),
    ]


def test_overlap_does_not_cross_a_heading() -> None:
    body = "Достаточно длинный текст раздела. Он не слишком мал. " * 2
    found = chunks(f"# A\n\n{body}\n# B\n\n{body}", overlap=30)

    assert found[1].text.startswith("# B")


def test_tiny_sections_join_the_next_one_under_their_parent() -> None:
    body = "Достаточно длинный текст раздела, чтобы он не был слишком мал. "
    text = f"# A\n\n## B\n\nДа.\n\n## C\n\n{body * 2}\n\n# D\n\nДа.\n\n# E\n\n{body * 2}"
    found = chunks(text, size=128)

    assert [chunk.heading_path for chunk in found] == [("A",), ()]
    assert "## B" in found[0].text
    assert "## C" in found[0].text
    assert "# D" in found[1].text


def test_a_bare_title_is_kept_with_its_first_section() -> None:
    body = "Достаточно длинный текст раздела, чтобы он не был слишком мал. "
    [chunk] = chunks(f"# Договор\n\n## Предмет\n\n{body}")

    assert chunk.text.startswith("# Договор")
    assert chunk.heading_path == ("Договор", "Предмет")


def test_a_very_long_heading_is_shortened_in_the_path_only() -> None:
    title = "Очень длинный заголовок " * 30
    found = chunks(f"# {title}\n\nТекст раздела.")

    assert all(len(chunk.heading_path[0]) < len(title) for chunk in found)
    assert "".join(chunk.text for chunk in found).count("Очень") == 30


def test_table_rows_are_not_cut() -> None:
    rows = [f"Имя: Иван {n}; Роль: инженер. Ведущий; Срок: {n}.02.2027" for n in range(1, 29)]
    found = chunks("\n".join(rows))

    assert [row for chunk in found for row in chunk.text.split("\n")] == rows


def test_a_row_longer_than_a_chunk_is_cut_between_cells() -> None:
    row = "; ".join(f"Столбец {n}: значение ячейки {n}" for n in range(40))
    found = chunks(row)

    assert all(chunk.text.endswith(";") for chunk in found[:-1])


def test_a_chunk_does_not_reach_over_a_page_break() -> None:
    page = "Текст страницы с несколькими словами стоит здесь. " * 4
    found = chunks(parsed(page * 3, (0, len(page), 2 * len(page))), overlap=20)

    assert {chunk.page for chunk in found} == {1, 2, 3}
    for chunk in found:
        assert chunk.page is not None
        assert chunk.end <= chunk.page * len(page)


def test_a_megabyte_of_white_space_is_not_part_of_a_chunk() -> None:
    assert [chunk.text for chunk in chunks("a" + " " * 1_000_000 + "b")] == ["a", "b"]


def test_tokens_are_counted_about_twice_and_never_in_one_huge_piece() -> None:
    lengths: list[int] = []

    def recording(text: str) -> int:
        lengths.append(len(text))
        return count_tokens(text)

    text = "Предложение, каких много в этом тексте. " * 5_000 + "слово " * 30_000
    chunk_document(parsed(text), recording, size=128, overlap=16)

    assert sum(lengths) < 3.5 * len(text)
    assert max(lengths) < 128 * 12 * 2


@pytest.mark.parametrize(("size", "overlap"), [(31, 0), (64, 33), (64, -1)])
def test_sizes_that_cannot_work_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"size|overlap"):
        chunks("текст", size, overlap)

"""Reasoning is told from the answer however the text is cut."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.adapters.generators._thinking import Piece, ThinkSplitter


def split(text: str, *, size: int, opened: bool = False) -> list[Piece]:
    """What comes out when ``size`` characters go in at a time, neighbours of a kind joined."""
    splitter = ThinkSplitter(opened=opened)
    pieces = [
        piece for at in range(0, len(text), size) for piece in splitter.feed(text[at : at + size])
    ]
    pieces += splitter.finish()
    assert all(piece for _, piece in pieces)
    grouped = groupby(pieces, key=lambda piece: piece[0])
    return [(kind, "".join(piece for _, piece in group)) for kind, group in grouped]


CASES: dict[str, tuple[str, list[Piece]]] = {
    "a block and an answer": ("<think>hm</think>42", [("reasoning", "hm"), ("text", "42")]),
    "white space around the block": (
        "\n<think>\nhm\n</think>\n\n 42\n",
        [("reasoning", "\nhm\n"), ("text", "42\n")],
    ),
    "an empty block": ("<think>\n\n</think>\n\n42", [("reasoning", "\n\n"), ("text", "42")]),
    "two blocks": (
        "<think>a</think><think>b</think>42",
        [("reasoning", "ab"), ("text", "42")],
    ),
    "a block after text": (
        "4<think>hm</think>2",
        [("text", "4"), ("reasoning", "hm"), ("text", "2")],
    ),
    "a block that never ends": ("<think>hm 1 < 2 </thin", [("reasoning", "hm 1 < 2 </thin")]),
    "a tag after text that never ends": (
        "The tag <think> opens reasoning.",
        [("text", "The tag <think> opens reasoning.")],
    ),
    "a closing tag alone": ("a </think> b", [("text", "a </think> b")]),
    "ordinary text": (
        " 1 < 2 <thing> <<think <b>x</b> <",
        [("text", " 1 < 2 <thing> <<think <b>x</b> <")],
    ),
    "white space only": (" \n ", [("text", " \n ")]),
    "nothing": ("", []),
}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("name", CASES)
def test_a_text_is_split_the_same_however_it_is_cut(name: str, size: int) -> None:
    text, pieces = CASES[name]

    assert split(text, size=size) == pieces


OPENED: dict[str, tuple[str, list[Piece]]] = {
    "closed": ("hm\n</think>\n\n42", [("reasoning", "hm\n"), ("text", "42")]),
    "said again": ("\n<think>hm</think>42", [("reasoning", "hm"), ("text", "42")]),
    "never closed": ("hm < hm", [("reasoning", "hm < hm")]),
    "closed at once": ("</think>42", [("text", "42")]),
}


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("name", OPENED)
def test_reasoning_that_the_template_opened_ends_at_the_closing_tag(name: str, size: int) -> None:
    text, pieces = OPENED[name]

    assert split(text, size=size, opened=True) == pieces


def test_text_is_not_held_back_longer_than_it_may_be_a_tag() -> None:
    splitter = ThinkSplitter()

    assert splitter.feed("1 <t") == [("text", "1 ")]
    assert splitter.feed("wo") == [("text", "<two")]


@given(
    st.lists(
        st.sampled_from(["<", "think>", "/think>", "/", "a", " ", "<think", "ё"]), max_size=30
    ),
    st.integers(1, 9),
)
def test_the_size_of_the_pieces_changes_nothing(parts: list[str], size: int) -> None:
    text = "".join(parts)

    assert split(text, size=size) == split(text, size=10_000)


@given(st.text(alphabet="<>/thinkab \n"), st.integers(1, 9))
def test_text_without_an_opening_tag_comes_out_as_it_went_in(text: str, size: int) -> None:
    assume("<think>" not in text)

    assert "".join(piece for _, piece in split(text, size=size)) == text

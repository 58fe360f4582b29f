"""Proper names of a text, comparable across case forms and the two alphabets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:;|\n]|^\s*[-*•–—]|\d[.)])[\s\"'«“„(*_#>-]*$")
_QUOTED_START = re.compile(r"[«“„\"]$")
_SURNAME = re.compile(
    r"(?:[оеё]в|ин|ын|ск(?:ий|ой)|[оеё]ва|ина|ына|ская|енко|чук|дзе|швили|ян|[оеё]вой|иной)$"
)
_RUSSIAN_ENDING = re.compile(
    r"(?:ого|его|ому|ему|ыми|ими|ами|ями|ием|иям|ией|ой|ей|ою|ею|ом|ем|ым|им|ых|их|ий|ый|ая|яя|"
    r"ую|юю|ам|ям|ах|ях|ья|ье|ью|ьи|ия|ии|ию|ие|а|я|у|ю|ы|и|е|о|ь|й)$"
)
_FLEETING = re.compile(r"(?<=[бвгджзклмнпрстфхцчшщ])[ео](?=[бвгджзклмнпрстфхцчшщ]$)")
_NOT_NAMES = frozenset(
    "i i'm i'll i've the a an this that these those it he she they we you in on at by for from to "
    "of and or but if as is are was were there according no yes not however based mr mrs ms dr "
    "да нет не в на по с у к о об от до для и а но или если при из за это этот эта эти он она они "
    "согласно также однако кроме г ул д им".split()
)
_TO_LATIN = dict(
    zip(
        "абвгдезийклмнопрстуфыэ",
        "abvgdeziyklmnoprstufye",
        strict=True,
    )
) | {"ё": "e", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "",
     "ь": "", "ю": "yu", "я": "ya"}  # fmt: skip
_SOUNDS = (("shch", "s"), ("sch", "s"), ("tch", "c"), ("kh", "k"), ("zh", "z"), ("sh", "s"),
           ("ch", "c"), ("ts", "c"), ("ph", "f"), ("th", "t"), ("ck", "k"), ("x", "ks"),
           ("q", "k"), ("w", "v"), ("c", "k"), ("z", "s"))  # fmt: skip
_NOT_CONSONANT = re.compile(r"[^b-df-gj-np-tvxz]|j")
_SIMILAR = 0.8
_LOOK_BACK = 24  # characters before a word that show whether it starts a sentence


@dataclass(frozen=True, slots=True)
class Name:
    """One word of a name; ``certain`` is false for a capital that may only start a sentence."""

    text: str
    start: int
    end: int
    certain: bool = True


def find_names(text: str) -> tuple[Name, ...]:
    """Capitalised words in order; function words and single letters are left out."""
    names: list[Name] = []
    for match in _WORD.finditer(text):
        word = match[0]
        if not word[0].isupper() or word.casefold() in _NOT_NAMES or len(word) < 2:
            continue
        names.append(Name(word, *match.span(), certain=_is_certain(word, match.start(), text)))
    return tuple(names)


def is_like_surname(word: str) -> bool:
    """A Russian word in the form of a surname; says nothing about other words."""
    return len(word) > 4 and _SURNAME.search(word.casefold()) is not None


def is_same_name(a: str, b: str) -> bool:
    """True for the same name in another case form or in the other alphabet."""
    folded_a, folded_b = _fold(a), _fold(b)
    if folded_a == folded_b:
        return True
    if _is_cyrillic(folded_a) != _is_cyrillic(folded_b):
        return _sound_alike(folded_a, folded_b)
    if _is_cyrillic(folded_a):
        return bool(_stems(folded_a) & _stems(folded_b))
    return folded_a.removesuffix("'s").rstrip("s") == folded_b.removesuffix("'s").rstrip("s")


def has_name(name: str, names: Iterable[str]) -> bool:
    return any(is_same_name(name, other) for other in names)


def is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper()


def _is_certain(word: str, start: int, text: str) -> bool:
    before = text[:start] if start <= _LOOK_BACK else "x" + text[start - _LOOK_BACK : start]
    if is_acronym(word) or any(c.isupper() for c in word[1:]):
        return True
    if _QUOTED_START.search(before) and before[:-1].strip():
        return True
    return _SENTENCE_START.search(before) is None


def _fold(word: str) -> str:
    return word.casefold().replace("ё", "е").replace("’", "'")


def _is_cyrillic(word: str) -> bool:
    return "\u0400" <= word[0] <= "\u04ff"


def _stems(word: str) -> set[str]:
    """Иванов, Иванова, Ивановым share one; Павел and Павла share one."""
    stem = _RUSSIAN_ENDING.sub("", word) if len(word) > 3 else word
    return {s for s in (word, stem, _FLEETING.sub("", word), _FLEETING.sub("", stem)) if len(s) > 1}


def _sound_alike(a: str, b: str) -> bool:
    latin_a, latin_b = (_to_latin(word) for word in (a, b))
    if SequenceMatcher(None, latin_a, latin_b).ratio() >= _SIMILAR:
        return True
    bones_a, bones_b = sorted((_consonants(latin_a), _consonants(latin_b)), key=len)
    if len(bones_a) < 2 or (latin_a[0] != latin_b[0] and bones_a[0] != bones_b[0]):
        return False
    return bones_a == bones_b or (
        len(bones_a) >= 3 and bones_b.startswith(bones_a) and len(bones_b) - len(bones_a) <= 1
    )


def _to_latin(word: str) -> str:
    """Also for words of both alphabets ("Sokолова"), which small models write."""
    return "".join(_TO_LATIN.get(c, c) for c in word)


def _consonants(latin: str) -> str:
    for letters, sound in _SOUNDS:
        latin = latin.replace(letters, sound)
    bones = _NOT_CONSONANT.sub("", latin.replace("h", ""))
    return re.sub(r"(.)\1+", r"\1", bones)

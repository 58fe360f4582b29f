"""Which language a text is in, by the letters it is written with."""

from __future__ import annotations

import re
from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


Language = Literal["ru", "en", "mixed", "other", "unknown"]
AnswerLanguage = Literal["ru", "en"]

_MINOR_SHARE = 0.2
_FOREIGN_SHARE = 0.5
_ENOUGH_WORDS = 25

_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
# Letters of Ukrainian, Belarusian, Serbian, Macedonian and Kazakh that Russian does not have.
_NOT_RUSSIAN = re.compile(r"[іїєґўђјљњћџѓќѕәғқңөұүһ]", re.IGNORECASE)
_NOT_RUSSIAN_SHARE = 0.01

_ENGLISH_FUNCTION_WORDS = _words(
    "the of and to in is are was for on with that this by from at as be or an it what which who "
    "when where how why does do did can will should has have not a i you we our your about any "
    "there were"
)
# Only words that other Latin-script languages do not share ("in", "was" and "a" they do).
_ONLY_ENGLISH = _words(
    "the of and is are with that this from what which have has been should would their they"
)
_RUSSIAN_FUNCTION_WORDS = _words(
    "и в во не на с со что как кто где когда почему зачем какой какая какие какое каков какова "
    "каковы сколько чей чья чьи который которая по у к из за от до для о об при или ли это был "
    "была было были есть нет наш наша наши мы я вы он она они его ее их кому чего чем каком какую "
    "какого каких каким нужно можно надо будет"
)


def detect_language(text: str) -> Language:
    """The language of a document: ``mixed`` when the minor one has a fifth of the letters."""
    letters = len(_LETTER.findall(text))
    if letters == 0:
        return "unknown"
    cyrillic = len(_CYRILLIC.findall(text))
    latin = len(_LATIN.findall(text))
    if letters - cyrillic - latin > _FOREIGN_SHARE * letters:
        return "other"
    if min(cyrillic, latin) >= _MINOR_SHARE * (cyrillic + latin):
        return "other" if _is_not_russian(text, cyrillic) else "mixed"
    if cyrillic > latin:
        return "other" if _is_not_russian(text, cyrillic) else "ru"
    return "other" if _is_not_english(text) else "en"


def question_language(text: str) -> AnswerLanguage:
    """The language to answer in; a Russian question full of English terms is Russian."""
    cyrillic = len(_CYRILLIC.findall(text))
    if cyrillic == 0:
        return "en"
    latin = len(_LATIN.findall(text))
    words = [word.casefold().replace("ё", "е") for word in _WORD.findall(text)]
    russian = sum(word in _RUSSIAN_FUNCTION_WORDS for word in words)
    english = sum(word in _ENGLISH_FUNCTION_WORDS for word in words)
    if russian != english:
        return "ru" if russian > english else "en"
    return "ru" if cyrillic >= latin else "en"


def _is_not_russian(text: str, cyrillic: int) -> bool:
    return len(_NOT_RUSSIAN.findall(text)) > _NOT_RUSSIAN_SHARE * cyrillic


def _is_not_english(text: str) -> bool:
    """True for a text long enough to show English function words that shows hardly any."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if len(words) < _ENOUGH_WORDS:
        return False
    return sum(word in _ONLY_ENGLISH for word in words) < 0.02 * len(words)

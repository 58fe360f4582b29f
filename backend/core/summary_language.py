"""Is a summary in the language it was asked for? Names, terms and code of the other may stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.facts import fold
from backend.core.language import AnswerLanguage
from backend.core.sentences import sentence_spans
from backend.core.summary_source import SourceText

_CODE = re.compile(r"```.*?```|`[^`\n]*`|https?://\S+|www\.\S+|[\w.+-]+@[\w.-]+", re.DOTALL)
_TOKEN = re.compile(r"[\w.+#/-]*\w")
_PLAIN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_LATIN = re.compile(r"[a-z\u00c0-\u024f]", re.IGNORECASE)
# Letters of neither alphabet: Chinese, Japanese, Korean, Arabic, Hebrew, Indian, Thai and others.
_FOREIGN_LETTER = re.compile(
    r"[\u0530-\u1cff\u2e80-\u2fdf\u3005-\u3007\u3041-\u30fa\u3105-\u318e\u31f0-\u9fff"
    r"\ua000-\ua63f\ua840-\uabff\uac00-\ud7ff\uf900-\ufaff\ufb1d-\ufdcf\ufe70-\ufefc"
    r"\uff66-\uffdc\U00020000-\U0003ffff]"
)
_NOT_RUSSIAN = re.compile(r"[іїєґўђјљњћџѓќѕәғқңөұүһ]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = _words(
    "the of and to in is are was were for on with that this by from at as be or an it what which "
    "who when where how has have not will would should they their its been than into about after"
)
_RUSSIAN = _words(
    "и в во не на с со что как по у к из от за до для о об при или это был была было были есть он "
    "она они его ее их также который которая которые чтобы если будет после"
)
_OTHER_SLAVIC = _words(
    "та що це від або який яка які було був була буде між після також щодо лише цього "
    "каб гэта які яго таксама пасля але толькі што "
    "че са се към като който която които през беше след също които "
    "је су није који која која биће није"
) - {"также", "был", "была", "след", "каб", "се"}
_OTHER_LATIN = _words(
    "der die das und ist nicht ein eine mit auf von für dem den wurde werden "
    "le la les des est une dans pour que qui sur avec par pas sont été du aux "
    "el los las una del por con para como más fue y se sus "
    "il di che della sono per nel gli è "
    "o os as não uma em dos com foi "
    "nie jest się na w z do oraz przez był została"
) - {"a", "w", "z", "y", "o", "as", "do", "die", "per", "com", "on", "by"}
_LEAST_WORDS = 4  # of a sentence in another language
_FOREIGN_SHARE = 0.2
_MIXED_IN_SHARE = 0.1
_MIXED_IN_LEAST = 3
_OWN_SHARE = {"ru": 0.3, "en": 0.6}
_OTHER_SLAVIC_SHARE = 0.04
_OTHER_LATIN_SHARE = 0.08
_ALIEN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class _Counted:
    """Plain words of a piece of text: no code, no addresses, nothing with digits."""

    own: tuple[str, ...]  # of the alphabet of the language
    other: tuple[str, ...]

    @property
    def total(self) -> int:
        return len(self.own) + len(self.other)


def language_fault(text: str, source: SourceText, language: AnswerLanguage) -> str | None:
    """What is not in ``language``, or None."""
    alien = _FOREIGN_LETTER.findall(text)
    strange = any(letter not in source.letters for letter in alien)
    if strange or len(alien) > _ALIEN_SHARE * len(text):
        return "it has letters of another script"
    counted = _count(text, language)
    if counted.total == 0:
        return None
    names = sum(w[0].isupper() for w in counted.other)
    if not counted.own or len(counted.own) < _OWN_SHARE[language] * (counted.total - names / 2):
        return "it is mostly in another alphabet"
    if _is_neighbour(counted, source, language):
        return "it is in a language of the same alphabet"
    return _mixture(text, counted, source, language)


def _mixture(
    text: str, counted: _Counted, source: SourceText, language: AnswerLanguage
) -> str | None:
    if _foreign_words(text, language) > _FOREIGN_SHARE * counted.total:
        return "whole sentences are in another language"
    mixed_in = [w for w in counted.other if _is_mixed_in(w, source)]
    if len(mixed_in) >= _MIXED_IN_LEAST and len(mixed_in) > _MIXED_IN_SHARE * counted.total:
        return "words of another language are mixed in"
    return None


def _count(text: str, language: AnswerLanguage) -> _Counted:
    words = [
        token
        for token in _TOKEN.findall(_CODE.sub(" ", text))
        if _PLAIN.fullmatch(token) and not _is_term(token)
    ]
    own = [w for w in words if _is_own(w, language)]
    return _Counted(tuple(own), tuple(w for w in words if not _is_own(w, language)))


def _is_own(word: str, language: AnswerLanguage) -> bool:
    return (_CYRILLIC if language == "ru" else _LATIN).search(word) is not None


def _is_term(word: str) -> bool:
    """ERP, MQTT, GitHub: the same in every language."""
    return len(word) > 1 and any(c.isupper() for c in word[1:])


def _is_mixed_in(word: str, source: SourceText) -> bool:
    return word[0].islower() and fold(word) not in source.facts.words


def _is_neighbour(counted: _Counted, source: SourceText, language: AnswerLanguage) -> bool:
    """Ukrainian for Russian, German for English; what the source has itself may be quoted."""
    folded = [fold(w) for w in counted.own]
    own = [w for w in folded if w not in source.facts.words]
    if language == "ru":
        strange = [w for w in own if _NOT_RUSSIAN.search(w) or w in _OTHER_SLAVIC]
        return len(strange) >= 2 and len(strange) > _OTHER_SLAVIC_SHARE * len(folded)
    return _is_other_latin(counted.own)


def _foreign_words(text: str, language: AnswerLanguage) -> int:
    """How many words stand in sentences of another language."""
    return sum(
        counted.total
        for start, end in sentence_spans(text)
        if _is_foreign(counted := _count(text[start:end], language), language)
    )


def _is_foreign(counted: _Counted, language: AnswerLanguage) -> bool:
    if counted.total < _LEAST_WORDS:
        return False
    if len(counted.other) > 2 * len(counted.own):
        return _share(counted.other, _ENGLISH if language == "ru" else _RUSSIAN) > 0
    return language == "en" and _is_other_latin(counted.own)


def _is_other_latin(words: Sequence[str]) -> bool:
    """Words with a capital do not count: Los Angeles, Le Havre."""
    strange = [w for w in words if w in _OTHER_LATIN]
    strange_share = len(strange) / max(len(words), 1)
    return len(set(strange)) >= 2 and strange_share > max(
        _OTHER_LATIN_SHARE, _share(words, _ENGLISH)
    )


def _share(words: Sequence[str], of: frozenset[str]) -> float:
    return sum(fold(w) in of for w in words) / max(len(words), 1)

"""Negations and opposites: what makes two alike sentences say different things."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Bounds read like negations and are none: «не позднее», "no more than".
_BOUND = re.compile(
    r"\bне (?:позднее|позже|ранее|раньше|более|менее|больше|меньше|выше|ниже|старше|младше|только|"
    r"превыша\w*|менее чем|более чем)\b|\bno (?:later|earlier|more|less|fewer|sooner) than\b|"
    r"\bnot (?:later|earlier|more|less|only|exceed\w*|to exceed)\b|\bdo(?:es)? not exceed\b|"
    r"\bне считая\b|\bnot (?:just|including)\b"
)
_CUE = re.compile(
    r"\b(?:не|ни|нет|нельзя|без|никогда|никак\w*|никто|ничего|невозможн\w*|недопустим\w*|"
    r"запрещ\w*|отсутств\w*|not|no|never|without|cannot|none|nobody|nothing|neither|nor|"
    r"forbidden|prohibit\w*|lacks?|absent)\b|\w+n't\b"
)
_CLAUSE = re.compile(r"[,;:.!?()|\n]|\s[—–-]\s|\b(?:но|а|but|while|however)\b")
_WORD = re.compile(r"\w+")
_CLAUSE_WORDS = 40
_SCOPE_CHARS = 80
_FILLERS = frozenset(
    "был была было были быть been be yet ещё еще the a an any to is are was".split()
)

_OPPOSITES: tuple[tuple[str, str], ...] = (
    (
        "утвержд|утверд|одобр|соглас(?:ов|ил)|approv|accept",
        "отклон|отказ|отверг|reject|declin|refus|den(?:y|ied)",
    ),
    (r"разреш|можно\b|допуска|allow|permit", r"запре|нельзя\b|prohibit|forbid|\bban"),
    (
        r"увелич|повы[сш]|вырос|рост\b|возрос|расшир|increas|grew|rose|rais|higher",
        "уменьш|сниз|снижен|сокра[тщ]|упал|паден|decreas|reduc|fell|drop|declin|lower",
    ),
    (
        r"больше\b|более\b|выше\b|more\b|above\b|over\b",
        r"меньше\b|менее\b|ниже\b|less\b|fewer\b|below\b|under\b",
    ),
    (r"до\b|перед\b|before\b|prior\b|until\b", r"после\b|спустя\b|after\b"),
    (
        "начал|начин|старт|start|begin|began|launch",
        r"окончан|заверш|законч|конец\b|конца\b|end\b|ends\b|ended\b|finish|complet",
    ),
    (r"бесплатн|безвозмездн|free\b", r"платн|оплачива|paid\b"),
    (
        "заказчик|покупател|customer|buyer|client",
        "исполнител|подрядчик|поставщик|продав|contractor|supplier|seller|vendor",
    ),
    ("максим|maxim", "миним|minim"),
    ("включ|includ", "исключ|exclud|except"),
    (
        r"перв(?:ый|ого|ом|ая|ой|ое|ому|ую)\b|first\b",
        r"втор(?:ой|ого|ом|ая|ое|ому|ую)\b|second\b|последн|last\b",
    ),
    ("перенес|отлож|postpon|delay|отсроч", "ускор|досрочн|advanc|brought forward"),
    ("успешн|success", "неудач|провал|fail"),
    (
        r"обязан|обязательн|must\b|mandatory|required",
        "необязательн|вправе|по желанию|optional|voluntary",
    ),
    ("доход|прибыл|income|revenue|profit", "расход|убыт|expens|loss|cost"),
)
_OPPOSITE_PATTERNS = tuple(
    (re.compile(rf"\b(?:{a})"), re.compile(rf"\b(?:{b})")) for a, b in _OPPOSITES
)
_COMPARED_BOUNDS = (
    (
        re.compile(
            r"\bне (?:более|больше|позднее|позже|выше)\b|\bno (?:more|later) than\b"
            r"|\bat most\b|\bup to\b"
        ),
        re.compile(
            r"\bне (?:менее|меньше|ранее|раньше|ниже)\b|\bno (?:less|fewer|earlier) than\b"
            r"|\bat least\b"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class NegatedWord:
    """A word under a negation and the other words of its clause."""

    word: str
    clause: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Polarity:
    """``sides``: which side of each pair of opposites occurs, as (pair, side)."""

    negated: tuple[NegatedWord, ...]
    cues: int
    sides: frozenset[tuple[int, int]]

    @property
    def negates(self) -> bool:
        return self.cues > 0

    def contradicts(self, other: Polarity) -> bool:
        """True when one text has only the one side of a pair and the other text only the other."""
        mine, theirs = dict(_one_sided(self.sides)), dict(_one_sided(other.sides))
        return any(pair in theirs and theirs[pair] != side for pair, side in mine.items())

    def joined(self, other: Polarity) -> Polarity:
        return Polarity(
            self.negated + other.negated, self.cues + other.cues, self.sides | other.sides
        )


NEUTRAL = Polarity((), 0, frozenset())


def polarity(folded: str) -> Polarity:
    """Read from case-folded text with ё as е."""
    sides = {
        (i, side)
        for i, pair in enumerate(_COMPARED_BOUNDS + _OPPOSITE_PATTERNS)
        for side, pattern in enumerate(pair)
        if pattern.search(folded if i < len(_COMPARED_BOUNDS) else _BOUND.sub(" ", folded))
    }
    negated: list[NegatedWord] = []
    cues = 0
    for clause in _CLAUSE.split(_BOUND.sub(" ", folded)):
        words = tuple(_WORD.findall(clause)[:_CLAUSE_WORDS])
        for cue in _CUE.finditer(clause):
            cues += 1
            negated.extend(NegatedWord(w, words) for w in _scope(clause, cue))
    return Polarity(tuple(negated), cues, frozenset(sides))


def _scope(clause: str, cue: re.Match[str]) -> tuple[str, ...]:
    """The word after the cue; before it where nothing follows («штрафов нет»)."""
    after = [
        w for w in _WORD.findall(clause[cue.end() : cue.end() + _SCOPE_CHARS]) if w not in _FILLERS
    ]
    if after:
        return tuple(after[:1])
    before = [
        w
        for w in _WORD.findall(clause[max(0, cue.start() - _SCOPE_CHARS) : cue.start()])
        if w not in _FILLERS
    ]
    return tuple(before[-1:])


def _one_sided(sides: frozenset[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(pair, side) for pair, side in sides if (pair, 1 - side) not in sides]

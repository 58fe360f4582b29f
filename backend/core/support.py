"""Does a piece of a source say what a statement says? Decided on words, facts and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from backend.core.crossing import is_crossed
from backend.core.facts import Fact, is_held, is_miscounted
from backend.core.features import Analyst, Features, Word
from backend.core.names import Name, has_name, is_like_surname, is_same_name

ENOUGH_COVERAGE = 0.6
ENOUGH_WITHOUT_FACTS = 0.67
ENOUGH_FOR_SHORT = 0.4
_FACT_WEIGHT = 0.5
_ECHO_WEIGHT = 0.5

_YES = re.compile(r"^\W*(?:да|верно|yes|correct|right)\b[\s,.!:;—–-]*", re.IGNORECASE)
_NO = re.compile(r"^\W*(?:нет|неверно|no)\b(?:[\s]*[,.!:;—–-]+\s*|\s*$)", re.IGNORECASE)

# Words of answering rather than of content: they never count against a statement.
_OF_ANSWERING = frozenset(
    """согласно источник документ текст сообщается указано указан указана говорится сказано
    следует составляет составляют является являются называется равен равна равно находится
    следующий следующие следующее также информация вопрос ответ данным образом общий общая
    предусмотрен предусмотрена предусмотрено имеет имеется будет должен должна должны
    according source document text states stated mentioned says said mentions specified provided
    answer question following includes called equal equals based information indicated
    respectively total also must shall
    """.split()
)


class Block(Enum):
    """Why a piece cannot support a statement, however alike they sound."""

    FACT = "fact"
    NAME = "name"
    POLARITY = "polarity"


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement ready to be compared.

    ``to_embed`` carries the question where the statement alone says too little.
    """

    text: str
    features: Features
    names: tuple[Name, ...]
    facts: tuple[Fact, ...]  # the question's too, where the statement is short
    is_short: bool
    denies: bool
    to_embed: str


@dataclass(frozen=True, slots=True)
class Verdict:
    coverage: float
    block: Block | None
    missing_names: int = 0
    names_translatable: bool = True  # the missing ones may have another form abroad
    same_polarity: bool = True
    lost_words: int = 0
    shares: bool = False  # the piece itself has some of the statement
    enough: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What surrounds the comparison: the question and the words known to be names."""

    question: str
    asked: Features
    known_names: tuple[str, ...]


def make_claim(text: str, setting: Setting, analyst: Analyst) -> Claim:
    """Yes and no alone stand for the question, affirmed or denied."""
    bare = _YES.sub("", text, count=1)
    denial = _NO.match(bare)
    bare = bare[denial.end() :] if denial else bare
    if not re.search(r"\w", bare):
        names = _names(setting.asked, setting)
        facts = setting.asked.facts
        return Claim(
            text, setting.asked, names, facts, False, denial is not None, setting.question
        )  # fmt: skip
    features = analyst.features(bare)
    named = _names(features, setting)
    counted = [w for w in _content(features, named) if w.text not in _OF_ANSWERING]
    is_short = len(counted) < 2
    facts = features.facts + (setting.asked.facts if is_short else ())
    to_embed = f"{setting.question} {bare}" if is_short else bare
    return Claim(bare.strip(), features, named, facts, is_short, False, to_embed)


def judge(claim: Claim, piece: Features, around: Features, setting: Setting) -> Verdict:
    """Compare with a piece of a source; ``around`` is its heading, file name and table header."""
    wide = piece.joined(around)
    if claim.denies:
        return _judge_denial(claim, piece, wide)
    needed = [f for f in claim.facts if not f.loose]
    if any(not is_held(f, wide.facts) for f in needed):
        return Verdict(0.0, Block.FACT)
    if any(is_miscounted(f, piece.facts) for f in claim.features.facts):
        return Verdict(0.0, Block.FACT)
    if is_crossed(needed, [name.text for name in claim.names], piece.clauses):
        return Verdict(0.0, Block.FACT)
    missing = _missing_names(claim, piece, wide, setting)
    coverage, lost = _coverage(claim, wide, setting)
    some = _shares_something(claim, piece, setting)
    same_polarity = claim.features.polarity.negates == piece.polarity.negates
    block = Block.NAME if missing else None
    if _contradicts(claim, piece, unmatched=lost > 0):
        block = Block.POLARITY
    enough = coverage >= _needed_coverage(claim) and some
    return Verdict(
        coverage,
        block,
        missing_names=len(missing),
        names_translatable=not any(_is_personal(name, claim) for name in missing),
        same_polarity=same_polarity,
        shares=some,
        lost_words=lost,
        enough=enough and block is None,
    )


def _needed_coverage(claim: Claim) -> float:
    if claim.is_short:
        return ENOUGH_FOR_SHORT
    return ENOUGH_COVERAGE if claim.facts or claim.names else ENOUGH_WITHOUT_FACTS


def touches(claim: Claim, piece: Features, setting: Setting) -> float:
    """How much of the statement the piece shares; 0 when it says the opposite."""
    if _contradicts(claim, piece, unmatched=False):
        return 0.0
    words = sum(piece.has_word(w) for w in _content(claim.features, claim.names))
    facts = sum(is_held(f, piece.facts) for f in claim.features.facts)
    names = sum(has_name(n.text, [p.text for p in piece.names]) for n in claim.names)
    return words + facts + names


def _judge_denial(claim: Claim, piece: Features, wide: Features) -> Verdict:
    """A bare "no": the source speaks of the same and negates it or gives other figures."""
    words = _content(claim.features, claim.names)
    coverage = sum(wide.has_word(w) for w in words) / max(len(words), 1)
    other_facts = any(not is_held(f, wide.facts) for f in claim.features.facts) and piece.facts
    differs = piece.polarity.negates != claim.features.polarity.negates or bool(other_facts)
    opposed = differs or claim.features.polarity.contradicts(piece.polarity)
    block = None if opposed else Block.POLARITY
    return Verdict(coverage, block, enough=opposed and coverage >= ENOUGH_FOR_SHORT)


def _coverage(claim: Claim, wide: Features, setting: Setting) -> tuple[float, int]:
    """(share of the statement that is found, words of it that are not)."""
    words, asked = _compared_words(claim, setting)
    found = [w for w in dict.fromkeys([*words, *asked]) if wide.has_word(w)]
    lost = [
        w for w in dict.fromkeys([*words, *asked])
        if not wide.has_word(w) and w.text not in _OF_ANSWERING
    ]  # fmt: skip
    echoed = 0 if claim.is_short else sum(setting.asked.has_word(w) for w in lost)
    held = _FACT_WEIGHT * (len(claim.features.facts) + len(claim.names))
    whole = len(found) + len(lost) + held
    if whole == 0:
        return 0.0, 0
    return (len(found) + held + _ECHO_WEIGHT * echoed) / whole, len(lost)


def _shares_something(claim: Claim, piece: Features, setting: Setting) -> bool:
    """A heading alone supports nothing: some word must stand in the piece itself."""
    words, asked = _compared_words(claim, setting)
    compared = words + asked
    if not words and not _has_own_content(claim, piece):
        return not claim.is_short and any(piece.has_word(w) for w in compared)
    if not compared:
        return True
    if claim.is_short and not all(piece.has_word(w) for w in words if w not in asked):
        return False
    return any(piece.has_word(w) for w in compared)


def _has_own_content(claim: Claim, piece: Features) -> bool:
    names = [name.text for name in piece.names]
    return any(is_held(f, piece.facts) for f in claim.features.facts) or any(
        has_name(name.text, names) for name in claim.names
    )


def _compared_words(claim: Claim, setting: Setting) -> tuple[list[Word], list[Word]]:
    """The statement's content words and, for a short one, the question's."""
    asked = _content(setting.asked, setting.asked.names) if claim.is_short else []
    return _content(claim.features, claim.names), asked


def _content(features: Features, names: Sequence[Name]) -> list[Word]:
    named = {n.text.casefold().replace("ё", "е") for n in names}
    return [w for w in dict.fromkeys(features.words) if w.text not in named]


def _names(features: Features, setting: Setting) -> tuple[Name, ...]:
    """Certain names, and capitals at a sentence start that are known or look like names."""
    names = []
    for i, name in enumerate(features.names):
        following = features.names[i + 1] if i + 1 < len(features.names) else None
        pairs_up = following is not None and following.certain and following.start == name.end + 1
        known = has_name(name.text, setting.known_names)
        if name.certain or known or is_like_surname(name.text) or pairs_up:
            names.append(name)
    return tuple(names)


def _missing_names(claim: Claim, piece: Features, wide: Features, setting: Setting) -> list[Name]:
    """Names of the statement that the piece does not have.

    A name of the question may be left unsaid by a source, but not where the source names
    somebody else.
    """
    there = [name.text for name in wide.names]
    missing = [
        name
        for name in claim.names
        if not has_name(name.text, there) and not _has_as_word(name, claim, wide)
    ]
    if not missing:
        return []
    own = [name.text for name in (*claim.names, *setting.asked.names)]
    rivals = [n for n in piece.names if n.certain and not has_name(n.text, own)]
    asked = [name.text for name in setting.asked.names]
    if not rivals:
        missing = [name for name in missing if not has_name(name.text, asked)]
    return missing


def _is_personal(name: Name, claim: Claim) -> bool:
    """A name that keeps its sound in the other language: of a person, or in quotes.

    Words such as "Germany" or "University" are translated and may be missing.
    """
    before, after = claim.text[: name.start], claim.text[name.end :]
    pairs_up = any(n.start == name.end + 1 or n.end + 1 == name.start for n in claim.names)
    quoted = before.endswith(("«", '"', "“")) and after.startswith(("»", '"', "”"))
    return pairs_up or quoted or is_like_surname(name.text)


def _has_as_word(name: Name, claim: Claim, wide: Features) -> bool:
    folded = name.text.casefold().replace("ё", "е")
    return any(wide.has_word(w) for w in claim.features.words if w.text == folded) or any(
        is_same_name(folded, w.text) for w in wide.words if w.text[0] == folded[0]
    )


def _contradicts(claim: Claim, piece: Features, *, unmatched: bool) -> bool:
    mine, theirs = claim.features.polarity, piece.polarity
    if mine.contradicts(theirs):
        return True
    if mine.negates and not theirs.negates:
        return True
    if mine.negates:
        return False
    for negated in theirs.negated:
        if any(_matches(negated.word, w) for w in claim.features.words):
            return True
        # «одобрен» against «не утвержден»: the negated word may be the unmatched one's synonym.
        shares = any(_matches(o, w) for o in negated.clause for w in claim.features.words)
        if unmatched and shares:
            return True
    return False


def _matches(folded: str, word: Word) -> bool:
    return folded == word.text or (len(folded) > 4 and folded[:-2] == word.text[: len(folded) - 2])

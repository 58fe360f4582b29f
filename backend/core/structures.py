"""Structures of the parts of a thread made one, and checked against the thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from backend.core.document_facts import DocumentFacts, fold_quickly, measured_facts
from backend.core.facts import Fact, find_facts, fold, is_held
from backend.core.language import AnswerLanguage
from backend.core.names import find_names, is_same_name
from backend.core.summaries import ActionItem, Decision, Structure
from backend.core.summary_source import SourceText
from backend.core.unsupported import unsupported

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_NOT_A_NAME = re.compile(r"\([^)]*\)|<[^>]*>|[\w.+-]+@[\w.-]+")
_ALIKE = 0.75  # share of the shorter text's words that the longer one has
_STEM = 5
_LEAST_STEM = 4
_SUPPORTED = 0.34  # share of a text's stems that stand together in the document
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_OWN_LANGUAGE = 0.5
_SENT = re.compile(
    r"^[ \t>*_]*(?:date|sent|дата|отправлено)[*_]*:.*$|^[ \t>]*\[[^\]\n]*\d[^\]\n]*\]",
    re.IGNORECASE | re.MULTILINE,
)
_NEAR = 40  # characters between first and last name

T = TypeVar("T")


def merge_structures(structures: Sequence[Structure]) -> Structure:
    """What several parts say is said once, where it was said first; a deadline or decision that
    differs is kept beside the earlier one, behind it."""
    people = _People(name for s in structures for name in s.participants)
    return Structure(
        decisions=_joined([d for s in structures for d in s.decisions], _join_decisions),
        action_items=_joined([a for s in structures for a in s.action_items], _join_actions),
        topics=_joined([t for s in structures for t in s.topics], _join_texts),
        participants=people.names(),
        open_questions=_joined([q for s in structures for q in s.open_questions], _join_texts),
    )


def check_structure(
    structure: Structure, document: SourceText
) -> tuple[Structure, tuple[str, ...]]:
    """The structure without persons, dates and whole entries that the document does not have, and
    what was taken out or stands in it unsupported. CPU work of milliseconds."""
    check = _Check(document)
    checked = Structure(
        decisions=tuple(
            replace(d, who=check.person(d.who), when=check.time(d.when))
            for d in structure.decisions
            if check.is_said(d.what)
        ),
        action_items=tuple(
            replace(a, owner=check.person(a.owner), deadline=check.deadline(a.deadline))
            for a in structure.action_items
            if check.is_said(a.task)
        ),
        topics=tuple(t for t in structure.topics if check.is_said(t)),
        participants=tuple(p for p in structure.participants if check.person(p)),
        open_questions=tuple(q for q in structure.open_questions if check.is_said(q)),
    )
    return checked, tuple(dict.fromkeys(check.missing))


# --- joining -----------------------------------------------------------------------------------


def _joined(items: Sequence[T], join: Callable[[T, T], T | None]) -> tuple[T, ...]:
    kept: list[T] = []
    for item in items:
        for i, earlier in enumerate(kept):
            both = join(earlier, item)
            if both is not None:
                kept[i] = both
                break
        else:
            kept.append(item)
    return tuple(kept)


def _join_decisions(earlier: Decision, later: Decision) -> Decision | None:
    if not _says_the_same(earlier.what, later.what):
        return None
    if not (_same_person(earlier.who, later.who) and _same_time(earlier.when, later.when)):
        return None
    return Decision(
        _fuller(earlier.what, later.what),
        _longer(earlier.who, later.who),
        _longer(earlier.when, later.when),
    )


def _join_actions(earlier: ActionItem, later: ActionItem) -> ActionItem | None:
    if not _says_the_same(earlier.task, later.task):
        return None
    same_owner = _same_person(earlier.owner, later.owner)
    if not (same_owner and _same_time(earlier.deadline, later.deadline)):
        return None
    return ActionItem(
        _fuller(earlier.task, later.task),
        _longer(earlier.owner, later.owner),
        _longer(earlier.deadline, later.deadline),
    )


def _join_texts(earlier: str, later: str) -> str | None:
    return earlier if _says_the_same(earlier, later) else None


def _says_the_same(a: str, b: str) -> bool:
    """Nearly the same words, and no figure or date of the one against one of the other."""
    stems_a, stems_b = _stems(a), _stems(b)
    if not stems_a or not stems_b:
        return fold(a) == fold(b)
    shorter, longer = sorted((stems_a, stems_b), key=len)
    if len(shorter & longer) < _ALIKE * len(shorter) or len(longer) > 3 * len(shorter):
        return False
    facts_a, facts_b = find_facts(a), find_facts(b)
    return _holds(facts_a, facts_b) or _holds(facts_b, facts_a)


def _holds(facts: Sequence[Fact], other: Sequence[Fact]) -> bool:
    return all(fact.loose or is_held(fact, other) for fact in facts)


def _stems(text: str) -> frozenset[str]:
    return frozenset(w[:_STEM] for w in _WORD.findall(fold(text)) if len(w) >= _LEAST_STEM)


def _same_person(a: str | None, b: str | None) -> bool:
    return a is None or b is None or _is_same_person(a, b)


def _same_time(a: str | None, b: str | None) -> bool:
    if a is None or b is None or fold(a) == fold(b):
        return True
    facts_a, facts_b = find_facts(a), find_facts(b)
    if not facts_a or not facts_b:
        return _stems(a) == _stems(b)
    return _holds(facts_a, facts_b) or _holds(facts_b, facts_a)


def _longer(a: str | None, b: str | None) -> str | None:
    return max((a or "", b or ""), key=len) or None


def _fuller(earlier: str, later: str) -> str:
    return later if len(find_facts(later)) > len(find_facts(earlier)) else earlier


class _People:
    """Persons by any of their spellings: name, initials, e-mail address."""

    def __init__(self, spellings: Iterator[str]) -> None:
        self._groups: list[list[str]] = []
        for spelling in spellings:
            matching = [g for g in self._groups if any(_is_same_person(spelling, s) for s in g)]
            # «Ирина» alone stands for nobody in particular once there are two of them.
            if len(matching) == 1:
                matching[0].append(spelling)
            elif not matching or len(_name_words(spelling)) > 1:
                self._groups.append([spelling])

    def names(self) -> tuple[str, ...]:
        return tuple(_best_name(group) for group in self._groups)


def _best_name(group: Sequence[str]) -> str:
    plain = [" ".join(_NOT_A_NAME.sub(" ", s).split()).strip(" ,;") for s in group]
    named = [name for name in plain if name]
    return max(named, key=lambda n: sum(len(w) > 1 for w in _name_words(n))) if named else group[0]


def _name_words(spelling: str) -> list[str]:
    return _WORD.findall(_NOT_A_NAME.sub(" ", spelling))


def _is_same_person(a: str, b: str) -> bool:
    emails_a, emails_b = _EMAIL.findall(fold(a)), _EMAIL.findall(fold(b))
    if emails_a and emails_b:
        return bool(set(emails_a) & set(emails_b))
    words_a, words_b = _name_words(a), _name_words(b)
    if not words_a or not words_b:
        words, emails = (words_a or words_b), (emails_a or emails_b)
        return bool(words) and any(_is_address_of(email, words) for email in emails)
    shorter, longer = sorted((words_a, words_b), key=len)
    return all(any(_same_name_word(w, other) for other in longer) for w in shorter)


def _same_name_word(a: str, b: str) -> bool:
    if len(a) == 1 or len(b) == 1:
        return fold(a)[0] == fold(b)[0]
    return is_same_name(a, b)


def _is_address_of(email: str, words: Sequence[str]) -> bool:
    local = [w for w in re.split(r"[._\d+-]+", email.partition("@")[0]) if len(w) > 2]
    return any(is_same_name(part, word) for part in local for word in words)


# --- checking ----------------------------------------------------------------------------------


class _Check:
    def __init__(self, document: SourceText) -> None:
        self._document = document
        self._folded = fold_quickly(document.text)
        self._bodies: DocumentFacts | None = None
        self.missing: list[str] = []

    def person(self, who: str | None) -> str | None:
        if who is None or self._is_known(who):
            return who
        self.missing.append(who)
        return None

    def time(self, when: str | None) -> str | None:
        """A date must be in the document; so must the words of «до пятницы»."""
        return self._known_time(when, self._document.facts)

    def deadline(self, when: str | None) -> str | None:
        """The date a message was sent on is none."""
        if when is not None and self._bodies is None:
            self._bodies = DocumentFacts(_SENT.sub("", self._document.text))
        return self._known_time(when, self._bodies or self._document.facts)

    def _known_time(self, when: str | None, present: DocumentFacts) -> str | None:
        if when is None:
            return None
        facts = [found for found in measured_facts(when) if not found.fact.loose]
        if facts and all(present.holds(found) for found in facts):
            return when
        if not facts and self._has_words(when):
            return when
        self.missing.append(when)
        return None

    def is_said(self, text: str) -> bool:
        """Whole entries go only where next to nothing of them is there; else what is wrong in
        them is reported."""
        found = self._document.found(text)
        own: AnswerLanguage = "ru" if _CYRILLIC.search(text) else "en"
        in_language = self._document.share_of(own) >= _OWN_LANGUAGE
        if in_language and found is not None and found < _SUPPORTED:
            self.missing.append(text)
            return False
        self.missing.extend(unsupported(text, self._document))
        return True

    def _is_known(self, who: str) -> bool:
        emails = _EMAIL.findall(fold(who))
        if any(email not in self._folded for email in emails):
            return False
        bare = _NOT_A_NAME.sub(" ", who)
        names = [name.text for name in find_names(bare)]
        if not names:
            return bool(emails) or self._has_words(bare)
        if not all(self._document.facts.holds_name(name) for name in names):
            return False
        return len(names) != 2 or self._stand_together(names[0], names[1])

    def _stand_together(self, first: str, second: str) -> bool:
        """«Марат Лебедянская» is made of two persons. Other alphabets are taken on trust."""
        a, b = (re.escape(fold(name)[: max(3, len(name) - 2)]) for name in (first, second))
        if not (re.search(rf"\b{a}", self._folded) and re.search(rf"\b{b}", self._folded)):
            return True
        gap = rf"[^\n]{{0,{_NEAR}}}?"
        near = rf"\b{a}\w*{gap}\b{b}|\b{b}\w*{gap}\b{a}"
        return re.search(near, self._folded) is not None

    def _has_words(self, text: str) -> bool:
        words = [w for w in _WORD.findall(fold(text)) if len(w) >= _LEAST_STEM]
        return bool(words) and any(self._document.has_word(w) for w in words)

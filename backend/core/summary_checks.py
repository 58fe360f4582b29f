"""Is what a model wrote a summary at all? Decided without another model.

Nothing wrong may pass, and a false alarm costs a repeated call and then an error, so each test
looks for what right summaries do not do: they quote, list, tabulate and keep foreign terms.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from backend.core.facts import fold
from backend.core.language import AnswerLanguage
from backend.core.no_answer import is_no_answer
from backend.core.sentences import sentence_spans
from backend.core.summary_language import language_fault
from backend.core.summary_source import SourceText

Reason = Literal["empty", "language", "nonsense", "format", "cut"]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_THOUGHT = re.compile(
    r"<(think|thinking|reasoning|reflection)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)
_THOUGHT_TAG = re.compile(r"</?(?:think|thinking|reasoning|reflection)>", re.IGNORECASE)
_CONTROL = re.compile(
    r"<\|[\w ]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</?(?:document|source"
    r"|part|summary|text)\b[^>\n]*>|^\s*(?:system|user|assistant)\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_MARKUP_PAGE = re.compile(r"\s*(?:<!doctype|<\?xml|<html|<head|<body|<div|<script)", re.IGNORECASE)
_ERROR = re.compile(
    r"\A\W*(?:(?:http/\S+ |error:?\s*|http\s?|status:?\s*|code:?\s*)?[45]\d\d\b"
    r"[\s:—-]*(?:bad|internal|service|gateway|not found|forbidden|unauthorized|too many)"
    r"|internal server error|bad gateway|gateway time-?out|service unavailable|too many requests"
    r"|traceback \(most recent|(?:\w+\.)*\w+(?:error|exception):|error:)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|assistant)\b"
    r"|\bi(?:'m| am) (?:just )?an? (?:ai|(?:large )?language model)\b"
    r"|\bi(?:'m| am)(?: very| so| really)? (?:sorry|afraid)\b[^.\n]{0,60}?"
    r"\b(?:can(?:'t|not| not)|unable|not able|won't|don't|do not)\b"
    r"|\bi(?: simply)? (?:can(?:'t|not| not)|won't|am unable to|am not able to|'m unable to|"
    r"'m not able to|must decline|could not|couldn't)(?: to)? "
    r"(?:help|assist|fulfil|comply|provide|summari[sz]e|access|open|read|process|view|continue|do|"
    r"answer|create|generate|discuss|complete)"
    r"|\bi'm (?:unable|not able) to\b|\bi (?:don't|do not) (?:have access|see (?:any|a|the))"
    r"|\bкак (?:ии|искусственный интеллект|(?:большая )?языковая модель|ассистент)\b"
    r"|\bя\s?[—–-]?\s*(?:всего лишь |просто )?(?:ии|искусственный интеллект|(?:большая )?языковая"
    r" модель)\b"
    r"|\b(?:извините|простите|к сожалению|прошу прощения|сожалею)\b[^.\n]{0,40}?\bя?\s*(?:не"
    r" (?:могу|смогу|в состоянии|имею доступа|умею)|у меня нет)"
    r"|(?:\A|[.!?\n]\s*)я не (?:могу|смогу|имею доступа)\b[^.\n]{0,30}?(?:помо|выполн|предостав|"
    r"обработ|созда|отве|прочит|открыт|доступ|пересказ|составит|обсужд|продолж)"
)
_ASKS_FOR_TEXT = re.compile(
    r"\b(?:please|could you|can you|kindly)\b[^.\n]{0,40}\b(?:provide|share|paste|upload|send)\b"
    r"[^.\n]{0,40}\b(?:document|text|content|file)|\bпожалуйста\b[^.\n]{0,30}\b(?:предоставьте"
    r"|пришлите|вставьте|отправьте|загрузите|предоставь|пришлите|укажите)\b[^.\n]{0,40}"
    r"(?:текст|документ|содержани|файл)|\b(?:how (?:can|may) i (?:help|assist)|чем (?:я )?могу"
    r" (?:вам )?помочь)"
)
# UTF-8 read as cp1251 («РџСЂРё»), latin-1 ("ÐŸÑ€Ð¸", "â€™") or replaced.
_MOJIBAKE = re.compile(
    r"[РС][\u0080-\u00bf\u0402-\u040f\u0450-\u045f\u0490\u0491\u2013-\u203a\u20ac\u2116\u2122]"
    r"|[РС][А-Яа-я](?=[РС][\u0080-\u00bf\u0400-\u045f\u2013-\u2122])"
    r"|[ÐÑ][\u0080-\u00bf\u0152-\u0178\u02c6-\u02dc\u2013-\u2122]|[ÃÂâ][\u0080-\u00bf€™œ]|\ufffd"
)
_UPSIDE_DOWN = re.compile(r"\b[а-яё][А-ЯЁ]{3,}")  # KOI8-R read as cp1251: «оПХБЕР»
_LOREM = frozenset(
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed eiusmod tempor incididunt labore "
    "dolore magna aliqua veniam nostrud exercitation ullamco laboris nisi aliquip commodo".split()
)
_HEADING = re.compile(r"^\s*(?:#{1,6}\s.*|\*\*[^*]+\*\*:?|__[^_]+__:?|[^.!?\n]{1,80}:)\s*$")
_ITEM = re.compile(r"^\s*(?:[-*•–—+]|\d{1,3}[.)]|\|)")
_DANGLING = re.compile(
    r"(?:[,(\[{«„“–—-]|\b(?:и|в|во|на|с|со|к|о|об|по|из|от|до|для|при|а|но|или|что|the|a|an|of|and"
    r"|to|in|with|by|for|from|or|that))\s*\Z",
    re.IGNORECASE,
)
_LONG_RUN = re.compile(r"([^\W\d_])\1{7,}|([^\s\w|=*#.~-])\2{5,}")
_LETTER_SOUP = re.compile(r"[bcdfghjklmnpqrstvwxz]{6,}|[бвгджзклмнпрстфхцчшщ]{6,}")
_SPELLED = re.compile(r"[a-zа-я]{5,}")
_VOWEL = re.compile(r"[aeiouyаеёиоуыэюяіїєáéíóúäöü]")

_JOINS = {
    "ru": frozenset("и в во на с со не по для о об от из за к при до что как или у".split()),
    "en": frozenset("the a an of to in and for is are was on by with from at or as".split()),
}
_ENOUGH_WORDS = 12
_SHORT_SOURCE = 600  # characters; a summary of less may be a line
_LEAST_WORDS = 3
_HEADING_WORDS = 9
_RUN_WORDS = 6
_REPEATED_SHARE = 0.3
_ONE_WORD_SHARE = 0.35
_ONE_WORD_LEAST = 12
_ECHO_WORDS = 5
_COPY_CHARS = 2500
_COPY_SHARE = 0.95
_MOJIBAKE_SHARE = 0.01
_SOUP_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Fault:
    """``detail`` says what is wrong, without quoting the text: it may go into a log."""

    reason: Reason
    detail: str


def find_fault(
    text: str,
    source: SourceText,
    language: AnswerLanguage,
    *,
    cut: bool = False,
    instructions: str = "",
) -> Fault | None:
    """The first thing that makes ``text`` no summary of ``source``, or None.

    ``cut``: the model ran out of tokens. ``instructions`` is the prompt without the document: a
    model that repeats it has not answered.
    """
    return (
        _empty(text)
        or _format(text, source)
        or _refusal(text, source)
        or _noise(text, source)
        or _echo(text, source, instructions)
        or _loop(text)
        or _language(text, source, language)
        or _only_heading(text, source)
        or _cut(text, cut)
        or _unrelated(text, source, language)
    )


def _empty(text: str) -> Fault | None:
    bare = _THOUGHT.sub("", text)
    if _WORD.search(bare) is None or not any(c.isalpha() for c in bare):
        return Fault("empty", "it has no words")
    return None


def _format(text: str, source: SourceText) -> Fault | None:
    if _THOUGHT_TAG.search(text) and not _THOUGHT_TAG.search(source.text):
        return Fault("format", "it holds tags of reasoning")
    if any(match[0] not in source.text for match in _CONTROL.finditer(text)):
        return Fault("format", "it holds control tokens or tags of the prompt")
    if _MARKUP_PAGE.match(text) or _is_json(text):
        return Fault("format", "it is markup or JSON, not prose")
    if _ERROR.match(text):
        return Fault("format", "it is an error message")
    return None


def _is_json(text: str) -> bool:
    bare = re.sub(r"\A\s*```\w*\s*|\s*```\s*\Z", "", text).strip()
    if not bare.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(bare), (dict, list))
    except ValueError:
        return re.match(r"[{\[]\s*[\"{]", bare) is not None


def _refusal(text: str, source: SourceText) -> Fault | None:
    folded = fold(text).replace("’", "'")
    found = _REFUSAL.search(folded)
    if found and found[0].strip() not in fold(source.text).replace("’", "'"):
        return Fault("nonsense", "it is a refusal")
    if is_no_answer(text) or (len(text) < _SHORT_SOURCE and _ASKS_FOR_TEXT.search(folded)):
        return Fault("nonsense", "it says that there is nothing to summarize")
    return None


def _noise(text: str, source: SourceText) -> Fault | None:
    broken = len(_MOJIBAKE.findall(text)) + len(_UPSIDE_DOWN.findall(text))
    if broken > max(2, _MOJIBAKE_SHARE * len(text)) and not _MOJIBAKE.search(source.text):
        return Fault("nonsense", "its letters are of a wrong encoding")
    words = _folded_words(text)
    unknown = [w for w in words if w not in source.facts.words and _SPELLED.fullmatch(w)]
    if len(_LOREM.intersection(unknown)) >= 3:
        return Fault("nonsense", "it is filler text")
    soup = [w for w in unknown if _LETTER_SOUP.search(w) or not _VOWEL.search(w)]
    if len(soup) >= 2 and len(soup) > _SOUP_SHARE * len(words):
        return Fault("nonsense", "it is made of random letters")
    if any(match[0] not in source.text for match in _LONG_RUN.finditer(text)):
        return Fault("nonsense", "it repeats one sign")
    return None


def _echo(text: str, source: SourceText, instructions: str) -> Fault | None:
    said = " ".join(_folded_words(text))
    for line in _instruction_lines(instructions):
        if line in said and line not in " ".join(_folded_words(source.text)):
            return Fault("nonsense", "it repeats the prompt")
    if len(source.text) >= _COPY_CHARS and len(text) >= _COPY_SHARE * len(source.text):
        found = source.found(text)
        if found is not None and found >= _COPY_SHARE:
            return Fault("nonsense", "it copies the text instead of summarizing it")
    return None


def _instruction_lines(instructions: str) -> Iterator[str]:
    for start, end in sentence_spans(instructions):
        words = _folded_words(_ITEM.sub("", instructions[start:end]))
        if len(words) >= _ECHO_WORDS:
            yield " ".join(words)


def _loop(text: str) -> Fault | None:
    words = _folded_words(text)
    if len(words) >= _ONE_WORD_LEAST:
        _, most = Counter(words).most_common(1)[0]
        if most > _ONE_WORD_SHARE * len(words):
            return Fault("nonsense", "it repeats one word")
    for part in (words, words[len(words) // 2 :]):
        runs = [tuple(part[i : i + _RUN_WORDS]) for i in range(len(part) - _RUN_WORDS + 1)]
        repeated = len(runs) - len(set(runs))
        if repeated >= _RUN_WORDS and repeated > _REPEATED_SHARE * len(runs):
            return Fault("nonsense", "it repeats itself")
    lines = [" ".join(_folded_words(text[a:b])) for a, b in sentence_spans(text)]
    said = Counter(line for line in lines if line.count(" ") >= 2)
    if said and said.most_common(1)[0][1] >= 3:
        return Fault("nonsense", "it repeats a sentence")
    return None


def _only_heading(text: str, source: SourceText) -> Fault | None:
    lines = [line for line in text.splitlines() if line.strip()]
    rest = [line for line in lines if not _HEADING.match(line)]
    if not rest:
        return Fault("empty", "it has headings only")
    words = _folded_words(" ".join(rest))
    ends = rest[-1].rstrip(' *_»")')[-1:] in (".", "!", "?", "…")
    is_title = len(rest) == 1 and len(words) < _HEADING_WORDS and not ends
    says_little = len(words) < _LEAST_WORDS or (is_title and not _ITEM.match(rest[0]))
    if says_little and len(source.text) >= _SHORT_SOURCE:
        return Fault("empty", "it is a title or a word, not a summary")
    return None


def _language(text: str, source: SourceText, language: AnswerLanguage) -> Fault | None:
    detail = language_fault(text, source, language)
    return Fault("language", detail) if detail else None


def _cut(text: str, cut: bool) -> Fault | None:
    if cut:
        return Fault("cut", "the tokens ran out before its end")
    if _DANGLING.search(text.rstrip()):
        return Fault("cut", "it ends in the middle of a sentence")
    return None


def _unrelated(text: str, source: SourceText, language: AnswerLanguage) -> Fault | None:
    relation = source.relation(text, language)
    if relation == "other":
        return Fault("nonsense", "it is not about this text")
    words = _folded_words(text)
    joins = _JOINS[language].intersection(words)
    if relation == "unsure" and len(words) >= _ENOUGH_WORDS and not joins:
        return Fault("nonsense", "its words make no sentences")
    return None


def _folded_words(text: str) -> list[str]:
    return _WORD.findall(fold(text))

"""What a summary says in figures, dates and names that its document does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from backend.core.document_facts import MeasuredFact, measured_facts
from backend.core.facts import Fact, fold
from backend.core.language import AnswerLanguage
from backend.core.names import Name, find_names, is_acronym, is_like_surname
from backend.core.summary_source import SourceText

Span = tuple[int, int]

_LIST_NUMBER = re.compile(r"^[ \t>*_#]*(?:[-*•]\s*)?\d{1,3}(?=[.)](?:\s|$|\*))", re.MULTILINE)
_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t].*|\*\*[^*\n]{1,80}\*\*:?[ \t]*$|[^.!?\n:]{1,60}:[ \t]*$)"
    r"|^[ \t]*(?:[-*•]|\d{1,3}[.)])?[ \t]*\*\*[^*\n]{1,60}\*\*(?=[ \t]*[:—–-])"
    r"|\*\*[^*\n]{1,60}:\*\*",
    re.MULTILINE,
)
# What a summary counts itself: "three decisions", «пять вопросов».
_COUNTED_BY_SUMMARY = re.compile(
    r"[ \u00a0](?:\w+\s){0,2}?(?:решени|поручени|вопрос|пункт|тем|участник|раздел|част|этап|причин|"
    r"вариант|задач|предложени|вывод|замечани|риск|письм|письма|сообщени|человек|стор|момент|шаг|"
    r"аспект|направлени|категори|групп|тип|вид|событи|основн|ключев|главн|следующ|"
    r"decision|action|item|question|point|topic|participant|section|part|stage|phase|reason|option|"
    r"task|proposal|conclusion|remark|risk|mail|email|letter|message|people|person|side|step|"
    r"aspect|area|categor|group|type|kind|event|main|key|major|following)"
)
_MOST_COUNTED = 12
_HEDGED = re.compile(
    r"(?:\b(?:около|примерно|порядка|почти|приблизительно|более(?: чем)?|свыше|менее(?: чем)?|"
    r"больше|меньше|about|around|approximately|roughly|nearly|almost|some|"
    r"over|more than|less than|under|up to)\s|~|≈)[$€£]?$"
)
_HEDGE_CHARS = 16
_HEDGED_SHARE = Decimal("0.02")
_NUMBER = re.compile(r"\d+(?:[.,](\d+))?(?![\d ]*\d)")
_ROUND_WORD = re.compile(r"тыс|млн|млрд|трлн|миллион|миллиард|thousand|million|billion|bn|[km]\b")
_WEEKDAYS_AND_MONTHS = (
    "monday tuesday wednesday thursday friday saturday sunday january february march april may "
    "june july august september october november december понедельник вторник среда четверг "
    "пятница суббота воскресенье "
)
# Words that summaries write with a capital of their own accord.
_OF_SUMMARIES = frozenset(
    (
        _WEEKDAYS_AND_MONTHS
        + """action actions item items key point points decision decisions summary overview
        background next step steps open question questions topic topics participant participants
        deadline deadlines owner conclusion conclusions finding findings detail details main
        purpose scope result results timeline budget risk risks note notes status update updates
        date project team meeting document report email chat thread conversation discussion
        agreement contract customer contractor company specification protocol system section
        stage phase part plan work works russian english russia документ протокол участники
        решения поручения сроки темы вопросы итоги вывод выводы резюме проект команда отчет
        письмо переписка чат договор заказчик исполнитель компания раздел срок ответственный"""
    ).split()
)
_TRANSLATABLE_LEAST = 4
_OWN_LANGUAGE = 0.5
_SURE_SURNAME = re.compile(r"(?:[бвгджзклмнпрстфхцчшщ]ов|[вгджзлнрстчшщь]ев|ова|ева|енко|швили)$")
_LIKE_SURNAMES = frozenset(
    "снова основа готов готова слова такова какова каков таков голова остров новая здоров "
    "здорова сурова половина условна корова обнова подкова сперва дрова хлев лев".split()
)
_KINDS = frozenset(
    "river island islands lake sea mountain mountains road street bridge city town state county "
    "north south east west lower upper new old great church park bowl war king queen prince law "
    "act bank club group house board team league union party empire kingdom valley bay coast hill "
    "plateau field square station airport school college institute museum hotel protestants rome "
    "река остров острова озеро море гора горы улица мост город штат округ церковь парк война "
    "король закон банк клуб группа дом совет союз партия империя школа музей".split()
)
# Endings of words that are translated, whatever they name: University, Brotherhood, «Комитет».
_COMMON_NOUN = re.compile(
    r"(?:tion|sion|ment|ness|ity|ship|hood|ance|ence|ism|ing|ical|ional|ous|ive|ology|graphy|ure|"
    r"ter|ction|ure|ery|ary|ory|ian|ish|can|ции|ция|цию|цией|ение|ения|ению|ением|ание|ания|"
    r"ость|ости|остью|тель|теля|тели|телей|тету?а?|ство|ства|ству|ством|изм|изма|ник|ика|ики|"
    r"ический|ская|ское|ского|ской|альный|альная|альное|ный|ная|ное|ные|ных|ного|ной)$"
)


def unsupported(summary: str, document: SourceText) -> tuple[str, ...]:
    """As they stand in the summary, each once, in order. CPU work of milliseconds.

    Not reported: numbers of list items, small counts of what the summary itself lists («три
    решения»), roundings of figures that are there, words capitalised as a heading or at the start
    of a sentence, and between two languages names that are translated rather than spelled out.
    """
    facts = list(measured_facts(summary))
    wrong = [*_wrong_facts(summary, facts, document), *_wrong_names(summary, facts, document)]
    return tuple(dict.fromkeys(summary[start:end].strip() for start, end in sorted(wrong)))


def _wrong_facts(
    summary: str, facts: Sequence[MeasuredFact], document: SourceText
) -> Iterator[Span]:
    folded = fold(summary)
    numbering = {i for m in _LIST_NUMBER.finditer(summary) for i in range(*m.span())}
    for found in facts:
        fact = found.fact
        if fact.loose or fact.start in numbering or _is_own_count(fact, folded):
            continue
        if not document.facts.holds(found, slack=_slack(fact, folded)):
            yield _with_measure(found, folded)


def _with_measure(found: MeasuredFact, folded: str) -> Span:
    """The unit makes the figure wrong as often as the digits do."""
    end = found.fact.end
    if found.measure:
        match = re.compile(r"[ \u00a0\u202f-]{0,2}[^\s.,;)]+").match(folded, end)
        end = match.end() if match else end
    return found.fact.start, end


def _is_own_count(fact: Fact, folded: str) -> bool:
    """A small number of nothing in particular, before a word that says what is listed."""
    if fact.unit is not None or not all(
        isinstance(r, Decimal) and 0 < r <= _MOST_COUNTED for r in fact.readings
    ):
        return False
    return _COUNTED_BY_SUMMARY.match(folded, fact.end) is not None


def _slack(fact: Fact, folded: str) -> Decimal:
    """1,482,000 is «1,5 млн» and "about 1.5 million", but not 1.6."""
    said = folded[fact.start : fact.end]
    value = next((r for r in fact.readings if isinstance(r, Decimal)), None)
    number = _NUMBER.match(said)
    hedged = _HEDGED.search(folded[max(0, fact.start - _HEDGE_CHARS) : fact.start])
    if value is None or not (hedged or (number and _ROUND_WORD.search(said))):
        return Decimal(0)
    last_place = Decimal(0)
    if number and (digits := Decimal(number[0].replace(",", "."))):
        last_place = abs(value / digits) * Decimal(10) ** -len(number[1] or "")
    return max(last_place / 2, abs(value) * _HEDGED_SHARE if hedged else Decimal(0))


def _wrong_names(
    summary: str, facts: Sequence[MeasuredFact], document: SourceText
) -> Iterator[Span]:
    taken = {i for found in facts for i in range(found.fact.start, found.fact.end)}
    headings = {i for m in _HEADING.finditer(summary) for i in range(*m.span())}
    names = find_names(summary)
    run: list[Name] = []
    for i, name in enumerate(names):
        known = (
            name.start in taken
            or fold(name.text) in _OF_SUMMARIES
            or not _is_named(names, i, name.start in headings)
            or _is_there(name, names, i, summary, document)
        )
        if run and (known or not _adjoin(run[-1], name, summary)):
            yield run[0].start, run[-1].end
            run = []
        if not known:
            run.append(name)
    if run:
        yield run[0].start, run[-1].end


def _is_named(names: Sequence[Name], i: int, in_heading: bool) -> bool:
    """Whether the capital is that of a name and not of a sentence or a heading."""
    name = names[i]
    if is_like_surname(name.text) and (name.certain or _is_surname_for_sure(name.text)):
        return True
    if in_heading:
        return False
    following = names[i + 1] if i + 1 < len(names) else None
    return name.certain or (
        following is not None and following.certain and following.start == name.end + 1
        and not is_acronym(following.text)
    )  # fmt: skip


def _is_surname_for_sure(word: str) -> bool:
    """At the start of a sentence; «Причина» and «Российская» have endings of surnames too."""
    folded = fold(word)
    return _SURE_SURNAME.search(folded) is not None and folded not in _LIKE_SURNAMES


def _is_there(
    name: Name, names: Sequence[Name], i: int, summary: str, document: SourceText
) -> bool:
    if document.facts.holds_name(name.text) or document.has_word(fold(name.text)):
        return True
    own: AnswerLanguage = "ru" if "\u0400" <= name.text[0] <= "\u04ff" else "en"
    if document.share_of(own) >= _OWN_LANGUAGE:
        # In the document's own language a word that starts a sentence is rarely a name.
        return not name.certain and not is_like_surname(name.text)
    return not _keeps_its_sound(names, i, summary, document)


def _keeps_its_sound(names: Sequence[Name], i: int, summary: str, document: SourceText) -> bool:
    """Names of persons and in quotes are spelled out abroad; «Лондон», "University" are not.

    A word before a name that is there is its translated half, as in "Project Horizon"; one
    behind it is so where it says what kind of thing that is: "Missouri River".
    """
    name = names[i]
    folded = fold(name.text)
    if is_acronym(name.text) or _COMMON_NOUN.search(folded) or folded in _KINDS:
        return False
    quoted = summary[: name.start].endswith(("«", "“")) and len(name.text) >= _TRANSLATABLE_LEAST
    return (
        quoted
        or is_like_surname(name.text)
        or any(
            not is_acronym(other.text)
            and not _COMMON_NOUN.search(fold(other.text))
            and fold(other.text) not in _OF_SUMMARIES
            and (other.start < name.start or not document.facts.holds_name(other.text))
            for other in names[max(0, i - 1) : i + 2]
            if _adjoin(name, other, summary) or _adjoin(other, name, summary)
        )
    )


def _adjoin(first: Name, second: Name, summary: str) -> bool:
    return summary[first.end : second.start] in (" ", "\u00a0", "-")

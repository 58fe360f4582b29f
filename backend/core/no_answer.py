"""The sentence that says the documents hold no answer, and the ways models say it themselves."""

from __future__ import annotations

import re

from backend.core.language import AnswerLanguage

NO_ANSWER_RU = "В документах нет ответа на этот вопрос."
NO_ANSWER_EN = "The documents do not contain an answer to this question."

# What config/prompts asks the model to write: offered a whole sentence, small models take it
# far too often.
_SENTINELS = ("неизвестно", "unknown")
_LETTER = re.compile(r"[^\W\d_]")
_AROUND_SENTINEL = " \t\n.,!:;*_`\"'«»()[]0123456789"

# Parts of the patterns; "sources" is what was searched, "sought" what was looked for.
_FEW = r"(?:\S+\s+){0,2}?"
_SOURCES_RU = r"(?:источник|контекст|документ|материал|фрагмент|выдержк|текст)\w*"
_SOUGHT_RU = r"(?:ответ|информаци|сведени|данн|упоминани|указани)\w*"
_UNSAID_RU = (
    r"не (?:содерж|указ|найд|нашл|нашел|упом|сказан|говор|привед|хват|раскры|позвол|отвеча|да[юе]т"
    r"|обнаруж|освещ|описан|определен|представл|предоставл|имеет)\w*"
)
_SOURCES_EN = (
    r"(?:documents?|sources?|context|excerpts?|materials?|passages?"
    r"|(?:provided|given) (?:text|information))"
)
_SOUGHT_EN = r"(?:answer|information|details?|mention|data|reference|indication)"
_NOT_EN = r"(?:(?:do|does|did|is|are|was|were|can) ?(?:not|n't)|cannot|can't|don't|doesn't|didn't)"
_TELL_EN = (
    r"(?:contain|provide|mention|include|state|specify|say|answer|hold|have|give|indicate|address"
    r"|discuss|list|offer|reveal)"
)
_TOLD_EN = (
    r"(?:mentioned|specified|stated|given|provided|included|found|listed|available|described"
    r"|contained|indicated|present)"
)

_SAYS_SO_RU = (
    # В источниках нет информации о складе. Об этом в документах не сказано.
    rf"\b{_SOURCES_RU}\s+(?:\S+\s+){{0,3}}?(?:нет|недостаточно)\s+{_FEW}{_SOUGHT_RU}",
    rf"\b(?:в|из)\s+{_FEW}{_SOURCES_RU}\s+(?:\S+\s+){{0,3}}?{_UNSAID_RU}",
    rf"\b(?:в|из)\s+{_FEW}{_SOURCES_RU}\s+(?:об )?(?:этого|этом|такого)\s+нет",
    rf"\b(?:{_UNSAID_RU}|нет|отсутству\w*)\s+(?:\S+\s+)?(?:в|из)\s+{_FEW}{_SOURCES_RU}$",
    # Источники не отвечают на вопрос. Документы не содержат сведений о цене.
    rf"\b(?:источник|контекст)\w*\s+{_FEW}{_UNSAID_RU}",
    rf"\b{_SOURCES_RU}\s+{_FEW}{_UNSAID_RU}\s+{_FEW}{_SOUGHT_RU}",
    # Информация об этом отсутствует. Нет данных.
    rf"^{_SOUGHT_RU}\s+(?:\S+\s+){{0,8}}?(?:{_UNSAID_RU}|нет|отсутству\w*|недостаточно)",
    rf"^(?:нет|недостаточно|не хватает|отсутству\w+)\s+{_FEW}{_SOUGHT_RU}",
    r"^(?:у меня|я)\s+(?:\S+\s+)?(?:нет|не (?:располагаю|имею|нашел|нашла|вижу))"
    rf"\s+{_FEW}{_SOUGHT_RU}",
    # Не могу ответить. Невозможно определить.
    r"^(?:я\s+)?не (?:знаю|располагаю|владею)",
    r"^(?:я\s+)?не могу (?:\S+\s+)?(?:ответ|дать|найти|определить|сказать|предоставить)",
    rf"^{_FEW}не (?:удалось|удается) (?:найти|определить|установить)",
    r"\b(?:невозможно|нельзя) (?:\S+\s+)?(?:ответить|определить|установить|сказать)",
    r"^(?:нет ответа|неизвестно|нет данных)$",
)
_SAYS_SO_EN = (
    # The sources do not mention the CEO. It is not stated in the documents.
    rf"\b{_SOURCES_EN}\s+(?:\S+\s+){{0,2}}?{_NOT_EN}\s+{_FEW}{_TELL_EN}",
    rf"\b(?:not|nowhere) {_TOLD_EN} (?:in|by) {_FEW}{_SOURCES_EN}$",
    rf"^(?:not|nothing) {_FEW}(?:in|by) {_FEW}{_SOURCES_EN}",
    # There is no information. The information is not available.
    rf"\bthere (?:is|are|was|were) (?:no|not (?:any|enough)|insufficient)\s+{_FEW}{_SOUGHT_EN}",
    rf"^(?:no|not enough|insufficient)\s+{_FEW}{_SOUGHT_EN}",
    rf"^(?:(?:the|this|that)\s+)?(?:\S+\s+)?{_SOUGHT_EN}\s+(?:\S+\s+){{0,6}}?(?:is|are|was|were)"
    r" (?:not|unavailable|missing|absent)",
    # I cannot answer. It is impossible to say.
    r"^(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't|did not|didn't|am unable to"
    r"|was unable to) (?:know|have|find|answer|determine|see|tell|provide)",
    r"\b(?:it is|it's) (?:not possible|impossible) to (?:answer|determine|say|tell|know)",
    r"^(?:unknown|no answer|n/a)$",
)
_SAYS_SO = re.compile("|".join(_SAYS_SO_RU + _SAYS_SO_EN))

_SORRY = re.compile(
    r"^(?:(?:к сожалению|извините|простите|увы|прошу прощения|unfortunately|sorry|i'm sorry"
    r"|i am sorry|i apologi[sz]e|ответ:|answer:)[\s,.!:—-]*(?:но\s+|but\s+)?)+"
)
# What may stand beside it without being an answer: advice and offers to help.
_COURTESY = re.compile(
    r"^(?:пожалуйста|уточните|обратитесь|попробуйте|если (?:у вас|вам|вы)|рекоменду"
    r"|возможно, (?:вам|стоит)|для (?:ответа|получения)|нужн\w+ (?:дополнительн|друг)"
    r"|please|try|you (?:may|can|could|might)|if you|consider|let me know|feel free|could you"
    r"|additional information)"
)
_DECORATION = re.compile(
    r"[*_`#>«»\"“”„|]+|[\[【]\s*\d[\d\s,;–-]*[\]】]|[\U0001f300-\U0001faff\u2600-\u27bf]"
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_SUBSTANCE_AFTER = re.compile(r"[,;]\s*(?:но|однако|зато|but|however|though)\s+\S")


def is_sentinel(text: str) -> bool:
    """Whether this is the one word the prompts ask for when the sources are silent."""
    return text.strip(_AROUND_SENTINEL).casefold() in _SENTINELS


def says_nothing(text: str) -> bool:
    """Whether a text that is no answer has no words of its own to show."""
    return is_sentinel(text) or not _LETTER.search(text)


def may_become_sentinel(text: str) -> bool:
    """Whether what has been written so far can still turn out to be that word."""
    begun = text.strip(_AROUND_SENTINEL).casefold()
    return any(sentinel.startswith(begun) for sentinel in _SENTINELS)


def no_answer(language: AnswerLanguage) -> str:
    """The sentence that says the documents do not hold the answer."""
    return NO_ANSWER_RU if language == "ru" else NO_ANSWER_EN


def is_no_answer(text: str) -> bool:
    """True when the whole text says that there is no answer, politeness and advice aside.

    "Нет, договор не продлевается [1]." is an answer, and so is a text that says what it did
    not find and then what it found.
    """
    plain = _DECORATION.sub(" ", text.casefold().replace("ё", "е").replace("’", "'"))
    sentences = [_bare(s) for s in _SENTENCE_END.split(plain)]
    sentences = [s for s in sentences if s]
    if not sentences:
        return True
    said = [_SAYS_SO.search(s) is not None for s in sentences]
    others = [s for s, no in zip(sentences, said, strict=True) if not no]
    if not any(said) or any(_SUBSTANCE_AFTER.search(s) for s in sentences):
        return False
    return all(_COURTESY.search(s) for s in others)


def _bare(sentence: str) -> str:
    spaced = " ".join(sentence.split()).strip(" .,!?…:;-–—()")
    return _SORRY.sub("", spaced).strip(" .,!?…:;-–—()")

"""How a question is answered: from the retrieved chunks, from what is compressed of them, or from
one whole document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from backend.core.facts import fold
from backend.core.language import AnswerLanguage
from backend.core.ports import DocumentStore, VectorStore
from backend.core.types import DocumentRecord, ScoredChunk, StoredChunk
from backend.services.answers import AskRequest, Route
from backend.services.chat_model import ChatModel
from backend.services.prompt_fitting import FittedPrompt

_ASKED_FOR = {
    "normal": "asked for: the retrieved chunks go to the model as they are",
    "detailed": "asked for: the retrieved chunks go to the model as they are, never compressed",
    "summarize": "asked for: what was retrieved is compressed before the answer is written",
}
_PROSPECT = 2  # times the threshold in tokens of the embedder: longer documents are not counted

# --- questions for everything -------------------------------------------------------------------

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
_POLITE = re.compile(
    r"^(?:\W|(?:пожалуйста|прошу|можешь|можете|мог бы|могли бы|ты|вы|мне|нам|please|kindly|"
    r"(?:can|could|would|will) you(?: please)?|i (?:want|need|would like)|we (?:want|need))\b)+"
)
# One thing is asked for, or yes or no, whatever "all" and "summary" stand in the sentence.
_NARROW = re.compile(
    r"^(?:(?:а|и|но|and|but)\s+)?(?:(?:до|с|на|к|за|от|в|во|at|by|in|since|until)\s+)?"
    r"(?:когда|где|куда|откуда|сколько|чей|чья|чье|чьи|почему|зачем|како(?:й|го|му|м)\b|"
    r"как(?:ая|ую)\b|котор\w+|кому|кем|кто(?! все\b)|есть ли|\w+ ли\b|"
    r"when|where|why|how|which|whose|who(?!(?:'s| is| are) (?:all|every))|whom|"
    r"is|are|was|were|do|does|did|has|have|had)\b"
)
_THINGS_RU = (
    r"(?:документ(?:ы|ах|ов|ам)?|файл(?:ы|ах|ов)?|материал(?:ы|ах|ов)?|переписк[аеиу]|чат[ае]?|"
    r"проект[ае]?|договор(?:ы|ах|е|а)?|протокол(?:ы|ах|ов|е|а)?|отчет(?:ы|ах|ов|е|а)?|"
    r"пространств[оае]|папк[аеиу]|систем[аеуы]|компани[яию]|встреч(?:и|ах|у)?)\b"
)
_OVERVIEW_RU = r"(?:обзор|сводк|резюме|саммари|конспект|дайджест|пересказ|выжимк|итоги?\b)"
_BROAD_RU = (
    r"\bобо? вс(?:ем|ех|ей)\b|\bпро вс(?:е|ех)\b",
    r"\b(?:расскажи|опиши|покажи|выпиши|собери|назови|перечисли|выведи|дай|изложи|напиши|найди|"
    r"приведи|упомяни|укажи|объясни)\w*\s+(?:\w+\s+){0,4}?вс(?:е|ех|ю|я)\b",
    r"\bвс(?:е|ех)\s+(?!(?:ли|равно|еще|же|таки|время|это|этом)\b)(?:[^\W\d]+\s+){0,2}?"
    r"(?:решени|поручени|задач|срок|дат[аы]|риск|участник|документ|договор|вопрос|пункт|требовани|"
    r"этап|событи|изменени|проблем|замечани|сумм|платеж|ответствен|контакт|письм|сообщени|встреч|"
    r"тем[ыа]|вывод|факт|цифр|показател|упоминани|подробност|детал|мероприяти|работ[ыа]?\b)",
    r"\bвс[ею],? что\b|\bвсю (?:информаци|истори|картин|переписк)|\bвся (?:информаци|истори)",
    r"\bперечисли|\b(?:список|перечень) (?:всех|\w{3,}(?:ов|ев|ий|ей)\b)|"
    r"\bполн\w+ (?:список|перечень|картин)|^(?:список|перечень)\b|\bсоставь\w* (?:список|перечень)",
    r"\b(?:дай|дайте|сделай\w*|подготовь\w*|составь\w*|напиши\w*|нужен|нужна|нужно|хочу|"
    r"кратк\w+|коротк\w+|общ(?:ий|ая|ую|ее)|полн\w+|подробн\w+)\s+(?:\w+\s+){0,2}?"
    rf"{_OVERVIEW_RU}|^{_OVERVIEW_RU}",
    r"\b(?:суммаризир|суммируй|обобщи|подытож|подведи\w* итог|резюмир|перескажи|законспектир)",
    r"\bо чем (?:вообще |идет речь в |говорится в |эт[иао]т? |наш[иа]? |все |вся |весь )*"
    rf"{_THINGS_RU}",
    r"\b(?:расскажи|опиши|изложи|перескажи)\w*\s+(?:\w+\s+){0,3}?(?:о|об|про)\s+(?:\w+\s+)?"
    rf"{_THINGS_RU}",
    r"\b(?:основн|главн|ключев|важн)(?:ые|ых|ое|ым)\s+(?:\w+\s+)?(?:тем|тезис|вывод|момент|мысл|"
    r"иде|пункт|событи|решени|положени|итог)|^(?:самое )?(?:главное|важное)\b",
    r"\bв (?:общих чертах|целом)\b|\bобщ(?:ая|ую) картин|\b(?:по кажд(?:ому|ой)|о кажд(?:ом|ой))\b",
    r"\bчто (?:вообще )?(?:нового|происходит|есть|известно|содержится|написано|говорится) "
    r"(?:\w+ )?в (?:\w+ )?(?:документах|файлах|материалах|переписке|чате|пространстве|папке|"
    r"проекте)\b",
    r"\bкто все\b",
)
_OVERVIEW_EN = r"(?:overview|summary|recap|digest|synopsis|rundown|outline)\b"
_BROAD_EN = (
    r"\beverything\b|\ball about\b|\bthe (?:whole|full|entire|complete) (?:story|picture|project|"
    r"list|history|correspondence|discussion|documents?|space)\b",
    r"(?<!\bat )(?<!\bafter )\ball (?:of )?(?:the |our |your |their |these |those )?"
    r"(?:[a-z-]+ ){0,2}?[a-z-]{2,}s\b(?! reserved)|\bwho (?:is|are) all\b",
    r"\bevery (?:[a-z-]+ )?(?:decision|task|deadline|date|risk|participant|document|issue|item|"
    r"point|requirement|change|problem|question|meeting|person|step|detail)\b",
    r"\b(?:for|of|about|on) each (?:[a-z-]+ )?(?:document|meeting|file|project|participant|person|"
    r"letter|source|stage|section)\b",
    r"^(?:list|enumerate)\b|\b(?:give|show|make|write|prepare|provide|get|need|want)\b"
    rf"[^.?!]{{0,30}}\b(?:list of|review of|{_OVERVIEW_EN})",
    rf"\b(?:an?|brief|short|quick|general|high-level|full|complete|detailed) {_OVERVIEW_EN}",
    rf"^{_OVERVIEW_EN}|\btl;?dr\b|\bsummari[sz]e\b|\bsum up\b|\brecap\b|\bthe gist\b",
    r"\b(?:main|key|major|important|principal) (?:points|topics|themes|ideas|takeaways|findings|"
    r"decisions|facts|events|conclusions|messages)\b|\bbig picture\b|\bin general terms\b",
    r"\bwhat (?:is|are|do|does) (?:(?:the|these|this|those|our|all) )+(?:documents?|files?|"
    r"materials?|correspondence|project|space|collection|letters|e-?mails|chats?|notes) "
    r"(?:[a-z]+ )?(?:about|say|contain|cover)\b|\bwhat is (?:in|inside) (?:the|these|this|our) "
    r"(?:documents|files|space|folder|collection|chat)\b",
    r"\b(?:tell|describe|explain|walk)\b[^.?!]{0,20}\babout (?:the |this |our |these )"
    r"(?:whole |entire )?(?:project|documents|files|company|correspondence|space)\b",
)
_BROAD = re.compile("|".join(_BROAD_RU + _BROAD_EN))


def asks_for_breadth(question: str) -> bool:
    """Whether more is asked for than a few chunks say: everything, all of a kind, an overview."""
    sentences = _SENTENCE.split(fold(question).replace("’", "'"))
    asked = [_POLITE.sub("", sentence) for sentence in sentences]
    return any(_BROAD.search(one) and not _NARROW.match(one) for one in asked)


# --- questions about one document ---------------------------------------------------------------

_APART = re.compile(r"[\W_]+")
_CODE = re.compile(r"(?=[^\W_]*\d)[^\W_]+(?:[-./][^\W_]+)+|\d{4,}")
_LEAST_NAME_WORDS = 2
_LEAST_TITLE_WORDS = 3


def named_document(
    question: str, records: Sequence[DocumentRecord], best: str
) -> DocumentRecord | None:
    """The one document that the question names by its path, file name or title, or by a number of
    its file name if ``best``, the document of the best chunk, is that one. None where several are
    named as well."""
    asked = f" {' '.join(_words(question))} "
    plain = fold(question)
    by = [(_named_by(record, asked, plain, best), record) for record in records]
    named = [(name, record) for name, record in by if name]
    # "a/readme.md" names one readme.md, and not the other one as well.
    apart = [
        record for name, record in named if not any(name in other != name for other, _ in named)
    ]
    return apart[0] if len(apart) == 1 else None


def _named_by(record: DocumentRecord, asked: str, plain: str, best: str) -> str:
    """The longest name in the question that is one of the document; empty without any."""
    path = PurePosixPath(record.source)
    names = [record.source, path.name] if path.suffix else []
    if len(_words(path.stem)) >= _LEAST_NAME_WORDS:
        names.append(path.stem)
    title = (record.live.title if record.live else None) or ""
    if len(_words(title)) >= _LEAST_TITLE_WORDS:
        names.append(title)
    if record.doc_id == best:
        names += [code for code in _CODE.findall(fold(path.stem)) if _stands_in(code, plain)]
    spelled = [f" {' '.join(_words(name))} " for name in names]
    return max((name for name in spelled if name in asked), key=len, default="")


def _stands_in(code: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(code)}(?![\w-])", text) is not None


def _words(text: str) -> list[str]:
    return [word for word in _APART.split(fold(text)) if word]


class Library:
    """Documents by name, and whole."""

    def __init__(self, documents: DocumentStore, vectors: VectorStore) -> None:
        self._documents = documents
        self._vectors = vectors

    async def named(self, request: AskRequest, best: str) -> DocumentRecord | None:
        records = await self._documents.records(request.space_id)
        searched = [
            record
            for record in records
            if record.live and (not request.doc_types or record.live.doc_type in request.doc_types)
        ]
        return named_document(request.q, searched, best)

    async def chunks(self, doc_id: str) -> list[StoredChunk]:
        return await self._vectors.chunks(doc_id)


# --- the decision -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """``chunks`` are what the answer is made from, in the order of their numbers. ``prompt`` holds
    those that fit as they are; nothing is sent of it where they are compressed."""

    route: Route
    chunks: tuple[ScoredChunk, ...]
    prompt: FittedPrompt

    @property
    def compresses(self) -> bool:
        return self.route.mode == "summarize"


class Router:
    """Without a ``library`` no document is read whole."""

    def __init__(self, chat: ChatModel, library: Library | None) -> None:
        self._chat = chat
        self._library = library

    async def plan(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        *,
        fresh: bool = False,
    ) -> Plan:
        """``found`` is not empty; ``fresh`` asks the server for its window.

        Raises:
            ContextOverflow: not even the question fits.
            DependencyError: the server or the store cannot be asked.
        """
        prompt = await self._chat.fit(request.q, found, language, fresh=fresh)
        if request.mode != "auto":
            route = Route(request.mode, _ASKED_FOR[request.mode], prompt.found_tokens)
            return Plan(route, _in_prompt(request.mode, prompt, found), prompt)
        threshold = (await self._chat.room()).threshold
        if not self._chat.fitter.source_limit:  # the operator's own limit is there to save time
            threshold = min(threshold, prompt.source_room)
        whole, instead = await self._whole(request, language, found, threshold)
        if whole is not None:
            return whole
        route = _by_size(request.q, prompt, threshold, len(found), instead)
        return Plan(route, _in_prompt(route.mode, prompt, found), prompt)

    async def _whole(
        self,
        request: AskRequest,
        language: AnswerLanguage,
        found: Sequence[ScoredChunk],
        threshold: int,
    ) -> tuple[Plan | None, str]:
        """The plan to read one document, or what to say of the document that cannot be."""
        if self._library is None:
            return None, ""
        named = await self._library.named(request, found[0].stored.doc_id)
        doc_id = named.doc_id if named else _only_document(found)
        if doc_id is None:
            return None, ""
        chunks = await self._library.chunks(doc_id)
        too_long = (
            f"{named.source!r}, which is named, is too long to be read whole; " if named else ""
        )
        if not chunks or sum(s.chunk.token_count for s in chunks) > _PROSPECT * threshold:
            return None, too_long
        scores = {_place(one.stored): one for one in found}
        ordered = [scores.get(_place(stored), ScoredChunk(stored, 0.0)) for stored in chunks]
        prompt = await self._chat.fit(request.q, ordered, language)
        if prompt.left_out or prompt.found_tokens > threshold:
            return None, too_long
        why = "is named in the question" if named else "holds every retrieved chunk"
        others = sum(one.stored.doc_id != doc_id for one in found)
        reason = (
            f"{chunks[0].source!r} {why} and is read whole: its {prompt.found_tokens} tokens are "
            f"within the threshold of {threshold}"
        )
        if others:
            reason += f"; {others} retrieved chunks of other documents are not read"
        route = Route("whole_document", reason, prompt.found_tokens)
        return Plan(route, prompt.used, prompt), ""


def _by_size(
    question: str, prompt: FittedPrompt, threshold: int, count: int, instead: str
) -> Route:
    """``instead`` is what to say first."""
    tokens = prompt.found_tokens
    size = f"{count} chunks of {tokens} tokens"
    if asks_for_breadth(question):
        reason = f"{instead}the question asks for breadth: {size} are compressed"
        return Route("summarize", reason, tokens)
    if tokens > threshold:
        reason = f"{instead}{size} are over the threshold of {threshold}: they are compressed"
        return Route("summarize", reason, tokens)
    reason = f"{instead}{size} are within the threshold of {threshold}: they are read as they are"
    return Route("normal", reason, tokens)


def _in_prompt(
    mode: str, prompt: FittedPrompt, found: Sequence[ScoredChunk]
) -> tuple[ScoredChunk, ...]:
    return tuple(found) if mode == "summarize" else prompt.used


def _only_document(found: Sequence[ScoredChunk]) -> str | None:
    """The document that all chunks are of; a single chunk says nothing about that."""
    documents = {one.stored.doc_id for one in found}
    return documents.pop() if len(documents) == 1 and len(found) > 1 else None


def _place(stored: StoredChunk) -> tuple[str, int]:
    return stored.doc_id, stored.chunk.index

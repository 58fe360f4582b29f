"""Whether a model can do what it is given to do: chat, embed, rerank, guess ahead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.model_names import MOUNTED
from cli.doctor.servers import chat_servers, human_int

_RERANKER = re.compile(r"rerank|cross-encoder|ms-marco", re.IGNORECASE)
_EMBEDDER = re.compile(
    r"(^|[/_-])(bge|e5|gte|minilm|mpnet|labse)([_.-]|$)|embed|sentence-transformers/", re.IGNORECASE
)
_SPECIAL_TOKENS = 8  # begin, end, and the prefix "passage: "


def check(configuration: Configuration) -> Iterator[Finding]:
    yield from _chat(configuration)
    yield from _embedder(configuration)
    yield from _reranker(configuration)
    yield from _chunks(configuration)
    yield from _draft(configuration)
    yield from _guesses(configuration)
    yield from _adapters(configuration)


def _is_encoder(configuration: Configuration, model: str) -> bool:
    known = configuration.architecture(model)
    if known is not None:
        return not known.attention
    return bool(_RERANKER.search(model) or _EMBEDDER.search(model))


def _chat(configuration: Configuration) -> Iterator[Finding]:
    for server in chat_servers(configuration):
        name, model = server.model(configuration)
        if model and _is_encoder(configuration, model):
            yield configuration.finding(
                "error",
                "wrong_kind_of_model",
                name,
                f"{name}={model} is a model for embedding or reranking; {server.service} is to "
                "chat.",
                "It writes no text: vLLM refuses to start it, or every answer is refused.",
                f"{name}=Qwen/Qwen3-8B-AWQ",
            )


def _embedder(configuration: Configuration) -> Iterator[Finding]:
    model = configuration.value("EMBED_MODEL")
    if not model or configuration.value("EMBED_PROVIDER", "bundled") == "bundled":
        return
    known = configuration.architecture(model)
    chats = known is not None and bool(known.attention)
    if not chats and not _RERANKER.search(model):
        return
    kind = "chats" if chats else "only compares a question with a text"
    yield configuration.finding(
        "error",
        "wrong_kind_of_model",
        "EMBED_MODEL",
        f"EMBED_MODEL={model} is a model that {kind}.",
        "Its vectors say nothing about the meaning of a text, so nothing is found.",
        "EMBED_MODEL=intfloat/multilingual-e5-large",
    )


def _reranker(configuration: Configuration) -> Iterator[Finding]:
    model = configuration.value("RERANK_MODEL")
    if not model or configuration.value("RERANK_PROVIDER", "off") == "off":
        return
    known = configuration.architecture(model)
    chats = known is not None and bool(known.attention)
    if not chats and (_RERANKER.search(model) or not _EMBEDDER.search(model)):
        return
    kind = "chats" if chats else "makes vectors"
    yield configuration.finding(
        "error",
        "wrong_kind_of_model",
        "RERANK_MODEL",
        f"RERANK_MODEL={model} is a model that {kind}.",
        "It has no score for a question with a text: reranking fails.",
        "RERANK_MODEL=BAAI/bge-reranker-v2-m3",
    )


def _chunks(configuration: Configuration) -> Iterator[Finding]:
    """Chunks longer than the embedding model reads."""
    if configuration.settings is None or configuration.settings.embed_provider == "bundled":
        return
    chunk = configuration.settings.chunk_size_tokens + _SPECIAL_TOKENS
    served = human_int(configuration.value("EMBEDDING_MAX_MODEL_LEN"))
    started = configuration.starts("embedding")
    if started and served and served < chunk:
        yield configuration.finding(
            "error",
            "chunk_over_embedder",
            "EMBEDDING_MAX_MODEL_LEN",
            f"EMBEDDING_MAX_MODEL_LEN={served} is less than a chunk: CHUNK_SIZE_TOKENS="
            f"{chunk - _SPECIAL_TOKENS}, the prefix and two special tokens.",
            "vLLM refuses every longer chunk, and the document is not indexed.",
            f"EMBEDDING_MAX_MODEL_LEN={max(512, chunk)}",
        )
        return
    known = configuration.architecture(configuration.value("EMBED_MODEL"))
    if known is None or known.attention or known.context_window >= chunk:
        return
    yield configuration.beside(
        "EMBED_MODEL",
        "error" if started else "warning",
        "chunk_over_embedder",
        "CHUNK_SIZE_TOKENS",
        f"CHUNK_SIZE_TOKENS={chunk - _SPECIAL_TOKENS} with the prefix and two special tokens is "
        f"more than the {known.context_window} tokens that {known.name} reads.",
        "The end of each chunk is cut off and never found, or the server refuses it.",
        f"CHUNK_SIZE_TOKENS={known.context_window * 3 // 4}",
    )


def _draft(configuration: Configuration) -> Iterator[Finding]:
    servers = chat_servers(configuration)
    if not servers:
        return
    name, draft = _draft_model(configuration)
    model = servers[0].model(configuration)[1]
    small, large = configuration.architecture(draft), configuration.architecture(model)
    if small is None or large is None or small.vocabulary == large.vocabulary:
        return
    yield configuration.finding(
        "error",
        "other_vocabulary",
        name,
        f"{name}: {draft} has {small.vocabulary} tokens in its vocabulary, and {model} has "
        f"{large.vocabulary}.",
        "vLLM refuses to start: target and draft model should have the same vocabulary size.",
        configuration.written(name),
        "remove",
    )


def _guesses(configuration: Configuration) -> Iterator[Finding]:
    name = "VLLM_SPECULATIVE_CONFIG"
    try:
        given = json.loads(configuration.value(name) or "{}")
    except ValueError:
        return
    method = given.get("method") if isinstance(given, dict) else None
    if not given or method not in {"ngram", "draft_model"} or "num_speculative_tokens" in given:
        return
    yield configuration.finding(
        "error",
        "speculative_incomplete",
        name,
        f"{name} does not say how many tokens are guessed at a time: num_speculative_tokens.",
        "vLLM refuses to start.",
        f"{name}='{json.dumps({**given, 'num_speculative_tokens': 4})}'",
    )


def _adapters(configuration: Configuration) -> Iterator[Finding]:
    name = "VLLM_LORA_MODULES"
    value = configuration.value(name)
    if not value or not chat_servers(configuration):
        return
    paths = re.findall(r"=((?:[/~]|\.{1,2}/)[^\s,]*)", value)
    outside = [path for path in paths if not path.startswith(MOUNTED)]
    if outside:
        folder = outside[0].rstrip("/").rsplit("/", maxsplit=1)[-1]
        yield configuration.finding(
            "error",
            "path_not_mounted",
            name,
            f"{name} names {outside[0]}, a folder of this machine; the container has "
            "VLLM_MODELS_DIR at /models.",
            "vLLM finds no such adapter and stops.",
            f"{name}={value.replace(outside[0], f'/models/{folder}')}",
        )


def _draft_model(configuration: Configuration) -> tuple[str, str]:
    """The variable that names a small model which guesses ahead, and the model."""
    if model := configuration.value("VLLM_SPECULATIVE_MODEL"):
        return "VLLM_SPECULATIVE_MODEL", model
    name = "VLLM_SPECULATIVE_CONFIG"
    try:
        given = json.loads(configuration.value(name) or "{}")
    except ValueError:
        return name, ""
    if not isinstance(given, dict) or given.get("method", "draft_model") != "draft_model":
        return name, ""
    return name, "" if given.get("use_heterogeneous_vocab") else str(given.get("model") or "")

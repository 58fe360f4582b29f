"""Which variable a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from backend.settings import PREFIXES

# Letters of other alphabets that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеосрухіѕјкΑΒΕΖΗΙΚΜΝΟΡΤΥΧν",
    "ABESIJKMHOPCTYXaeocpyxisjkABEZHIKMNOPTYXv",
)
_TYPOGRAPHIC = str.maketrans(
    {
        **dict.fromkeys("“”„«»＂", '"'),
        **dict.fromkeys("‘’‚`´＇", "'"),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("\xa0\u2007\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\xad", ""),
    }
)

# What people know from elsewhere, and ours.
_FAMILIAR = {
    "HUGGINGFACE_TOKEN": "HF_TOKEN",
    "HUGGINGFACE_HUB_TOKEN": "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_API_KEY": "HF_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN": "HF_TOKEN",
    "HF_API_TOKEN": "HF_TOKEN",
    "HF_API_KEY": "HF_TOKEN",
    "HF_HUB_TOKEN": "HF_TOKEN",
    "CHUNK_OVERLAP": "CHUNK_OVERLAP_TOKENS",
    "CHUNK_SIZE": "CHUNK_SIZE_TOKENS",
    "EMBEDDING_MODEL": "EMBED_MODEL",
    "EMBEDDING_PROVIDER": "EMBED_PROVIDER",
    "EMBEDDING_URL": "EMBED_URL",
    "QDRANT_HOST": "QDRANT_URL",
    "RERANKER_MODEL": "RERANK_MODEL",
    "RERANKER_PROVIDER": "RERANK_PROVIDER",
    "RERANKER_URL": "RERANK_URL",
    "OLLAMA_URL": "LLM_OLLAMA_URL",
    "OLLAMA_BASE_URL": "LLM_OLLAMA_URL",
    "OLLAMA_NUM_CTX": "LLM_CONTEXT_WINDOW",
    "OLLAMA_CTX": "LLM_CONTEXT_WINDOW",
    "VLLM_URL": "LLM_VLLM_URL",
    "VLLM_BASE_URL": "LLM_VLLM_URL",
    "LLAMACPP_URL": "LLM_LLAMACPP_URL",
    "VLLM_TP": "VLLM_TENSOR_PARALLEL_SIZE",
    "VLLM_TP_SIZE": "VLLM_TENSOR_PARALLEL_SIZE",
    "VLLM_PP_SIZE": "VLLM_PIPELINE_PARALLEL_SIZE",
    "VLLM_MAX_LEN": "VLLM_MAX_MODEL_LEN",
    "VLLM_MAX_CONTEXT_LEN": "VLLM_MAX_MODEL_LEN",
    "VLLM_MAX_SEQ_LEN": "VLLM_MAX_MODEL_LEN",
    "VLLM_CONTEXT_LENGTH": "VLLM_MAX_MODEL_LEN",
    "VLLM_SERVED_MODEL_NAME": "SERVED_MODEL_NAME",
    "VLLM_SERVED_NAME": "SERVED_MODEL_NAME",
    "LLM_PROVIDER": "LLM_MODE",
    "LLM_MODEL_NAME": "LLM_MODEL",
    "MODEL_NAME": "LLM_MODEL",
    "LLM_URL": "LLM_VLLM_URL",
    "LLM_MAX_NEW_TOKENS": "LLM_MAX_TOKENS",
    "LLAMACPP_N_GPU_LAYERS": "LLAMACPP_GPU_LAYERS",
    "LLAMACPP_MODEL": "LLAMACPP_MODEL_FILE",
    "COMPOSE_PROFILE": "COMPOSE_PROFILES",
}

# Of Compose, Docker, Python, CUDA and the shell: not ours, and no misspelling of ours.
_FOREIGN = re.compile(
    r"(COMPOSE|DOCKER|BUILDKIT|NVIDIA|NCCL|PYTORCH|TORCH|PYTHON|PIP|GF|TZ|LANG|LC|HTTP|HTTPS|NO|"
    r"ALL)(_.*)?|PATH|HOME|USER|UID|GID|PUID|PGID|CUDA_(?!VISIBLE).*|HF_HOME|HF_HUB_.*",
    re.IGNORECASE,
)
_CLEARLY = 0.8
_PERHAPS = 0.7


@dataclass(frozen=True, slots=True)
class Guess:
    """``sure``: nothing else can have been meant."""

    name: str
    sure: bool


def as_ascii(text: str) -> str:
    """With look-alike letters, typographic quotes and full-width forms as plain ones."""
    plain = text.translate(_TYPOGRAPHIC).translate(_LOOK_ALIKES)
    return unicodedata.normalize("NFKC", plain)


def is_foreign(name: str) -> bool:
    return _FOREIGN.fullmatch(name) is not None


def has_our_prefix(name: str) -> bool:
    return as_ascii(name).upper().startswith((*PREFIXES, "EMBEDDING_", "RERANKER_", "HF_"))


def guess(name: str, known: Iterable[str]) -> Guess | None:
    """The known variable nearest to ``name``, None where none is near."""
    names = sorted(known)
    plain = as_ascii(name).upper().replace("-", "_").replace(".", "_").strip("_ ")
    if plain in names:
        return Guess(plain, sure=True)
    if plain in _FAMILIAR and _FAMILIAR[plain] in names:
        return Guess(_FAMILIAR[plain], sure=True)
    squeezed = {known_name.replace("_", ""): known_name for known_name in names}
    if (found := squeezed.get(plain.replace("_", ""))) is not None:
        return Guess(found, sure=True)
    if is_foreign(plain):
        return None
    return _part_of(plain, names) or _similar(plain, names)


def _similar(name: str, known: list[str]) -> Guess | None:
    cutoff = _PERHAPS if has_our_prefix(name) else _CLEARLY + 0.05
    near = [
        other
        for other in difflib.get_close_matches(name, known, n=5, cutoff=cutoff)
        if _alike_word_by_word(name, other)
    ]
    if not near:
        return None
    ratios = {other: difflib.SequenceMatcher(None, other, name).ratio() for other in near}
    # The shortest of the equally near ones is the plain variable.
    best = max(ratios, key=lambda other: (round(ratios[other], 2), -len(other)))
    return Guess(best, sure=ratios[best] >= _CLEARLY)


def _alike_word_by_word(name: str, other: str) -> bool:
    """QDRANT_HOST and QDRANT_PORT are near by their letters, and two things."""
    words, others = name.split("_"), other.split("_")
    if len(words) != len(others):
        return True
    return all(
        difflib.SequenceMatcher(None, word, right).ratio() > 0.55
        for word, right in zip(words, others, strict=True)
    )


def _part_of(name: str, known: list[str]) -> Guess | None:
    if "_" not in name or len(name) < 8:
        return None
    started = [other for other in known if other.startswith(f"{name}_")]
    if len(started) == 1:
        return Guess(started[0], sure=True)
    longer = [other for other in known if other.endswith(f"_{name}")]
    if not longer:
        return None
    return Guess(min(longer, key=lambda other: (other.count("_"), len(other))), sure=True)

"""``/v1/embeddings`` and ``/v1/rerank`` from models in this process."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Sequence

from backend.api.openai.errors import BadParameter
from backend.api.openai.schemas import EmbeddingBody, RerankBody, read
from backend.core.ports import Embedder, Reranker

JsonObject = dict[str, object]

MOST_INPUTS = 2048  # OpenAI's own limit


async def embed(embedder: Embedder, fields: JsonObject, model: str) -> JsonObject:
    """An input over the model's length is refused with both numbers: the vector of its
    beginning would pass for the vector of the text.

    Raises:
        BadParameter: tokens instead of text, other dimensions, too long, too many, empty.
    """
    body = read(EmbeddingBody, fields)
    texts = _texts(body)
    if body.dimensions not in (None, embedder.dimensions):
        raise BadParameter(
            "dimensions",
            f"`dimensions` {body.dimensions}: this model has {embedder.dimensions} only.",
        )
    counts = await asyncio.to_thread(lambda: [embedder.count_tokens(text) for text in texts])
    for index, count in enumerate(counts):
        if count > embedder.max_tokens:
            param = "input" if isinstance(body.input, str) else f"input[{index}]"
            raise BadParameter(
                param,
                f"`{param}` has {count} tokens, but the model takes {embedder.max_tokens}; "
                "split it.",
            )
    if body.input_type == "query":
        vectors = [await embedder.embed_query(text) for text in texts]
    else:
        vectors = list(await embedder.embed_passages(texts))
    encode = _base64 if body.encoding_format == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": encode(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return {"object": "list", "data": data, "model": model, "usage": usage}


async def rerank(reranker: Reranker, fields: JsonObject, model: str) -> JsonObject:
    """In the shape of Jina and vLLM: best first."""
    body = read(RerankBody, fields)
    scores = await reranker.scores(body.query, body.documents)
    ranked = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[: body.top_n]
    results = []
    for index, score in ranked:
        result: JsonObject = {"index": index, "relevance_score": score}
        if body.return_documents:
            result["document"] = {"text": body.documents[index]}
        results.append(result)
    return {"object": "list", "model": model, "results": results}


def _texts(body: EmbeddingBody) -> list[str]:
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > MOST_INPUTS:
        raise BadParameter("input", f"`input` holds {len(texts)} texts; at most {MOST_INPUTS}.")
    checked = [text for text in texts if isinstance(text, str)]
    if len(checked) < len(texts):
        raise BadParameter("input", "`input` must be text: this model takes no token numbers.")
    if not checked or not all(text.strip() for text in checked):
        raise BadParameter("input", "`input` must not be empty.")
    return checked


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as the OpenAI API has them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

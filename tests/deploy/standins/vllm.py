"""``vllm serve MODEL --flags`` with a real llama.cpp behind vLLM's names and routes.

Options are read as vLLM reads them; the model is a tiny one whatever was asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from tests.deploy.standins.engine import Served, Task, start
from tests.deploy.standins.vllm_arguments import Options, WrongArguments, parse_serve

MODELS = "/standins/models"
_FILES: dict[Task, str] = {
    "chat": "tiny.gguf",
    "embed": "tiny-embed.gguf",
    "rerank": "tiny-rerank.gguf",
}
_POOLING_WINDOW = 512
_HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding", "keep-alive"}


def main() -> None:
    if sys.argv[1:2] == ["--version"]:
        sys.stdout.write("0.32.0 (stand-in)\n")
        return
    if sys.argv[1:2] != ["serve"]:
        sys.exit(f"vllm: error: argument subparser: invalid choice: {sys.argv[1:2]}")
    try:
        model, options = parse_serve(sys.argv[2:])
    except WrongArguments as error:
        sys.stderr.write(f"vllm: error: {error}\n")
        sys.exit(2)
    sys.stderr.write(f"stand-in of vLLM serves {model} with {sorted(options)}\n")
    host = _one(options, "--host", "0.0.0.0")  # noqa: S104 - as vLLM
    port = int(_one(options, "--port", "8000"))
    uvicorn.run(application(model, options), host=host, port=port, log_level="warning")


def _one(options: Options, name: str, default: str) -> str:
    return options[name][0] if name in options else default


def task_of(model: str, options: Options) -> Task:
    if _one(options, "--runner", "auto") != "pooling":
        return "chat"
    return "rerank" if "rerank" in model.lower() else "embed"


def application(model: str, options: Options) -> FastAPI:
    task = task_of(model, options)
    window = int(_one(options, "--max-model-len", "4096"))
    window = window if task == "chat" else min(window, _POOLING_WINDOW)
    names = tuple(options.get("--served-model-name", [model]))
    key = _one(options, "--api-key", os.environ.get("VLLM_API_KEY", ""))
    engine = start(Served(f"{MODELS}/{_FILES[task]}", task, window, names))
    inner = httpx.AsyncClient(
        base_url=engine.listening_address, timeout=httpx.Timeout(None), trust_env=False
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await inner.aclose()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine = engine
    _add_key(app, key)
    _add_pages(app, model, names, window, options)
    _add_tokenize(app, inner, window)
    _add_proxy(app, inner, names)
    return app


def _add_key(app: FastAPI, key: str) -> None:
    """As in vLLM, only what is below /v1 asks for it."""

    @app.middleware("http")
    async def guarded(request: Request, go_on: Any) -> Response:
        given = request.headers.get("authorization", "")
        if key and request.url.path.startswith("/v1") and given != f"Bearer {key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        answer: Response = await go_on(request)
        return answer


def _add_pages(
    app: FastAPI, model: str, names: tuple[str, ...], window: int, options: Options
) -> None:
    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        entry = {"object": "model", "owned_by": "vllm", "root": model, "max_model_len": window}
        return {"object": "list", "data": [{"id": name} | entry for name in names]}

    @app.get("/metrics")
    async def metrics() -> Response:
        label = f'{{engine="0",model_name="{names[0]}"}}'
        return PlainTextResponse(
            f"vllm:num_requests_running{label} 0.0\nvllm:num_requests_waiting{label} 0.0\n"
        )

    @app.get("/server_info")
    async def server_info() -> Options:
        """What was passed on the command line, for the tests."""
        return options


def _add_tokenize(app: FastAPI, inner: httpx.AsyncClient, window: int) -> None:
    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, object]:
        body = await request.json()
        text = body.get("prompt")
        if text is None:
            variables = body.get("chat_template_kwargs", {})
            asked = {"messages": body["messages"], "chat_template_kwargs": variables}
            text = (await inner.post("/apply-template", json=asked)).json()["prompt"]
        asked = {"content": text, "parse_special": True}
        tokens = (await inner.post("/tokenize", json=asked)).json()["tokens"]
        return {"count": len(tokens), "max_model_len": window, "tokens": tokens}


def _add_proxy(app: FastAPI, inner: httpx.AsyncClient, names: tuple[str, ...]) -> None:
    @app.post("/v1/{path:path}")
    async def passed_on(path: str, request: Request) -> Response:
        asked = (await request.json()).get("model", names[0])
        if asked not in names:
            problem = {"message": f"The model `{asked}` does not exist.", "type": "NotFoundError"}
            return JSONResponse({"error": problem | {"code": 404}}, 404)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        sent = inner.build_request(
            "POST", f"/v1/{path}", content=await request.body(), headers=headers
        )
        answer = await inner.send(sent, stream=True)
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
        return StreamingResponse(_bytes(answer), answer.status_code, kept)


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


if __name__ == "__main__":
    main()

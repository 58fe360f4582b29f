"""``ollama serve | list | pull | ps | show``: the double of the tests as a program.

Models that were pulled are remembered in the folder of the models, as the real one does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx
import uvicorn

from tests.fakes.ollama_server import FakeOllama, streamed

PORT = 11434


def main() -> None:
    command, *rest = sys.argv[1:] or ["serve"]
    if command == "serve":
        uvicorn.run(Ollama(_models_file()), host="0.0.0.0", port=PORT, log_level="warning")  # noqa: S104
    elif command in {"list", "ls"}:
        sys.stdout.write("NAME\tID\tSIZE\tMODIFIED\n")
        for model in _ask("GET", "/api/tags").json()["models"]:
            sys.stdout.write(f"{model['name']}\t0123456789ab\t5.2 GB\tnow\n")
    elif command == "pull":
        for line in _ask("POST", "/api/pull", {"model": rest[-1]}).iter_lines():
            sys.stdout.write(f"{json.loads(line).get('status', line)}\n")
    else:
        sys.exit(f'Error: unknown command "{command}" for "ollama"')


class Ollama(FakeOllama):
    def __init__(self, models_file: Path) -> None:
        self._file = models_file
        known = json.loads(models_file.read_text()) if models_file.exists() else []
        super().__init__(models=tuple(known))

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/":
            return httpx.Response(200, text="Ollama is running")
        if request.url.path == "/api/pull":
            return self._pull(json.loads(await request.aread()))
        return await super().handle(request)

    def _pull(self, body: dict[str, str]) -> httpx.Response:
        self.models = (*self.models, body.get("model") or body["name"])
        self._file.write_text(json.dumps(self.models))
        total = 5_200_000_000
        states = [
            {"status": "pulling manifest"},
            {"status": "pulling a3de86cd1c13", "total": total, "completed": total},
            {"status": "verifying sha256 digest"},
            {"status": "success"},
        ]
        return streamed("".join(json.dumps(state) + "\n" for state in states).encode())


def _models_file() -> Path:
    folder = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "stand-in.json"


def _ask(method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
    try:
        answer = httpx.request(method, f"http://127.0.0.1:{PORT}{path}", json=body, trust_env=False)
    except httpx.TransportError:
        sys.exit("Error: could not connect to ollama server, run 'ollama serve' to start it")
    return answer.raise_for_status()


if __name__ == "__main__":
    main()

"""``llama-server``: a real llama.cpp that reads its options as the server's container does.

Every option has a flag and a LLAMA_ARG_ variable (tools/server/README.md of llama.cpp); the flag
wins. A variable or flag that the real server does not know is refused here, because there it
would be passed over.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.deploy.standins.engine import Served, start

# flag: variable. A flag without a value is in _SWITCHES.
_OPTIONS = {
    "--model": "LLAMA_ARG_MODEL",
    "--alias": "LLAMA_ARG_ALIAS",
    "--host": "LLAMA_ARG_HOST",
    "--port": "LLAMA_ARG_PORT",
    "--ctx-size": "LLAMA_ARG_CTX_SIZE",
    "--parallel": "LLAMA_ARG_N_PARALLEL",
    "--threads": "LLAMA_ARG_THREADS",
    "--threads-batch": "LLAMA_ARG_THREADS_BATCH",
    "--threads-http": "LLAMA_ARG_THREADS_HTTP",
    "--n-gpu-layers": "LLAMA_ARG_N_GPU_LAYERS",
    "--chat-template": "LLAMA_ARG_CHAT_TEMPLATE",
    "--api-key": "LLAMA_API_KEY",
    "--batch-size": "LLAMA_ARG_BATCH",
    "--ubatch-size": "LLAMA_ARG_UBATCH",
    "--flash-attn": "LLAMA_ARG_FLASH_ATTN",
    "--cache-type-k": "LLAMA_ARG_CACHE_TYPE_K",
    "--cache-type-v": "LLAMA_ARG_CACHE_TYPE_V",
    "--timeout": "LLAMA_ARG_TIMEOUT",
    "--metrics": "LLAMA_ARG_ENDPOINT_METRICS",
    "--slots": "LLAMA_ARG_ENDPOINT_SLOTS",
    "--no-slots": "LLAMA_ARG_NO_ENDPOINT_SLOTS",
    "--props": "LLAMA_ARG_ENDPOINT_PROPS",
    "--jinja": "LLAMA_ARG_JINJA",
    "--no-webui": "LLAMA_ARG_NO_WEBUI",
    "--webui": "LLAMA_ARG_WEBUI",
    "--offline": "LLAMA_OFFLINE",
}
_SWITCHES = {"--metrics", "--slots", "--no-slots", "--props", "--jinja", "--no-webui", "--offline"}
_SHORT = {"-m": "--model", "-a": "--alias", "-c": "--ctx-size", "-np": "--parallel"}
_SHORT |= {"-t": "--threads", "-ngl": "--n-gpu-layers", "-fa": "--flash-attn"}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = options_of(sys.argv[1:], os.environ)
    model = options.get("--model", "")
    if not Path(model).is_file():
        sys.exit(f"error: failed to load the model {model!r}: no such file")
    slots = int(options.get("--parallel", "1"))
    served = Served(
        model=model,
        task="chat",
        window=int(options.get("--ctx-size", "4096")) // slots,
        names=(options.get("--alias", Path(model).name),),
        host=options.get("--host", "127.0.0.1"),
        port=int(options.get("--port", "8080")),
        slots=slots,
        threads=max(1, int(options.get("--threads", "1"))),
        api_key=options.get("--api-key", ""),
    )
    engine = start(served)
    sys.stderr.write(f"stand-in of llama-server listens on {engine.listening_address}\n")
    while True:
        signal.pause()


def options_of(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Flag to value; flags win over variables, empty variables count as unset."""
    variables = {variable: flag for flag, variable in _OPTIONS.items()}
    found = {}
    for name, value in environment.items():
        if name in variables and value:
            found[variables[name]] = value
        elif name.startswith("LLAMA_ARG_") and name not in variables:
            sys.exit(f"error: llama-server knows no variable {name}")
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        flag = _SHORT.get(flag, flag)
        if flag not in _OPTIONS:
            sys.exit(f"error: invalid argument: {flag}")
        found[flag] = "1" if flag in _SWITCHES else rest.pop(0)
    return found


if __name__ == "__main__":
    main()

"""The context window against the model, the answer and the sources, in tokens."""

from __future__ import annotations

from collections.abc import Iterator

from backend.settings import Settings
from cli.doctor.configuration import Configuration
from cli.doctor.findings import Finding
from cli.doctor.rules.model_names import asked_server
from cli.doctor.servers import chat_servers, human_int, whole

# As backend/core/models.py estimates: a Russian chunk is longer in tokens of the chat model.
_CHAT_TOKENS_PER_CHUNK_TOKEN = 1.5
_SOURCE_TAG_TOKENS = 40
_INSTRUCTION_TOKENS = 400
# vLLM's own words for "longer than the model": the operator has taken it upon himself.
_STRETCHED = ("--hf-overrides", "--rope", "rope_scaling", "rope_parameters")


def check(configuration: Configuration) -> Iterator[Finding]:
    if configuration.mode == "vllm":
        yield from _against_model_of_vllm(configuration)
        yield from _batches(configuration)
    elif configuration.mode in {"ollama", "llamacpp"}:
        yield from _against_model_elsewhere(configuration)
    if configuration.settings is not None:
        yield from _room(configuration, configuration.settings)
        yield from _said_otherwise(configuration, configuration.settings)


def _against_model_of_vllm(configuration: Configuration) -> Iterator[Finding]:
    for server in chat_servers(configuration):
        name, text = server.option(configuration, "MAX_MODEL_LEN")
        model = server.model(configuration)[1]
        known = configuration.catalogue.find(model)
        length = human_int(text)
        extra = server.option(configuration, "EXTRA_ARGS")[1]
        if known is None or length is None or any(word in extra for word in _STRETCHED):
            continue
        if length > known.context_window:
            yield configuration.finding(
                "error",
                "longer_than_model",
                name,
                f"{name}={text} is longer than the {known.context_window} tokens of {model}.",
                "vLLM refuses to start: max_model_len is greater than the model's own.",
                f"{name}={known.context_window}",
            )


def _batches(configuration: Configuration) -> Iterator[Finding]:
    for server in chat_servers(configuration):
        name, text = server.option(configuration, "MAX_NUM_BATCHED_TOKENS")
        batch = human_int(text)
        if batch is None:
            continue
        sequences = whole(server.option(configuration, "MAX_NUM_SEQS")[1])
        length = human_int(server.option(configuration, "MAX_MODEL_LEN")[1])
        unchunked = configuration.value("VLLM_ENABLE_CHUNKED_PREFILL").lower() in {
            "0",
            "false",
            "no",
            "off",
        }
        least, other = 0, ""
        if sequences is not None and batch < sequences:
            least, other = sequences, f"the {sequences} sequences of MAX_NUM_SEQS"
        if unchunked and length is not None and batch < length:
            least, other = length, f"the {length} tokens of MAX_MODEL_LEN, without chunked prefill"
        if least:
            yield configuration.finding(
                "error",
                "batch_too_small",
                name,
                f"{name}={text} is less than {other}.",
                "vLLM refuses to start.",
                f"{name}={least}",
            )


def _against_model_elsewhere(configuration: Configuration) -> Iterator[Finding]:
    model = configuration.first("LLM_MODEL", "OLLAMA_MODEL")[1]
    known = configuration.catalogue.find(model) if model else None
    if known is None:
        return
    names = ["LLM_CONTEXT_WINDOW"]
    if configuration.mode == "ollama":
        names.append("OLLAMA_CONTEXT_LENGTH")
    for name in names:
        length = whole(configuration.value(name))
        if length is not None and length > known.context_window:
            yield configuration.finding(
                "error",
                "longer_than_model",
                name,
                f"{name}={length} is longer than the {known.context_window} tokens of {model}.",
                "The server cuts it down or answers nonsense past the model's end, while memory "
                "for all of it is taken.",
                f"{name}={known.context_window}",
            )


def window(configuration: Configuration, settings: Settings) -> tuple[str, int | None]:
    """The variable that sets what one request has, and its tokens; None where the model's own
    window counts."""
    if configuration.mode == "vllm":
        server = asked_server(configuration)
        if server is None:
            return "VLLM_MAX_MODEL_LEN", None
        name, text = server.option(configuration, "MAX_MODEL_LEN")
        known = configuration.catalogue.find(server.model(configuration)[1])
        return name, human_int(text) or (known.context_window if known else None)
    length = settings.llm_context_window
    if configuration.mode == "llamacpp":
        slots = whole(configuration.value("LLAMACPP_PARALLEL", "1")) or 1
        if slots > 1:
            return "LLAMACPP_PARALLEL", length // slots
    return "LLM_CONTEXT_WINDOW", length


def _room(configuration: Configuration, settings: Settings) -> Iterator[Finding]:
    name, length = window(configuration, settings)
    if length is None or configuration.mode == "none":
        return
    taken = settings.llm_max_tokens + settings.llm_safety_margin
    chunk = round(settings.chunk_size_tokens * _CHAT_TOKENS_PER_CHUNK_TOKEN) + _SOURCE_TAG_TOKENS
    room = length - taken - _INSTRUCTION_TOKENS
    sums = (
        f"{length} tokens of context ({name}) less LLM_MAX_TOKENS={settings.llm_max_tokens} and "
        f"LLM_SAFETY_MARGIN={settings.llm_safety_margin}"
    )
    if room < chunk:
        yield _no_room(configuration, settings, name, length, sums)
        return
    wanted = settings.ask_top_k * chunk
    if settings.ask_context_tokens:
        if settings.ask_context_tokens > length - taken:
            yield configuration.finding(
                "error" if settings.ask_context_tokens >= length else "warning",
                "sources_over_window",
                "ASK_CONTEXT_TOKENS",
                f"ASK_CONTEXT_TOKENS={settings.ask_context_tokens} is more than is left: {sums}.",
                "The sources are cut down to what is left, and the setting has no effect.",
                f"ASK_CONTEXT_TOKENS={room // 256 * 256}",
            )
        return
    if wanted > room and "ASK_TOP_K" in configuration.entries:
        fits = max(1, room // chunk)
        yield configuration.finding(
            "warning",
            "sources_over_window",
            "ASK_TOP_K",
            f"ASK_TOP_K={settings.ask_top_k} sources of CHUNK_SIZE_TOKENS="
            f"{settings.chunk_size_tokens} need about {wanted} tokens in Russian, and there is "
            f"room for about {room}: {sums}.",
            "The sources that do not fit are left out of the answer.",
            f"ASK_TOP_K={fits}",
        )
    elif wanted > room:
        yield _tight(configuration, settings, name, wanted, room, sums)


def _tight(
    configuration: Configuration, settings: Settings, name: str, wanted: int, room: int, sums: str
) -> Finding:
    anchor = "LLM_MAX_TOKENS" if "LLM_MAX_TOKENS" in configuration.entries else name
    taken = settings.llm_max_tokens + settings.llm_safety_margin + _INSTRUCTION_TOKENS
    needed = -(-(wanted + taken) // 1024) * 1024
    smaller = max(256, settings.llm_max_tokens - (wanted - room)) // 64 * 64
    fix = f"LLM_MAX_TOKENS={smaller}" if anchor == "LLM_MAX_TOKENS" else f"{name}={needed}"
    return configuration.finding(
        "warning",
        "sources_over_window",
        anchor,
        f"The {settings.ask_top_k} sources of an answer need about {wanted} tokens in Russian, "
        f"and there is room for about {room}: {sums}.",
        "The sources that do not fit are left out of the answer.",
        fix,
    )


def _no_room(
    configuration: Configuration, settings: Settings, name: str, length: int, sums: str
) -> Finding:
    anchor = next(
        (
            one
            for one in ("LLM_MAX_TOKENS", "LLM_SAFETY_MARGIN", name, "LLM_CONTEXT_WINDOW")
            if one in configuration.entries
        ),
        name,
    )
    if anchor == "LLM_MAX_TOKENS" and settings.llm_max_tokens <= 512:
        anchor = name
    if anchor == "LLM_SAFETY_MARGIN" and settings.llm_safety_margin <= 512:
        anchor = name
    better = {
        "LLM_MAX_TOKENS": f"LLM_MAX_TOKENS={max(64, length // 4 // 64 * 64)}",
        "LLM_SAFETY_MARGIN": "LLM_SAFETY_MARGIN=32",
        "LLAMACPP_PARALLEL": "LLAMACPP_PARALLEL=1",
    }
    return configuration.finding(
        "error",
        "no_room_for_prompt",
        anchor,
        f"Nothing is left for the question and its sources: {sums}.",
        "Every question is refused because its prompt does not fit.",
        better.get(anchor, f"{anchor}=8192"),
    )


def _said_otherwise(configuration: Configuration, settings: Settings) -> Iterator[Finding]:
    """LLM_CONTEXT_WINDOW is asked of Ollama and llama.cpp; vLLM has its own variable."""
    stated = whole(configuration.value("LLM_CONTEXT_WINDOW"))
    name, length = window(configuration, settings)
    if configuration.mode == "vllm" and stated and length and stated > length:
        yield configuration.finding(
            "warning",
            "window_not_served",
            "LLM_CONTEXT_WINDOW",
            f"LLM_CONTEXT_WINDOW={stated}, but vLLM is started with {length} tokens ({name}).",
            "vLLM's window counts; LLM_CONTEXT_WINDOW is asked of Ollama and llama.cpp only.",
            f"LLM_CONTEXT_WINDOW={length}",
        )
    served = whole(configuration.value("OLLAMA_CONTEXT_LENGTH"))
    if configuration.mode == "ollama" and served and served < settings.llm_context_window:
        yield configuration.finding(
            "warning",
            "window_not_served",
            "OLLAMA_CONTEXT_LENGTH",
            f"OLLAMA_CONTEXT_LENGTH={served} is less than the {settings.llm_context_window} tokens "
            "of LLM_CONTEXT_WINDOW.",
            "Requests that do not name a window of their own, such as those passed on through /v1, "
            "are cut to it silently.",
            f"OLLAMA_CONTEXT_LENGTH={settings.llm_context_window}",
        )

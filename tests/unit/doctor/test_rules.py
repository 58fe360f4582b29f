"""One sentence per check: the broken line is named, its good twin gives nothing."""

# A row of a table is one line.
# ruff: noqa: E501

from __future__ import annotations

import pytest

from tests.unit.doctor.support import (
    LLAMACPP,
    MIG,
    OLLAMA,
    VLLM,
    codes,
    doctor,
    mended,
    with_line,
)

UUID = "MIG-f39aa248-6f1b-5769-b119-8d650bb34b27"
OTHER_UUID = "MIG-377e0049-554c-540b-93c6-d0976f8426cb"
KEY = "3f9c2b7e8d1a4c6f9b0e5d7a2c4f6b8e"

POOLING = """\
COMPOSE_PROFILES=embedding
EMBED_PROVIDER=openai
EMBED_MODEL=BAAI/bge-m3
EMBEDDING_PORT=8011
"""

EMBEDDING = (
    OLLAMA.replace("PROFILES=ollama", "PROFILES=ollama,embedding") + POOLING.split("\n", 1)[1]
)

# sentence, env file, broken line, good line (of the same variable), code
CASES = [
    # values of the backend's settings
    ("a mode nobody knows", OLLAMA, "LLM_MODE=olama", "LLM_MODE=ollama", "bad_value"),
    ("a mode in capitals", OLLAMA, "LLM_MODE=Ollama", "LLM_MODE=ollama", "bad_value"),
    ("a decimal comma", OLLAMA, "LLM_TEMPERATURE=0,2", "LLM_TEMPERATURE=0.2", "bad_value"),
    ("a unit in a number", OLLAMA, "LLM_MAX_TOKENS=1k", "LLM_MAX_TOKENS=1024", "bad_value"),
    ("a size over its limit", OLLAMA, "CHUNK_SIZE_TOKENS=1024", "CHUNK_SIZE_TOKENS=384", "bad_value"),
    ("an overlap over half", OLLAMA, "CHUNK_OVERLAP_TOKENS=200", "CHUNK_OVERLAP_TOKENS=64", "bad_value"),
    ("a log level of others", OLLAMA, "LOG_LEVEL=verbose", "LOG_LEVEL=DEBUG", "bad_value"),
    ("no yes and no no", OLLAMA, "SEARCH_ONE_PER_DOCUMENT=maybe", "SEARCH_ONE_PER_DOCUMENT=yes", "bad_value"),
    # values of the containers
    ("a share in percent", VLLM, "VLLM_GPU_MEMORY_UTILIZATION=90", "VLLM_GPU_MEMORY_UTILIZATION=0.9", "bad_value"),
    ("a share with a comma", VLLM, "VLLM_GPU_MEMORY_UTILIZATION=0,9", "VLLM_GPU_MEMORY_UTILIZATION=.9", "bad_value"),
    ("a share of nothing", VLLM, "VLLM_GPU_MEMORY_UTILIZATION=0", "VLLM_GPU_MEMORY_UTILIZATION=.95", "bad_value"),
    ("a length with a blank", VLLM, "VLLM_MAX_MODEL_LEN=16 384", "VLLM_MAX_MODEL_LEN=16k", "bad_value"),
    ("a length with a unit", VLLM, "VLLM_MAX_MODEL_LEN=16kb", "VLLM_MAX_MODEL_LEN=16K", "bad_value"),
    ("no sequences", VLLM, "VLLM_MAX_NUM_SEQS=0", "VLLM_MAX_NUM_SEQS=16", "bad_value"),
    ("an unknown quantization", VLLM, "VLLM_QUANTIZATION=q4_k_m", "VLLM_QUANTIZATION=", "bad_value"),
    ("a quantization in capitals", VLLM, "VLLM_QUANTIZATION=FP8", "VLLM_QUANTIZATION=fp8", "bad_value"),
    ("an unknown cache type", VLLM, "VLLM_KV_CACHE_DTYPE=fp16", "VLLM_KV_CACHE_DTYPE=fp8", "bad_value"),
    ("an unknown weight type", VLLM, "VLLM_DTYPE=bf16", "VLLM_DTYPE=bfloat16", "bad_value"),
    ("a switch that is neither", VLLM, "VLLM_ENFORCE_EAGER=yep", "VLLM_ENFORCE_EAGER=true", "bad_value"),
    ("a port that is none", VLLM, "VLLM_PORT=80010", "VLLM_PORT=8021", "bad_value"),
    ("GPUs in words", VLLM, "VLLM_GPU_COUNT=one", "VLLM_GPU_COUNT=1", "bad_value"),
    ("JSON with single quotes", VLLM, "VLLM_SPECULATIVE_CONFIG={'model': 'x'}", 'VLLM_SPECULATIVE_CONFIG={"model": "x"}', "bad_value"),
    ("an adapter without a path", VLLM, "VLLM_LORA_MODULES=sql", "VLLM_LORA_MODULES=sql=/models/sql", "bad_value"),
    ("a flag that is gone", VLLM, "VLLM_EXTRA_ARGS=--swap-space 4", "VLLM_EXTRA_ARGS=--seed 4", "extra_arguments"),
    ("a quote in the arguments", VLLM, "VLLM_EXTRA_ARGS=--seed '4", "VLLM_EXTRA_ARGS=--seed '4'", "extra_arguments"),
    ("a duration in words", OLLAMA, "OLLAMA_KEEP_ALIVE=5 min", "OLLAMA_KEEP_ALIVE=5m", "bad_value"),
    ("a cache type of others", OLLAMA, "OLLAMA_KV_CACHE_TYPE=q8", "OLLAMA_KV_CACHE_TYPE=q8_0", "bad_value"),
    ("an address by name", OLLAMA, "BIND_ADDRESS=localhost", "BIND_ADDRESS=127.0.0.1", "bad_value"),
    ("layers in words", LLAMACPP, "LLAMACPP_GPU_LAYERS=many", "LLAMACPP_GPU_LAYERS=0", "bad_value"),
    ("two names with two values", VLLM, "MAX_MODEL_LEN=4096", "MAX_MODEL_LEN=8192", "contradiction"),
    ("a compose file that is not there", OLLAMA, "COMPOSE_FILE=docker-compose.yaml", "COMPOSE_FILE=docker-compose.yml", "no_compose_file"),
    # who is started and who is asked
    ("a profile nobody has", VLLM, "COMPOSE_PROFILES=vlm", "COMPOSE_PROFILES=vllm", "unknown_profile"),
    ("profiles with a blank", VLLM, "COMPOSE_PROFILES=vllm api", "COMPOSE_PROFILES=vllm,api", "unknown_profile"),
    ("the profile of another server", VLLM, "COMPOSE_PROFILES=ollama", "COMPOSE_PROFILES=vllm", "mode_without_server"),
    ("the mode of another server", OLLAMA, "LLM_MODE=vllm", "LLM_MODE=ollama", "mode_without_server"),
    ("a second model server", VLLM, "COMPOSE_PROFILES=vllm,ollama", "COMPOSE_PROFILES=vllm,api", "idle_server"),
    ("an embedder without a model", OLLAMA, "EMBED_PROVIDER=sentence-transformers", "EMBED_PROVIDER=bundled", "model_missing"),
    ("an embedding server not started", OLLAMA, "EMBED_PROVIDER=openai", "EMBED_PROVIDER=bundled", "service_not_started"),
    ("a reranker not started", OLLAMA, "RERANK_PROVIDER=server", "RERANK_PROVIDER=off", "service_not_started"),
    # names of models
    ("a hub id for Ollama", OLLAMA, "LLM_MODEL=Qwen/Qwen3-8B", "LLM_MODEL=hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M", "model_name_style"),
    ("a file for Ollama", OLLAMA, "LLM_MODEL=qwen3-8b.gguf", "LLM_MODEL=user/qwen3:8b", "model_name_style"),
    ("an Ollama name for vLLM", VLLM, "VLLM_MODEL=qwen3:8b", "VLLM_MODEL=Qwen/Qwen3-8B", "model_name_style"),
    ("an id without its owner", VLLM, "VLLM_MODEL=Qwen3-8B-AWQ", "VLLM_MODEL=Qwen/Qwen3-8B-AWQ", "model_name_style"),
    ("a page for an id", VLLM, "VLLM_MODEL=https://huggingface.co/Qwen/Qwen3-8B", "VLLM_MODEL=/models/qwen", "model_name_style"),
    ("a misspelt owner", VLLM, "VLLM_MODEL=meta-lama/Meta-Llama-3.1-8B-Instruct", "VLLM_MODEL=unsloth/Meta-Llama-3.1-8B-Instruct", "model_name_style"),
    ("the small model at the other server", MIG, "LLM_SMALL_URL=http://vllm-medium:8001/v1", "LLM_SMALL_URL=http://vllm-small:8002/v1", "model_not_served"),
    ("GGUF for vLLM", VLLM, "VLLM_MODEL=Qwen/Qwen3-8B-GGUF", "VLLM_MODEL=Qwen/Qwen3-8B", "model_name_style"),
    ("no model for vLLM", VLLM, "VLLM_MODEL=", "VLLM_MODEL=Qwen/Qwen3-8B", "model_missing"),
    ("a model that is not served", VLLM, "LLM_MODEL=Qwen/Qwen3-8B", "LLM_MODEL=meta-llama/Meta-Llama-3.1-8B-Instruct", "model_not_served"),
    ("a model Ollama did not pull", OLLAMA + "OLLAMA_MODEL=qwen3:8b\n", "LLM_MODEL=qwen3:14b", "LLM_MODEL=qwen3:8b", "model_not_served"),
    ("a small model not served", MIG, "LLM_SMALL_MODEL=qwen", "LLM_SMALL_MODEL=Qwen/Qwen3-8B-AWQ", "model_not_served"),
    ("a small model without a URL", OLLAMA, "LLM_SMALL_MODEL=qwen3:4b", "LLM_SMALL_MODEL=", "small_model_incomplete"),
    ("no file for llama.cpp", LLAMACPP, "LLAMACPP_MODEL_FILE=", "LLAMACPP_MODEL_FILE=a.gguf", "model_file"),
    ("a file that is no GGUF", LLAMACPP, "LLAMACPP_MODEL_FILE=a.safetensors", "LLAMACPP_MODEL_FILE=a.GGUF", "model_file"),
    ("a path for a file", LLAMACPP, "LLAMACPP_MODEL_FILE=/models/a.gguf", "LLAMACPP_MODEL_FILE=sub/a.gguf", "model_file"),
    ("a later part of a file", LLAMACPP, "LLAMACPP_MODEL_FILE=a-00002-of-00003.gguf", "LLAMACPP_MODEL_FILE=a-00001-of-00003.gguf", "model_file"),
    # quantization
    ("awq on plain weights", VLLM, "VLLM_QUANTIZATION=awq", "VLLM_QUANTIZATION=fp8", "quantization_mismatch"),
    ("fp8_e5m2 and a model of fp8", VLLM.replace("meta-llama/Meta-Llama-3.1-8B-Instruct", "neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8"), "VLLM_KV_CACHE_DTYPE=fp8_e5m2", "VLLM_KV_CACHE_DTYPE=fp8", "cache_type"),
    ("fp8 of an AWQ model", VLLM.replace("meta-llama/Meta-Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B-AWQ"), "VLLM_ENABLE_FP8=true", "VLLM_ENABLE_FP8=false", "quantization_mismatch"),
    ("gptq of an AWQ model", VLLM.replace("meta-llama/Meta-Llama-3.1-8B-Instruct", "someone/New-9B-AWQ"), "VLLM_QUANTIZATION=gptq", "VLLM_QUANTIZATION=awq_marlin", "quantization_mismatch"),
    # context
    ("a window over the model's", VLLM, "VLLM_MAX_MODEL_LEN=262144", "VLLM_MAX_MODEL_LEN=131072", "longer_than_model"),
    ("a window over the model's in Ollama", OLLAMA, "LLM_CONTEXT_WINDOW=65536", "LLM_CONTEXT_WINDOW=40960", "longer_than_model"),
    ("an answer as long as the window", OLLAMA, "LLM_MAX_TOKENS=8192", "LLM_MAX_TOKENS=2048", "no_room_for_prompt"),
    ("a window for nothing", VLLM, "VLLM_MAX_MODEL_LEN=512", "VLLM_MAX_MODEL_LEN=4096", "no_room_for_prompt"),
    ("slots that share the window", LLAMACPP, "LLAMACPP_PARALLEL=16", "LLAMACPP_PARALLEL=2", "no_room_for_prompt"),
    ("sources over the window", OLLAMA, "ASK_TOP_K=50", "ASK_TOP_K=10", "sources_over_window"),
    ("a share for sources over the window", OLLAMA, "ASK_CONTEXT_TOKENS=10000", "ASK_CONTEXT_TOKENS=4000", "sources_over_window"),
    ("a window vLLM does not have", VLLM, "LLM_CONTEXT_WINDOW=32768", "LLM_CONTEXT_WINDOW=8192", "window_not_served"),
    ("a smaller window for passed requests", OLLAMA, "OLLAMA_CONTEXT_LENGTH=4096", "OLLAMA_CONTEXT_LENGTH=8192", "window_not_served"),
    ("a batch below the sequences", VLLM, "VLLM_MAX_NUM_BATCHED_TOKENS=32", "VLLM_MAX_NUM_BATCHED_TOKENS=2048", "batch_too_small"),
    ("a cache for many windows", OLLAMA, "OLLAMA_NUM_PARALLEL=32", "OLLAMA_NUM_PARALLEL=2", "cache_too_large"),
    # GPUs
    ("more GPUs asked than given", VLLM.replace("VLLM_GPU_COUNT=1\n", ""), "VLLM_PIPELINE_PARALLEL_SIZE=2", "VLLM_PIPELINE_PARALLEL_SIZE=1", "too_few_gpus"),
    ("GPUs that idle", VLLM, "VLLM_GPU_COUNT=2", "VLLM_GPU_COUNT=1", "idle_gpus"),
    ("heads that cannot be split", VLLM.replace("GPU_COUNT=1", "GPU_COUNT=3"), "VLLM_TENSOR_PARALLEL_SIZE=3", None, "heads_not_divisible"),
    ("a draft model said twice", VLLM + 'VLLM_SPECULATIVE_CONFIG={"model": "x"}\n', "VLLM_SPECULATIVE_MODEL=x/y", "VLLM_SPECULATIVE_MODEL=", "speculative_twice"),
    ("drafts without a model", VLLM, "VLLM_NUM_SPECULATIVE_TOKENS=4", "VLLM_NUM_SPECULATIVE_TOKENS=", "speculative_incomplete"),
    ("no slice", MIG, "VLLM_SMALL_MIG_UUID=", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_missing"),
    ("a slice by index", MIG, "VLLM_SMALL_MIG_UUID=0:1", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_not_uuid"),
    ("a whole GPU for a slice", MIG, f"VLLM_SMALL_MIG_UUID=GPU{UUID[3:]}", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_not_uuid"),
    ("a UUID that lost a digit", MIG, f"VLLM_SMALL_MIG_UUID={UUID[:-1]}", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_malformed"),
    ("a UUID without MIG-", MIG, f"VLLM_SMALL_MIG_UUID={UUID[4:]}", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_malformed"),
    ("one slice twice", MIG, f"VLLM_SMALL_MIG_UUID={OTHER_UUID}", f"VLLM_SMALL_MIG_UUID={UUID}", "mig_twice"),
    ("slices joined", MIG, "VLLM_TENSOR_PARALLEL_SIZE=2", "VLLM_TENSOR_PARALLEL_SIZE=1", "parallel_on_mig"),
    ("an embedder on the slice of a chat model", MIG + POOLING, f"EMBEDDING_GPU={OTHER_UUID}", f"EMBEDDING_GPU={OTHER_UUID[:-1]}0", "mig_twice"),
    ("an embedder on a GPU of slices", MIG + POOLING, "EMBEDDING_GPU=0", f"EMBEDDING_GPU={OTHER_UUID[:-1]}0", "mig_not_uuid"),
    ("keys with a semicolon", OLLAMA, f"API_KEY={KEY};{KEY[::-1]}", f"API_KEY={KEY},{KEY[::-1]}", "bad_value"),
    ("servers that want more than one card", VLLM.replace("=vllm\nLLM_MODE", "=vllm,embedding\nLLM_MODE") + POOLING.split("\n", 1)[1], "VLLM_GPU_MEMORY_UTILIZATION=0.95", "VLLM_GPU_MEMORY_UTILIZATION=0.85", "card_oversubscribed"),
    ("CUDA_VISIBLE_DEVICES", MIG, f"CUDA_VISIBLE_DEVICES={UUID}", None, "visible_devices"),
    # ports and addresses
    ("a port taken", VLLM, "VLLM_PORT=8000", "VLLM_PORT=8001", "port_clash"),
    ("two slices on one port", MIG, "VLLM_SMALL_PORT=8001", "VLLM_SMALL_PORT=8002", "port_clash"),
    ("localhost in a container", OLLAMA, "LLM_OLLAMA_URL=http://localhost:11434", "LLM_OLLAMA_URL=http://ollama:11434", "localhost_in_container"),
    ("an address without a scheme", OLLAMA, "LLM_OLLAMA_URL=ollama:11434", "LLM_OLLAMA_URL=http://10.0.0.5:11434", "bad_url"),
    ("the wrong port of a service", VLLM, "LLM_VLLM_URL=http://vllm:8000/v1", "LLM_VLLM_URL=http://vllm:8001/v1", "wrong_port"),
    ("TLS where there is none", OLLAMA, "QDRANT_URL=https://qdrant:6333", "QDRANT_URL=https://cloud.example:6333", "wrong_port"),
    ("/v1 of Ollama", OLLAMA, "LLM_OLLAMA_URL=http://ollama:11434/v1", "LLM_OLLAMA_URL=http://ollama:11434/", "url_path"),
    ("vLLM without /v1", VLLM, "LLM_VLLM_URL=http://vllm:8001", "LLM_VLLM_URL=http://vllm:8001/v1/", "url_path"),
    ("the address of one request", VLLM, "LLM_VLLM_URL=http://gpu:8001/v1/chat/completions", "LLM_VLLM_URL=http://gpu:8001/v1", "url_path"),
    ("a server of another kind", OLLAMA, "LLM_OLLAMA_URL=http://qdrant:6333", None, "wrong_service"),
    ("a small model on a server not started", VLLM + "LLM_SMALL_MODEL=Qwen/Qwen3-4B\n", "LLM_SMALL_URL=http://vllm-small:8002/v1", "LLM_SMALL_URL=http://gpu2:8002/v1", "service_not_started"),
    # keys and tokens
    ("a token left at the example", VLLM, "HF_TOKEN=hf_xxxxxxxxxxxxxxxxxxxx", None, "bad_token"),
    ("a token of others", VLLM, f"HF_TOKEN=sk-{KEY}", None, "bad_token"),
    ("no token for a gated model", VLLM, "HF_TOKEN=", None, "token_missing"),
    ("a key left at the example", OLLAMA, "API_KEY=changeme", f"API_KEY={KEY}", "example_secret"),
    ("a short key", OLLAMA, "API_KEY=k3Rr9-ab", f"API_KEY={KEY}", "weak_key"),
    ("open to the network", OLLAMA, "BIND_ADDRESS=0.0.0.0", f"BIND_ADDRESS=0.0.0.0\nAPI_KEY={KEY}", "open_without_key"),
    ("two keys for one server", VLLM + f"VLLM_API_KEY={KEY}\n", f"LLM_API_KEY={KEY[::-1]}", "LLM_API_KEY=${VLLM_API_KEY}", "keys_differ"),
    ("a key nobody asks for", VLLM, f"LLM_API_KEY={KEY}", "LLM_API_KEY=", "key_not_required"),
    # what the containers cannot be given
    ("a folder read as a volume", OLLAMA, "DOCS_DIR=docs/samples", "DOCS_DIR=./docs/samples", "folder_is_volume"),
    ("models in a volume nobody has", LLAMACPP, "LLAMACPP_MODELS_DIR=models", "LLAMACPP_MODELS_DIR=~/models", "folder_is_volume"),
    ("the inner port moved", OLLAMA, "PORT=9000", "PORT=8000", "fixed_in_container"),
    ("the inner folder moved", OLLAMA, "DATA_DIR=/srv/data", "DATA_DIR=/data", "fixed_in_container"),
    ("an embedder the image lacks", OLLAMA + "EMBED_MODEL=intfloat/multilingual-e5-base\n", "EMBED_PROVIDER=sentence-transformers", "EMBED_PROVIDER=sentence-transformers\nBACKEND_EXTRAS=gpu", "package_missing"),
    ("an image nobody can build", OLLAMA, "BACKEND_EXTRAS=cuda", "BACKEND_EXTRAS=gpu", "no_such_extras"),
    ("a folder of this machine for vLLM", VLLM, "VLLM_MODEL=/mnt/disk/qwen3-8b", "VLLM_MODEL=/models/qwen3-8b", "model_name_style"),
    ("a port of vLLM moved", VLLM, "VLLM_EXTRA_ARGS=--port 9000 --seed 1", "VLLM_EXTRA_ARGS=--seed 1", "extra_arguments"),
    ("a length said twice", VLLM, "VLLM_EXTRA_ARGS=--max-model-len 4096", "VLLM_EXTRA_ARGS=--block-size 32", "extra_arguments"),
    ("a device by a made-up name", MIG + POOLING, "EMBEDDING_GPU=cuda:1", None, "bad_value"),
    ("a command for a key", OLLAMA, "API_KEY=$(openssl rand -hex 32)", f"API_KEY={KEY}", "example_secret"),
    ("a host a letter off", OLLAMA, "LLM_OLLAMA_URL=http://olama:11434", "LLM_OLLAMA_URL=http://ollama-gpu:11434", "unknown_host"),
    ("a time with its unit", OLLAMA, "LLM_TIMEOUT=2m", "LLM_TIMEOUT=120", "bad_value"),
    ("a server nobody asks", VLLM.replace("LLM_MODE=vllm", "LLM_MODE=none"), "COMPOSE_PROFILES=vllm", None, "idle_server"),
    # llama.cpp
    ("a template by a name", LLAMACPP, "LLAMACPP_CHAT_TEMPLATE=qwen3", "LLAMACPP_CHAT_TEMPLATE=chatml", "chat_template"),
    ("layers and no GPU", LLAMACPP, "LLAMACPP_GPU_LAYERS=99", "LLAMACPP_GPU_LAYERS=0", "layers_without_gpu"),
    # what a model is for
    ("an embedding model to chat", VLLM, "VLLM_MODEL=BAAI/bge-m3", None, "wrong_kind_of_model"),
    ("a chat model to embed", EMBEDDING, "EMBED_MODEL=Qwen/Qwen3-8B", "EMBED_MODEL=Qwen/Qwen3-Embedding-0.6B", "wrong_kind_of_model"),
    ("a reranker to embed", EMBEDDING, "EMBED_MODEL=BAAI/bge-reranker-v2-m3", "EMBED_MODEL=BAAI/bge-m3", "wrong_kind_of_model"),
    ("an embedder shorter than a chunk", EMBEDDING, "EMBEDDING_MAX_MODEL_LEN=128", "EMBEDDING_MAX_MODEL_LEN=8192", "chunk_over_embedder"),
    ("a draft of another vocabulary", VLLM, "VLLM_SPECULATIVE_MODEL=meta-llama/Llama-2-7b-chat-hf", "VLLM_SPECULATIVE_MODEL=meta-llama/Llama-3.2-1B-Instruct", "other_vocabulary"),
    ("a share of all there is", VLLM, "VLLM_GPU_MEMORY_UTILIZATION=1.0", "VLLM_GPU_MEMORY_UTILIZATION=0.96", "impossible_share"),
    ("a share too small everywhere", VLLM, "VLLM_GPU_MEMORY_UTILIZATION=0.05", "VLLM_GPU_MEMORY_UTILIZATION=0.5", "impossible_share"),
    ("a word of the model misspelt", VLLM, "VLLM_MODEL=Qwen/Qwen2.5-7B-Instuct", "VLLM_MODEL=Qwen/Qwen2.5-Math-7B-Instruct", "model_name_style"),
    ("guesses nobody counted", VLLM, 'VLLM_SPECULATIVE_CONFIG={"method": "ngram"}', 'VLLM_SPECULATIVE_CONFIG={"method": "ngram", "num_speculative_tokens": 4}', "speculative_incomplete"),
    ("an adapter of this machine", VLLM, "VLLM_LORA_MODULES=sql=/home/me/lora", "VLLM_LORA_MODULES=sql=/models/lora,law=acme/law-lora", "path_not_mounted"),
    ("a model no card can hold", VLLM, "VLLM_MODEL=meta-llama/Meta-Llama-3.1-405B-Instruct", "VLLM_MODEL=meta-llama/Llama-3.3-70B-Instruct", "larger_than_any_card"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("env", "broken", "good", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_broken_line_is_named_and_its_good_twin_gives_nothing(
    env: str, broken: str, good: str | None, code: str
) -> None:
    text, line = with_line(env, broken)

    found = [finding for finding in doctor(text) if finding.code == code]

    assert found, f"{broken} gave {doctor(text)}"
    named = {finding.line for finding in found}
    # A value that a second line repeats is changed where it is written; the profile, where the
    # service is chosen.
    other = (
        "COMPOSE_PROFILES" if code == "service_not_started" else broken.split("=", maxsplit=1)[0]
    )
    assert line in named or any(finding.fix.startswith(f"{other}=") for finding in found)
    assert broken.split("=", maxsplit=1)[0] in " ".join(finding.what for finding in found)
    if good is not None:
        assert doctor(with_line(env, good)[0]) == []


@pytest.mark.parametrize(
    ("env", "broken", "code"),
    [(env, broken, code) for _, env, broken, _, code in CASES],
    ids=[case[0] for case in CASES],
)
def test_the_line_to_write_mends_what_it_was_said_for(env: str, broken: str, code: str) -> None:
    text, _ = with_line(env, broken)
    finding = next(finding for finding in doctor(text) if finding.code == code)
    if "…" in finding.fix:
        pytest.skip("only the operator knows what belongs there")

    after = doctor(mended(text, finding))

    assert (finding.code, finding.what) not in {(other.code, other.what) for other in after}
    assert "duplicate" not in codes(after)


@pytest.mark.parametrize("env", [OLLAMA, VLLM, MIG, LLAMACPP], ids=["ollama", "vllm", "mig", "cpp"])
def test_a_good_file_gives_nothing(env: str) -> None:
    assert doctor(env.replace("LAST=\n", "")) == []

#!/bin/sh
# A model for llama.cpp: scripts/download_model_llamacpp.sh Qwen/Qwen3-8B-GGUF qwen3-8b-q4_k_m.gguf
exec sh "$(dirname "$0")/pull_model.sh" llamacpp "$@"

#!/bin/sh
# A model for vLLM: scripts/download_model_vllm.sh Qwen/Qwen3-8B-AWQ [REVISION] [--dry-run]
exec sh "$(dirname "$0")/pull_model.sh" vllm "$@"

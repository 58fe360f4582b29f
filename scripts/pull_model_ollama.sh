#!/bin/sh
# A model for Ollama: scripts/pull_model_ollama.sh qwen3:8b [--dry-run]
exec sh "$(dirname "$0")/pull_model.sh" ollama "$@"

#!/bin/sh
# Put the UUIDs of two MIG slices into the env file: scripts/write_mig_uuids.sh --env-file .env (--help for more)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" > /dev/null || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m cli.mig write "$@"

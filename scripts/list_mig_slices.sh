#!/bin/sh
# The MIG slices of this machine; of another one: ssh HOST nvidia-smi -L | scripts/list_mig_slices.sh --from -
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" > /dev/null || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m cli.mig list "$@"

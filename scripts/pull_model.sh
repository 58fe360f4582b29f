#!/bin/sh
# usage: scripts/pull_model.sh PROVIDER ARGUMENTS…    as python -m cli.models pull --provider PROVIDER
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
if [ ! -x "$python" ]; then
  echo "There is no $python yet. It is made by: make -C $root .venv/run.stamp" >&2
  exit 1
fi

# The project's own modules, whatever is in the folder this is called from.
export PYTHONPATH="$root" PYTHONSAFEPATH=1
exec "$python" -m cli.models pull --provider "$@"

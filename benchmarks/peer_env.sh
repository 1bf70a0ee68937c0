#!/bin/sh
# Makes benchmarks/.venv-peer with d3rlpy and PyTorch, for benchmarks/scopil_update.py; nothing else needs it.
# Arguments are handed on to pip: an index that serves PyTorch for the CPU alone saves gigabytes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/.venv-peer"
python=${PYTHON:-python3}
"$python" -m venv --without-pip --clear "$venv"
"$python" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
    "torch==${TORCH_VERSION:-2.13.0}" "d3rlpy==${D3RLPY_VERSION:-2.8.1}" "$@"
"$venv/bin/python" -c '
import d3rlpy, torch
print(f"d3rlpy {d3rlpy.__version__}, PyTorch {torch.__version__}")'

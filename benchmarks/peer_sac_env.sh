#!/bin/sh
# Makes benchmarks/.venv-peer-sac with stable-baselines3, PyTorch and sbx-rl, for benchmarks/sac_update.py alone.
# Arguments are handed on to pip: an index that serves PyTorch for the CPU alone saves gigabytes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/.venv-peer-sac"
python=${PYTHON:-python3}
"$python" -m venv --without-pip --clear "$venv"
"$python" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
    "torch==${TORCH_VERSION:-2.13.0}" "stable-baselines3${SB3_VERSION:+==$SB3_VERSION}" \
    "sbx-rl${SBX_VERSION:+==$SBX_VERSION}" "$@"
"$venv/bin/python" -c '
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in ("torch", "stable-baselines3", "sbx-rl", "jax")))'

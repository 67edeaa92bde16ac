#!/usr/bin/env bash
# Trains on a machine with NVIDIA GPUs. Start it in the root of a checkout; its arguments are those of e2e_affect.main:
#
#     launch/gpu.sh --config=configs/fused.py --workdir=runs/fused
#
# `launch/gpu.sh --dry_run --config=…` prints the commands, to paste them.
# One process uses all GPUs that it sees; CUDA_VISIBLE_DEVICES=0,1 launch/gpu.sh … chooses among them. SIGTERM saves
# and exits 143; the same command goes on. Needs Linux, Python >= 3.11 and NVIDIA's driver for CUDA 13 (>= 580);
# CUDA itself comes as wheels.
#
# NOT run here: no GPU at hand. Checked: syntax, and that it runs the command above (tests/test_launch.py).
# It sets no XLA flag, because none was measured.
set -euo pipefail

run=
if [[ ${1-} == --dry_run ]]; then
  print() { printf '%q ' "$@"; echo; }
  run=print
  shift
fi
if (( ! $# )) || [[ $1 != --* ]]; then
  echo "error: found ${1-nothing}, expected launch/gpu.sh [--dry_run] --config=… [flags of e2e_affect.main]" >&2
  exit 64
fi

[[ -d .venv ]] || $run "${PYTHON:-python3}" -m venv .venv
$run .venv/bin/python -m pip install --quiet --constraint requirements.lock '.[cuda13]'
# Without its plugin or driver JAX goes on with the CPU, and says so in a warning only.
$run .venv/bin/python -c 'import sys, jax; sys.exit(
    jax.default_backend() != "gpu" and "error: JAX finds no GPU; look at nvidia-smi for the driver, >= 580")'
$run exec .venv/bin/python -m e2e_affect.main "$@"  # exec: a signal to this script reaches the trainer

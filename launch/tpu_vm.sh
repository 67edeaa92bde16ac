#!/usr/bin/env bash
# Trains on every worker of an existing Cloud TPU VM or slice. Start it in the root of a checkout; it sends the
# committed files there. After the TPU's name and zone come the arguments of e2e_affect.main:
#
#     launch/tpu_vm.sh my-tpu us-central2-b --config=configs/fused.py --workdir=/mnt/shared/runs/fused
#
# `launch/tpu_vm.sh --dry_run my-tpu …` prints the commands, to paste them.
# The run does not end with this connection. To watch it, and to stop it (SIGTERM saves; the same command goes on):
#
#     gcloud compute tpus tpu-vm ssh my-tpu --zone=us-central2-b --worker=0 --command='tail -f e2e_affect/run.log'
#     gcloud compute tpus tpu-vm ssh my-tpu --zone=us-central2-b --worker=all --command='kill $(cat e2e_affect/run.pid)'
#
# --config.data.dir must hold the same shards on every worker (data/simulated makes itself on each). On a slice of
# several hosts --workdir must be one folder that all of them see, such as an NFS mount. Needs gcloud here, and
# Python >= 3.11 with venv on the workers: PYTHON=python3.12 launch/tpu_vm.sh … names another than python3.
#
# NOT run here: no TPU at hand. Checked: syntax, and the commands that it gives to gcloud (tests/test_launch.py).
set -euo pipefail

run=
if [[ ${1-} == --dry_run ]]; then
  print() { printf '%q ' "$@"; echo; }
  run=print
  shift
fi
if (( $# < 3 )) || [[ $1$2 == *[^A-Za-z0-9-]* || $3 != --* ]]; then
  echo 'error: expected launch/tpu_vm.sh [--dry_run] NAME ZONE --config=… [flags of e2e_affect.main]' >&2
  exit 64
fi
tpu=$1 zone=$2
shift 2
flags=$(printf '%q ' "$@")  # quoted once more, for the shell over there

archive=e2e_affect.tar.gz
if [[ ! $run ]]; then
  archive=$(mktemp --suffix=.tar.gz)
  trap 'rm -f "$archive"' EXIT
fi
$run git archive --format=tar.gz --output="$archive" HEAD
$run gcloud compute tpus tpu-vm scp "$archive" "$tpu:e2e_affect.tar.gz" --zone="$zone" --worker=all

$run gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all --command="
set -e
mkdir -p e2e_affect
tar -xzf e2e_affect.tar.gz -C e2e_affect
cd e2e_affect
rm -f run.pid
[ -d .venv ] || ${PYTHON:-python3} -m venv .venv
.venv/bin/python -m pip install --quiet --constraint requirements.lock '.[tpu]'
nohup .venv/bin/python -m e2e_affect.main --distributed $flags > run.log 2>&1 < /dev/null &
echo \$! > run.pid
" || {
  code=$?
  echo "error: not every worker started (exit $code): stopping those that did" >&2
  # shellcheck disable=SC2016  # the shell over there expands it
  gcloud compute tpus tpu-vm ssh "$tpu" --zone="$zone" --worker=all \
    --command='[ ! -f e2e_affect/run.pid ] || kill "$(cat e2e_affect/run.pid)"' || true
  exit "$code"
}

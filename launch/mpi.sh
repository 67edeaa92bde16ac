#!/usr/bin/env bash
# Trains on several machines that Open MPI starts processes on: one on each, which uses all its GPUs. Start it in the
# root of a checkout on a file system that the machines share, with a .venv made once. The machines come first, then the
# flags of e2e_affect.main:
#
#     python3 -m venv .venv && .venv/bin/pip install -c requirements.lock '.[cuda13]'
#     launch/mpi.sh first-host,second-host --config=fused --workdir=runs/fused
#
# `launch/mpi.sh --dry_run first-host,second-host …` prints the command, to paste it. The processes meet at port 1234 of
# the first machine; PORT=2345 launch/mpi.sh … names another. SIGTERM and Ctrl-C stop all at the same update, saved; the
# same command goes on. Where one process fails or is lost, mpirun ends the others.
#
# Run here: two processes on one machine under Open MPI 5.0, without a GPU; trained, and stopped by SIGTERM.
# NOT run here: several machines, GPUs, Open MPI 4.
set -euo pipefail

refuse() {
  echo "error: $*; expected launch/mpi.sh [--dry_run] HOST,HOST --config=… --workdir=… [flags of e2e_affect.main]" >&2
  exit 64
}

dry_run=
if [[ ${1-} == --dry_run ]]; then
  dry_run=yes
  shift
fi
[[ ${1-} =~ ^[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)+$ && $1 != -* ]] || refuse "found ${1-nothing} for the machines"
IFS=, read -ra hosts <<< "$1"
shift
[[ " $*" == *' --workdir='* ]] || refuse 'no --workdir, which all machines see'
for flag in "$@"; do
  case ${flag%%=*} in
    --coordinator | --num_processes | --process_id | --distributed) refuse "found $flag, which this script sets" ;;
    --*) ;;
    *) refuse "found $flag" ;;
  esac
done

command=(mpirun)
for index in "${!hosts[@]}"; do
  (( index == 0 )) || command+=(:)
  # mpirun leaves a process a second after SIGTERM: too short to save. SIGUSR1 it only passes on.
  command+=(
    -np 1 --host "${hosts[index]}" launch/on_usr1.sh .venv/bin/python -m e2e_affect.main "$@"
    --coordinator="${hosts[0]}:${PORT:-1234}" --num_processes="${#hosts[@]}" --process_id="$index"
  )
done
if [[ $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi

set -m  # a process group of its own: Ctrl-C reaches this shell alone
"${command[@]}" &
trap 'kill -USR1 $! 2> /dev/null || true' TERM INT
code=0
while true; do
  wait $! && code=0 || code=$?
  kill -0 $! 2> /dev/null || break  # else a signal came meanwhile
done
exit "$code"

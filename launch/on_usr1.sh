#!/usr/bin/env bash
# Runs a command, to which SIGUSR1 goes on as SIGTERM. launch/mpi.sh starts its processes so:
#
#     launch/on_usr1.sh .venv/bin/python -m e2e_affect.main --config=fused
#
# Run here: under Open MPI 5.0 on one machine.
# NOT run here: several machines, Open MPI 4.
set -uo pipefail

(( $# )) || { echo 'error: expected launch/on_usr1.sh COMMAND …' >&2; exit 64; }
(trap '' USR1; exec "$@") &  # mpirun signals a whole group of processes
trap 'kill -TERM $!' USR1
code=0
while kill -0 $! 2> /dev/null; do
  wait $!
  code=$?
done
exit "$code"

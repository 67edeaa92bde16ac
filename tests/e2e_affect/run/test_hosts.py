"""What an abort means; `train/test_multihost.py` loses real hosts."""

import socket
import subprocess
import sys

import pytest

from tests import trainings

_ABORT = """
import ctypes, os, signal, sys, threading
from e2e_affect.run import hosts
hosts.distributed.global_state.coordinator_address = sys.argv[1]
ctypes.CDLL(None).signal(signal.SIGABRT, hosts._ON_ABORT)
threading.Thread(target=os.abort).start()
"""


@pytest.mark.parametrize('answers', [True, False])
def test_an_abort_is_the_loss_of_the_first_host_only_where_that_does_not_answer(answers):
  with socket.socket() as first:
    first.bind(('127.0.0.1', 0))
    if answers:
      first.listen()
    address = f'127.0.0.1:{first.getsockname()[1]}'
    done = subprocess.run([sys.executable, '-c', _ABORT, address], capture_output=True, text=True, check=False)
  lost = done.stderr.splitlines()[-1].startswith('error: another host is lost (the first one does not answer')
  assert (done.returncode, lost) == ((-6, False) if answers else (69, True)), done.stderr
  assert ('most recent call first' in done.stderr) == answers


_MEET = """
import numpy as np
from jax.experimental import multihost_utils
from e2e_affect.run import hosts
hosts.initialize()
import jax
print(jax.process_index(), multihost_utils.process_allgather(np.array(7 + jax.process_index())).tolist(), flush=True)
"""
_FIRST_PORT = 61440  # of the 4096 among which JAX chooses by the number of the job


def variables_of(cluster, job, index):
  """What SLURM sets for a task of two nodes, or Open MPI 4 for a process of two."""
  return {
    'slurm': {
      'SLURM_JOB_ID': str(job),
      'SLURM_STEP_NODELIST': 'localhost',
      'SLURM_STEP_NUM_NODES': '2',
      'SLURM_NTASKS': '2',
      'SLURM_PROCID': str(index),
      'SLURM_LOCALID': '0',
      'JAX_LOCAL_DEVICE_IDS': '0',  # as launch/slurm.sbatch has it
    },
    'ompi': {
      'OMPI_MCA_orte_hnp_uri': f'{job << 12}.0;tcp://127.0.0.1,10.0.0.1:34911',
      'OMPI_COMM_WORLD_SIZE': '2',
      'OMPI_COMM_WORLD_RANK': str(index),
      'OMPI_COMM_WORLD_LOCAL_RANK': '0',
    },
  }[cluster]


@pytest.mark.slow
@pytest.mark.parametrize('cluster', ['slurm', 'ompi'])
def test_processes_find_each_other_by_what_a_cluster_sets(cluster):
  with socket.socket() as s:  # a port of that range which is free
    job = next(job for job in range(100, 4096) if s.connect_ex(('127.0.0.1', _FIRST_PORT + job)))
  pair = [
    subprocess.Popen(
      [sys.executable, '-c', _MEET],
      env=trainings.environment(**variables_of(cluster, job, index)),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  said = [process.communicate(timeout=120) for process in pair]
  assert [process.returncode for process in pair] == [0, 0], said
  assert [out.splitlines()[-1] for out, _ in said] == ['0 [7, 8]', '1 [7, 8]']

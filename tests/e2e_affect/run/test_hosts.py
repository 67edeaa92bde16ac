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
_WAIT = """
import sys, time
import numpy as np
from e2e_affect.run import hosts
hosts.initialize(sys.argv[1], 2, int(sys.argv[2]))
import jax
if jax.process_index():
  time.sleep(35)  # as of a program that is compiled while the other host finds it compiled
summed = jax.pmap(lambda x: 2 * jax.lax.psum(x, 'devices'), 'devices')(np.ones(jax.local_device_count()))
print(jax.process_index(), summed.addressable_data(0)[0], hosts.first_host_first(lambda: 'makes', lambda: 'reads'))
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


def last_lines(commands):
  """What processes that run side by side say last; `commands` are pairs of arguments and environment."""
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  running = [subprocess.Popen(arguments, env=world, **pipes) for arguments, world in commands]
  said = [process.communicate(timeout=120) for process in running]
  assert [process.returncode for process in running] == [0] * len(running), said
  return [out.splitlines()[-1] for out, _ in said]


@pytest.mark.slow
@pytest.mark.parametrize('cluster', ['slurm', 'ompi'])
def test_processes_find_each_other_by_what_a_cluster_sets(cluster):
  with socket.socket() as s:  # a port of that range which is free
    job = next(job for job in range(100, 4096) if s.connect_ex(('127.0.0.1', _FIRST_PORT + job)))
  worlds = [trainings.environment(**variables_of(cluster, job, index)) for index in range(2)]
  assert last_lines(([sys.executable, '-c', _MEET], world) for world in worlds) == ['0 [7, 8]', '1 [7, 8]']


@pytest.mark.slow
def test_one_host_is_half_a_minute_later_than_the_other():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    address = f'localhost:{s.getsockname()[1]}'
  world = trainings.environment(XLA_FLAGS='--xla_force_host_platform_device_count=2')
  commands = [([sys.executable, '-c', _WAIT, address, str(index)], world) for index in range(2)]
  assert last_lines(commands) == ['0 8.0 makes', '1 8.0 reads']

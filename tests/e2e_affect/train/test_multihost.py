"""Two processes on one machine train one network, as two hosts would."""

import csv
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from e2e_affect.run.metric_writer import read_metrics
from tests.conftest import make_data
from tests.trainings import SMALL


def command(workdir, data_dir, *flags):
  return [
    sys.executable,
    '-m',
    'e2e_affect.main',
    '--config=configs/speech.py',
    f'--workdir={workdir}',
    f'--config.data.dir={data_dir}',
    *(f'--config.{k}={v}' for k, v in SMALL.items()),
    *flags,
  ]


def environment(**more):
  """One device for each process, as on a user's CPU."""
  return {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu', **more}


def free_port():
  with socket.socket() as s:
    s.bind(('localhost', 0))
    return s.getsockname()[1]


def start(workdir, data_dir, *flags, environment_of=lambda index: environment()):
  return [
    subprocess.Popen(command(workdir, data_dir, *of), stderr=subprocess.PIPE, text=True, env=environment_of(index))
    for index, of in enumerate(flags)
  ]


def start_by_hand(workdir, data_dir, total_steps):
  """As a user starts them where no cluster does."""
  flags = ['--num_processes=2', f'--coordinator=localhost:{free_port()}', f'--config.total_steps={total_steps}']
  return start(workdir, data_dir, *([*flags, f'--process_id={index}'] for index in range(2)))


def start_through_slurm(workdir, data_dir):
  """As `srun` starts them on two nodes."""
  slurm = {
    'JAX_COORDINATOR_ADDRESS': f'localhost:{free_port()}',
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
    'SLURM_LOCALID': '0',
    'SLURM_STEP_NUM_NODES': '2',
    'JAX_LOCAL_DEVICE_IDS': '0',
  }
  flags = ['--distributed', '--config.total_steps=100000']
  return start(
    workdir, data_dir, flags, flags, environment_of=lambda index: environment(**slurm, SLURM_PROCID=str(index))
  )


def finish(processes):
  logs = [process.communicate(timeout=300)[1] for process in processes]
  return [process.returncode for process in processes], logs


def alone(workdir, data_dir, *flags):
  done = subprocess.run(
    command(workdir, data_dir, *flags), capture_output=True, text=True, env=environment(), check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
  """The batch of 3 is filled up to 4, two sequences a host; losses and traces equal those of one process."""
  recordings = [('A', 'train', 100), ('B', 'train', 60), ('C', 'train', 49), ('D', 'validation', 110)]
  data_dir = make_data(tmp_path / 'data', [*recordings, ('E', 'test', 70), ('F', 'test', 30), ('G', 'test', 110)])
  codes, logs = finish(start_by_hand(tmp_path / 'two', data_dir, 4))
  assert codes == [0, 0], logs[0][-3000:] + logs[1][-3000:]
  alone(tmp_path / 'one', data_dir, '--config.total_steps=4')
  rows = lambda run: [row for row in read_metrics(tmp_path / run) if row['kind'] == 'train']
  assert [row['step'] for row in rows('two')] == [1, 2, 3, 4]
  # The first loss is the same sum in another order; later ones follow Adam, which amplifies rounding.
  assert rows('two')[0]['loss'] == pytest.approx(rows('one')[0]['loss'], rel=1e-5)
  assert rows('two')[3]['loss'] == pytest.approx(rows('one')[3]['loss'], rel=1e-2)
  # Each host predicted some recordings of test, and the first one none but those of validation: all came together.
  table = tmp_path / 'two' / 'predictions' / 'test.csv'
  of_two = list(csv.reader(table.open(newline='')))
  alone(tmp_path / 'two', data_dir, '--mode=evaluate')
  of_one = list(csv.reader(table.open(newline='')))
  assert len(of_two) == len(of_one) == 1 + 70 + 30 + 110 and of_two[0] == of_one[0]
  number = of_one[0].index('arousal')
  np.testing.assert_allclose(
    [float(row[number]) for row in of_two[1:]], [float(row[number]) for row in of_one[1:]], rtol=0, atol=1e-5
  )


@pytest.mark.parametrize(
  'flags', [['--coordinator=a:1'], ['--process_id=0'], ['--coordinator=a:1', '--num_processes=2', '--process_id=2']]
)
def test_flags_that_belong_together(tmp_path, flags):
  done = subprocess.run(
    command(tmp_path / 'run', tmp_path, *flags), capture_output=True, text=True, env=environment(), check=False
  )
  assert done.returncode == 64 and done.stderr.startswith('error: --coordinator, --num_processes and --process_id go')


@pytest.mark.slow
def test_sigterm_to_one_stops_both_at_the_same_step(tmp_path, data_dir):
  processes = start_by_hand(tmp_path / 'run', data_dir, 100_000)
  for line in processes[0].stderr:
    if 'update 2 ' in line:
      processes[1].send_signal(signal.SIGTERM)
      break
  codes, logs = finish(processes)
  assert codes == [143, 143], logs[0][-3000:] + logs[1][-3000:]
  stopped = {
    line.split('terminated: ')[1].split(' is saved')[0]
    for log in logs
    for line in log.splitlines()
    if 'terminated: ' in line
  }
  assert len(stopped) == 1

"""Two processes on one machine train one network, as two hosts would."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from data_prep.core.errors import HostLostError
from e2e_affect.run.metric_writer import read_metrics
from tests import trainings
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


def start_by_hand(workdir, data_dir, total_steps, *more, **world):
  """As a user starts them where no cluster does; `more` flags, and variables of the environment."""
  flags = ['--num_processes=2', f'--coordinator=localhost:{free_port()}', f'--config.total_steps={total_steps}', *more]
  flags_of = ([*flags, f'--process_id={index}'] for index in range(2))
  return start(workdir, data_dir, *flags_of, environment_of=lambda index: environment(**world))


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
  try:
    logs = [process.communicate(timeout=300)[1] for process in processes]
  finally:  # on a machine that is too slow
    for process in processes:
      process.kill()
  return [process.returncode for process in processes], logs


def alone(workdir, data_dir, *flags, **world):
  done = subprocess.run(
    command(workdir, data_dir, *flags), capture_output=True, text=True, env=environment(**world), check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]


def losses(run):
  """By update."""
  rows = [row for row in read_metrics(run) if row['kind'] == 'train']
  assert [row['step'] for row in rows] == list(range(1, len(rows) + 1))
  return [row['loss'] for row in rows]


@pytest.fixture(scope='module')
def of_three(tmp_path_factory):
  """Data with three recordings in the test partition."""
  recordings = [('A', 'train', 100), ('B', 'train', 60), ('C', 'train', 49), ('D', 'validation', 110)]
  recordings += [('E', 'test', 70), ('F', 'test', 30), ('G', 'test', 110)]
  return make_data(tmp_path_factory.mktemp('data'), recordings)


@pytest.fixture(scope='module')
def two(tmp_path_factory, of_three):
  """A run of two processes over four updates; whoever changes it takes a copy. The batch of 3 is filled up to 4."""
  run = tmp_path_factory.mktemp('two') / 'run'
  codes, logs = finish(start_by_hand(run, of_three, 4))
  assert codes == [0, 0], logs[0][-3000:] + logs[1][-3000:]
  return run


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path, of_three, two):
  alone(tmp_path / 'one', of_three, '--config.total_steps=4')
  one = losses(tmp_path / 'one')
  # The first loss is the same sum in another order; later ones follow Adam, which amplifies rounding.
  assert losses(two)[0] == pytest.approx(one[0], rel=1e-5) and losses(two)[3] == pytest.approx(one[3], rel=1e-2)
  # Each host predicted some recordings of test, and the first one none but those of validation: all came together.
  shutil.copytree(two, tmp_path / 'two')
  table = tmp_path / 'two' / 'predictions' / 'test.csv'
  of_two = list(csv.reader(table.open(newline='')))
  alone(tmp_path / 'two', of_three, '--mode=evaluate')
  of_one = list(csv.reader(table.open(newline='')))
  assert len(of_two) == 1 + 70 + 30 + 110 and of_two == of_one  # to the last digit


@pytest.mark.long
def test_one_of_two_processes_is_killed_and_both_started_again_end_bit_identical(tmp_path, of_three, two):
  processes = start_by_hand(tmp_path / 'run', of_three, 4)
  for line in processes[0].stderr:
    if 'update 2 ' in line:
      processes[1].kill()
      break
  codes, logs = finish(processes)
  assert codes == [HostLostError.exit_code, -signal.SIGKILL], logs[0][-3000:] + logs[1][-3000:]
  codes, logs = finish(start_by_hand(tmp_path / 'run', of_three, 4))
  assert codes == [0, 0], logs[0][-3000:] + logs[1][-3000:]
  assert trainings.final_digest(tmp_path / 'run') == trainings.final_digest(two)
  assert losses(tmp_path / 'run') == losses(two) and trainings.results(tmp_path / 'run') == trainings.results(two)


def devices(count):
  return {'XLA_FLAGS': f'--xla_force_host_platform_device_count={count}'}


@pytest.mark.long
def test_a_run_goes_on_with_other_processes_and_devices(tmp_path, data_dir):
  """Begun on four devices, gone on with two processes of two, then on one device: the same batches in order.

  Without dropout: it has Adam double the rounding with every update, to 1e-4 in twenty.
  """
  up_to = lambda step: f'--config.total_steps={step}'
  fields = ('batch_size=4', 'learning_rate=1e-4', 'evaluate_every_epochs=99.0', 'model.speech.dropout=0.0')
  fields = [f'--config.{field}' for field in fields]
  whole, run = tmp_path / 'whole', tmp_path / 'run'
  alone(whole, data_dir, up_to(20), *fields)
  alone(run, data_dir, up_to(7), *fields, **devices(4))
  codes, logs = finish(start_by_hand(run, data_dir, 14, *fields, **devices(2)))
  assert codes == [0, 0], logs[0][-3000:] + logs[1][-3000:]
  assert 'resuming from update 7 ' in logs[0] and '4 device(s)' in logs[0]
  alone(run, data_dir, up_to(20), *fields)
  np.testing.assert_allclose(losses(run), losses(whole), rtol=0, atol=1e-6)
  assert len(losses(run)) == 20


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

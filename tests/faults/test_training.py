"""Rows 1 to 8, 12, 13, 27 and 28: a training that is killed, stopped, locked out, damaged and misconfigured.

`KILLS=50` has row 1 strike so many times (`make kills`).
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.heads import losses
from e2e_affect.run import hosts
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.train import loop
from tests import trainings
from tests.conftest import make_data
from tests.e2e_affect.train.test_multihost import start_through_slurm
from tests.faults import driver

KILLS = int(os.environ.get('KILLS', '3'))
SIGNALS = pytest.mark.parametrize(
  'number, expected', [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)


JUMPING = """
import itertools, runpy, sys, time
real, turns = time.time, itertools.count()
time.time = lambda: real() + (-1) ** next(turns) * 86_400
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
"""


def speech(workdir, data_dir, **fields):
  """The command of `uninterrupted` in another folder."""
  return trainings.command('speech.py', workdir, data_dir, **{'total_steps': 9, **fields})


def same_end(workdir, whole):
  """Asserts that a run ended as one that nothing happened to."""
  assert trainings.final_digest(workdir) == trainings.final_digest(whole)
  assert trainings.results(workdir) == trainings.results(whole)
  # The record has every step once.
  assert [row['step'] for row in read_metrics(workdir) if row['kind'] == 'train'] == list(range(1, 10))


@pytest.mark.slow
def test_row_01_killed_at_any_moment_it_ends_bit_identical(uninterrupted, tmp_path, data_dir):
  rng = random.Random(0)

  def moment(kind, workdir):
    after = driver.says('  train', rng.randrange(1, 7)), rng.uniform(0, 0.3)
    return (
      lambda log: after[0](log) and any(workdir.glob('checkpoints/*tmp*')),  # a checkpoint is being written
      driver.late(*after),  # in an update or a validation
      driver.late(driver.says('predicting the '), after[1]),  # in the last evaluation
    )[kind]

  kills = 0
  while kills < KILLS:
    workdir, code = tmp_path / f'run{kills}', -signal.SIGKILL
    while code == -signal.SIGKILL:
      now = moment(kills % 3, workdir) if kills < KILLS else lambda log: False
      world = {'PYTHONHASHSEED': str(kills), 'LC_ALL': ('C', 'C.UTF-8')[kills % 2]}  # row 28
      end = driver.strike(speech(workdir, data_dir), now, signal.SIGKILL, tmp_path, **world)
      code = end.code
      kills += code == -signal.SIGKILL
    assert code == 0, end.log[-3000:]
    same_end(workdir, uninterrupted[0])


@pytest.mark.long
def test_row_28_a_clock_that_jumps_by_a_day_changes_nothing(uninterrupted, tmp_path, data_dir):
  python, _, module, *arguments = speech(tmp_path / 'run', data_dir)
  end = driver.strike([python, '-c', JUMPING, module, *arguments], lambda log: False, 0, tmp_path)
  assert end.code == 0, end.log[-3000:]
  same_end(tmp_path / 'run', uninterrupted[0])
  assert set(re.findall('([0-9]+) h [0-9]+ min elapsed', end.log)) == {'0'}


@pytest.mark.slow
@SIGNALS
def test_row_02_a_signal_saves_and_the_run_goes_on_exactly(uninterrupted, tmp_path, data_dir, number, expected):
  arguments = speech(tmp_path / 'run', data_dir)
  end = driver.strike(arguments, driver.says('update 3  train'), number, tmp_path)
  assert end.code == expected, end.log[-2000:]
  assert 'is saved; start the same command again' in end.last_line and 'Traceback' not in end.log
  step, _ = trainings.final_digest(tmp_path / 'run')
  assert 3 <= int(step) <= 5
  assert trainings.run(arguments).returncode == 0
  same_end(tmp_path / 'run', uninterrupted[0])


@pytest.mark.slow
@SIGNALS
def test_row_02_a_signal_in_the_final_evaluation_ends_it_at_once(uninterrupted, tmp_path, data_dir, number, expected):
  workdir = tmp_path / 'run'
  shutil.copytree(uninterrupted[0], workdir)
  (workdir / 'results.json').unlink()
  arguments = speech(workdir, data_dir)
  end = driver.strike(arguments, driver.says('evaluating the checkpoint'), number, tmp_path)
  assert end.code == expected, end.log[-2000:]
  assert end.last_line.startswith('stopped by SIG') and 'Traceback' not in end.log
  assert not list(workdir.rglob('*.tmp'))
  assert trainings.run(arguments).returncode == 0 and (workdir / 'results.json').exists()


@pytest.mark.long
def test_row_02_a_signal_in_a_validation_ends_it_and_loses_nothing(tmp_path):
  # Four minutes to validate, in chunks of a second: the signal comes before the end of the first evaluation.
  data = make_data(tmp_path / 'data', [('A', 'train', 100), ('B', 'train', 60), ('D', 'validation', 6000)])
  fields = {'total_steps': 2, 'evaluate_chunk_seconds': 1}
  whole, workdir = tmp_path / 'whole', tmp_path / 'run'
  assert trainings.run(speech(whole, data, **fields)).returncode == 0
  arguments = speech(workdir, data, **fields)
  end = driver.strike(arguments, driver.late(driver.says('update 1  train'), 0.3), signal.SIGTERM, tmp_path)
  assert end.code == 143 and 'update 1 is saved' in end.last_line, end.log[-2000:]
  assert not [row for row in read_metrics(workdir) if row['kind'] == 'validation']
  assert trainings.run(arguments).returncode == 0
  assert trainings.final_digest(workdir) == trainings.final_digest(whole)
  assert trainings.results(workdir) == trainings.results(whole)
  elapsed = [row['elapsed_seconds'] for row in read_metrics(workdir) if row['kind'] == 'train']
  assert elapsed == sorted(elapsed)


@pytest.mark.slow
@pytest.mark.parametrize(
  'number, victim',
  [
    (signal.SIGKILL, 1),
    *(
      pytest.param(*of, marks=pytest.mark.long)
      for of in ((signal.SIGKILL, 0), (signal.SIGSTOP, 0), (signal.SIGSTOP, 1))
    ),
  ],
)
def test_row_03_a_lost_host_ends_the_other_in_one_line_within_two_heartbeats(tmp_path, data_dir, victim, number):
  processes = start_through_slurm(tmp_path / 'run', data_dir)
  try:
    log = ''
    for line in processes[0].stderr:
      log += line
      if 'update 2  train' in line:
        break
    processes[victim].send_signal(number)
    struck = time.monotonic()
    log = processes[1 - victim].communicate(timeout=150)[1]
    assert processes[1 - victim].returncode == 69, log[-3000:]
    assert time.monotonic() - struck < 2 * hosts.HEARTBEAT_SECONDS
    assert log.splitlines()[-1].startswith('error: another host is lost (') and 'goes on from the newest' in log
    assert 'Traceback' not in log
    assert ('the first one', 'no sign of life of host 1')[victim] in log.splitlines()[-1]
    # JAX's client cannot be kept from its own dump where the first host has gone; the last line is ours nevertheless.
    assert 'stack trace' not in log or (victim, number) == (0, signal.SIGKILL)
  finally:
    for process in processes:
      process.kill()


def arrays_of(step):
  """The files of a checkpoint that hold numbers: the largest ones, as the names are Orbax's own affair."""
  files = [path for path in (step / 'state').rglob('*') if path.is_file()]
  largest = max(path.stat().st_size for path in files)
  return [path for path in files if path.stat().st_size == largest]


@pytest.mark.long
@pytest.mark.parametrize('damage', [driver.flip_bit, driver.empty, driver.cut])
def test_row_04_a_damaged_checkpoint_is_set_aside_for_the_one_before(uninterrupted, tmp_path, data_dir, damage):
  workdir = tmp_path / 'run'
  shutil.copytree(uninterrupted[0], workdir)
  for path in arrays_of(workdir / 'checkpoints' / '9'):
    damage(path)
  done = trainings.run(speech(workdir, data_dir))
  assert done.returncode == 0 and 'renamed 9.corrupt' in done.stderr, done.stderr[-3000:]
  assert 'resuming from update 8' in done.stderr and (workdir / 'checkpoints' / '9.corrupt').is_dir()
  same_end(workdir, uninterrupted[0])


@pytest.mark.long
def test_row_04_nothing_whole_is_66_and_never_a_fresh_start(uninterrupted, tmp_path, data_dir):
  workdir = tmp_path / 'run'
  shutil.copytree(uninterrupted[0], workdir)
  for step in (workdir / 'checkpoints').glob('[0-9]*'):
    for path in arrays_of(step):
      driver.empty(path)
  done = trainings.run(speech(workdir, data_dir))
  assert done.returncode == 66 and 'no checkpoint is whole' in trainings.last_line(done)
  assert 'Traceback' not in done.stderr and 'from scratch' not in done.stderr


_FEW_FILES = """
import os, pathlib, resource, sys
sys.path.insert(0, '.')
from data_prep.core.errors import CheckpointError
from e2e_affect.heads.regression import Regression
from e2e_affect.train import checkpoint_files
from tests.e2e_affect.train.test_checkpoint_files import at, equal, make_state
manager = checkpoint_files.open_manager(pathlib.Path(sys.argv[1]), Regression())
checkpoint_files.save(manager, at(make_state(8), 1), None)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))), limits[1]))
try:
  checkpoint_files.restore_newest(manager, make_state(8))
except CheckpointError as e:
  error = str(e)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
assert 'Too many open files' in error and 'nothing was changed' in error, error
assert equal(checkpoint_files.restore_newest(manager, make_state(8)), at(make_state(8), 1))
"""


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path('/proc/self/fd').is_dir(), reason='no /proc here')
def test_row_04_too_many_open_files_set_no_checkpoint_aside(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', _FEW_FILES, str(tmp_path)],
    capture_output=True,
    text=True,
    check=False,
    cwd=trainings.ROOT,
  )
  assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_row_05_a_checkpoint_of_another_config_is_refused(uninterrupted, data_dir):
  done = trainings.run(speech(uninterrupted[0], data_dir, model__recurrent__units=9))
  assert done.returncode == 66
  assert 'params/recurrent/head/kernel is float32[8, 2] in the checkpoint and float32[9, 2]' in trainings.last_line(
    done
  )
  done = trainings.run(speech(uninterrupted[0], data_dir, learning_rate=0.5))
  assert done.returncode == 64
  assert 'was begun with config.learning_rate = 0.001, now 0.5' in trainings.last_line(done)


@pytest.fixture
def mounted(tmp_path):
  """Mounts a file system in memory with these options; gives its folder and a function that mounts it anew."""
  disk = tmp_path / 'disk'
  disk.mkdir()

  def mount(*options):
    return subprocess.run(['mount', '-t', 'tmpfs', '-o', ','.join(options), 'tmpfs', disk], check=False).returncode

  if os.geteuid() or mount('size=1400k'):
    pytest.skip('no permission to mount a file system of a size')
  yield disk, lambda *options: mount('remount', *options)
  subprocess.run(['umount', '--lazy', disk], check=True)


@pytest.mark.slow
def test_row_06_a_full_disk_is_74_and_the_run_goes_on_exactly(uninterrupted, mounted, data_dir):
  disk, remount = mounted
  (disk / 'fill').write_bytes(bytes(2**20 - 2**17))
  arguments = speech(disk / 'run', data_dir)
  done = trainings.run(arguments)
  assert done.returncode == 74, done.stderr[-2000:]
  assert trainings.last_line(done).startswith('error: ') and 'no space left' in trainings.last_line(done)
  assert 'Traceback' not in done.stderr and 'Event loop' not in done.stderr
  remount('size=99m')
  assert trainings.run(arguments).returncode == 0
  same_end(disk / 'run', uninterrupted[0])


_FULL_DISK = """
import json, pathlib, resource, sys
import numpy as np
from absl import logging
from e2e_affect.heads.regression import Regression
from e2e_affect.train import checkpoint_files
from e2e_affect.run.log import ours_or_warning
from e2e_affect.train.train_state import TrainState
logging.use_absl_handler()
logging.get_absl_handler().addFilter(ours_or_warning)
def state(step):
  rng = np.random.default_rng(step)
  zero = np.zeros((), np.int32)
  params = {f'w{k}': rng.normal(size=15_000).astype(np.float32) for k in range(20)}
  return TrainState(np.int32(step), params, {}, (), zero, zero, {})
manager = checkpoint_files.open_manager(pathlib.Path(sys.argv[1]), Regression())
checkpoint_files.save(manager, state(1), None)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
  checkpoint_files.save(manager, state(2), None)
except Exception as e:
  print(json.dumps([type(e).__name__, str(e)]))
manager = checkpoint_files.open_manager(pathlib.Path(sys.argv[1]), Regression())
print(int(checkpoint_files.restore_newest(manager, state(0)).step))
"""


def test_row_06_a_file_that_may_not_grow_loses_that_step_alone(tmp_path):
  done = subprocess.run([sys.executable, '-c', _FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  error, step = done.stdout.strip().splitlines()[-2:]
  assert json.loads(error)[0] == 'DiskFullError' and 'older ones are intact' in json.loads(error)[1]
  assert step == '1'
  assert 'Traceback' not in done.stderr and 'Event loop' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['under a file', 'read-only'])
def test_row_07_a_workdir_that_cannot_be_written_is_73_before_anything_is_built(tmp_path, data_dir, fault, request):
  if fault == 'read-only':
    disk, remount = request.getfixturevalue('mounted')
    assert remount('ro') == 0
    workdir, said = disk / 'run', 'Read-only file system'
  else:
    (tmp_path / 'file').write_text('')
    workdir, said = tmp_path / 'file' / 'run', 'is no folder'
  done = trainings.run(speech(workdir, data_dir))
  assert done.returncode == 73 and said in trainings.last_line(done)
  assert trainings.last_line(done).startswith('error: ') and 'choose another --workdir' in done.stderr
  assert 'parameters' not in done.stderr  # before the network is built


@pytest.mark.long
def test_row_07_a_workdir_that_vanishes_ends_the_run_in_one_line(tmp_path, data_dir):
  away = lambda child: (tmp_path / 'run').rename(tmp_path / 'away')
  end = driver.strike(
    speech(tmp_path / 'run', data_dir, total_steps=2000), driver.says('update 3  train'), away, tmp_path
  )
  assert end.code == 73 and end.last_line.startswith('error: ') and 'Traceback' not in end.log, end.log[-3000:]


@pytest.mark.slow
def test_row_08_a_second_trainer_is_75_and_names_the_first(tmp_path, data_dir):
  second = []

  def start_another(child):
    second.append((child.pid, trainings.run(speech(tmp_path / 'run', data_dir, total_steps=10_000))))
    child.kill()

  lock = tmp_path / 'run' / 'lock'
  arguments = speech(tmp_path / 'run', data_dir, total_steps=10_000)
  driver.strike(arguments, lambda _: lock.exists() and lock.read_text(), start_another, tmp_path)
  ((pid, done),) = second
  assert done.returncode == 75
  assert f'in use by process {pid} on ' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.slow
def test_row_12_ten_updates_that_are_not_finite_stop_the_run(small_config, tmp_path, monkeypatch):
  small_config.model.modalities = ('speech',)
  small_config.total_steps, small_config.log_every_steps, small_config.evaluate_every_epochs = 40, 500, 100.0
  seen, over_devices = [], loop.update.over_devices

  def bad_from_the_fourth(*args):
    train_step = over_devices(*args)

    def step(state, batch, seed):
      seen.append(1)
      return train_step(state, batch if len(seen) < 4 else {**batch, 'label': batch['label'] * float('nan')}, seed)

    return step

  monkeypatch.setattr(loop.update, 'over_devices', bad_from_the_fourth)
  with pytest.raises(DataError, match='update 13: the loss or its gradient was not finite 10 times in a row'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert len(seen) == 13


@pytest.mark.parametrize('constant', ['prediction', 'target', 'both', 'masked'])
def test_row_13_constant_labels_or_predictions_have_finite_loss_and_gradient(constant):
  rng = np.random.default_rng(0)
  prediction, target = rng.normal(size=(2, 3, 11, 4)).astype(np.float32)
  mask = (rng.random((3, 11)) > 0.3).astype(np.float32)
  if constant in ('prediction', 'both'):
    prediction = np.full_like(prediction, 0.25)
  if constant in ('target', 'both'):
    target = np.full_like(target, 0.25)
  if constant == 'masked':
    mask = np.zeros_like(mask)
  loss = lambda prediction: losses.ccc_loss(prediction=prediction, target=target, mask=mask)[0]
  value, gradient = jax.value_and_grad(loss)(prediction)
  np.testing.assert_allclose(value, 1.0, atol=1e-6)  # a covariance of zero
  assert np.isfinite(gradient).all()
  if constant in ('both', 'masked'):
    assert (gradient == 0).all()


@pytest.mark.parametrize(
  'override, named',
  [
    pytest.param('batch_size=0', 'config.batch_size = 0, expected 1 to 100000', marks=pytest.mark.slow),
    pytest.param('learning_rate=nan', 'config.learning_rate = nan, expected above 0', marks=pytest.mark.slow),
    ('bach_size=3', 'configs/speech.py has no such field; did you mean batch_size?'),
    ('batch_size=many', 'batch_size'),
  ],
)
def test_row_27_absurd_configs_are_refused_in_one_line(tmp_path, override, named):
  done = trainings.run(
    [
      sys.executable,
      '-m',
      'e2e_affect.main',
      f'--config={trainings.ROOT}/configs/speech.py',
      '--workdir=run',
      f'--config.{override}',
    ],
    cwd=tmp_path,
  )
  assert done.returncode == 64, done.stderr[-2000:]
  assert trainings.last_line(done).startswith('error: ') and named in trainings.last_line(done)
  assert 'Traceback' not in done.stderr and not any(tmp_path.iterdir())  # no run, and no data made for it

"""Checkpoints that are damaged, of another network, or cut short by a full disk."""

import dataclasses
import errno
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from data_prep.core.errors import CheckpointError
from e2e_affect.heads.regression import Regression
from e2e_affect.train import checkpoint_files
from e2e_affect.train.train_state import TrainState

HEAD = Regression()


def make_state(units):
  """A state as a small network has it, without the network."""
  rng = np.random.default_rng(0)
  params = {
    'recurrent': {
      'lstm_0': {
        'bias': rng.normal(size=4 * units).astype(np.float32),
        'kernel': rng.normal(size=(50, 4 * units)).astype(np.float32),
      }
    }
  }
  zero = np.zeros((), np.int32)
  return TrainState(
    step=zero,
    params=params,
    batch_stats={},
    opt_state=optax.adam(1e-3).init(params),
    skipped=zero,
    skipped_in_a_row=zero,
    average={},
  )


@pytest.fixture
def state():
  return make_state(8)


def at(state, step):
  """The state after so many steps, told apart by one parameter."""
  params = jax.tree.map(lambda x: x + step, state.params)
  return dataclasses.replace(state, step=np.int32(step), params=params)


@pytest.fixture
def manager(tmp_path):
  manager = checkpoint_files.open_manager(tmp_path, HEAD)
  yield manager
  manager.close()


def equal(a, b):
  return all(
    (np.asarray(x) == np.asarray(y)).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_the_two_newest_and_the_best_are_kept(manager, state):
  for step, score in [(1, 0.2), (2, 0.7), (3, 0.4), (4, 0.5)]:
    checkpoint_files.save(manager, at(state, step), {'ccc_mean': score})
  checkpoint_files.save(manager, at(state, 5), None)  # as on SIGTERM
  assert sorted(manager.all_steps()) == [2, 4, 5]
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 5))
  best, metrics = checkpoint_files.restore_best(manager, state)
  assert equal(best, at(state, 2)) and metrics['ccc_mean'] == 0.7


def test_a_head_may_call_the_lowest_score_the_best(tmp_path, state):
  class Error(Regression):
    best_score, best_is_lowest = 'error', True

  manager = checkpoint_files.open_manager(tmp_path, Error())
  for step, score in [(1, 0.5), (2, 0.2), (3, 0.6), (4, 0.4), (5, 0.7)]:
    checkpoint_files.save(manager, at(state, step), {'error': score})
  best, metrics = checkpoint_files.restore_best(manager, state)
  assert equal(best, at(state, 2)) and metrics == {'error': 0.2}
  manager.close()


def test_no_checkpoint_is_a_fresh_start(manager, state):
  assert checkpoint_files.restore_newest(manager, state) is None
  with pytest.raises(CheckpointError, match='no checkpoint that is whole; train first'):
    checkpoint_files.restore_best(manager, state)


def damage(folder: pathlib.Path, how: str) -> None:
  """Spoils a checkpoint; which of Orbax's files holds the arrays is its own affair, so all of them."""
  files = [p for p in (folder / 'state').rglob('*') if p.is_file()]
  if how == 'empty folder':
    for path in [p for p in folder.rglob('*') if p.is_file()]:
      path.unlink()
  elif how == 'truncated':
    for path in files:
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  elif how == 'flipped bit':
    largest = max(p.stat().st_size for p in files)
    for path in [p for p in files if p.stat().st_size == largest]:
      content = bytearray(path.read_bytes())
      content[len(content) // 2] ^= 4
      path.write_bytes(content)
  elif how == 'no digest':
    for path in (folder / 'digest').iterdir():
      path.unlink()


@pytest.mark.parametrize('how', ['empty folder', 'truncated', 'flipped bit', 'no digest'])
def test_a_damaged_newest_is_set_aside_for_the_one_before(manager, state, how, caplog):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.9})
  checkpoint_files.save(manager, at(state, 2), None)
  folder = pathlib.Path(manager.directory)
  damage(folder / '2', how)
  with caplog.at_level('WARNING'):
    assert equal(checkpoint_files.restore_newest(manager, state), at(state, 1))
  assert (folder / '2.corrupt').is_dir() and not (folder / '2').exists()
  assert 'renamed 2.corrupt' in caplog.text
  checkpoint_files.save(manager, at(state, 2), None)  # the step can be made again
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 2))


def test_a_damaged_newest_that_is_also_the_best_does_not_lose_the_run(manager, state):
  for step, score in [(1, 0.2), (2, 0.4), (3, 0.7)]:
    checkpoint_files.save(manager, at(state, step), {'ccc_mean': score})
  damage(pathlib.Path(manager.directory) / '3', 'flipped bit')
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 2))


@pytest.mark.parametrize(
  'content', [b'[]', b'7', b'{"item_handlers": []}', b'{"init_timestamp_nsecs": "now"}', b'[' * 100_000]
)
def test_a_step_of_which_orbax_says_nonsense_is_set_aside_by_its_owner_and_named_to_a_reader(
  tmp_path, manager, state, content
):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.3})
  checkpoint_files.save(manager, at(state, 2), {'ccc_mean': 0.9})
  (pathlib.Path(manager.directory) / '2' / '_CHECKPOINT_METADATA').write_bytes(content)
  before = contents(tmp_path)
  with pytest.raises(CheckpointError, match='/2: damaged .*; start its run again, which sets it aside'):
    checkpoint_files.open_to_read(tmp_path, HEAD)
  assert contents(tmp_path) == before
  opened = checkpoint_files.open_manager(tmp_path, HEAD)
  assert equal(checkpoint_files.restore_newest(opened, state), at(state, 1))
  assert (pathlib.Path(manager.directory) / '2.corrupt').is_dir()
  opened.close()


def test_a_folder_whose_name_is_a_digit_of_no_step_is_left_alone(tmp_path, manager, state):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.3})
  (pathlib.Path(manager.directory) / '²').mkdir()
  opened = checkpoint_files.open_manager(tmp_path, HEAD)
  assert equal(checkpoint_files.restore_newest(opened, state), at(state, 1))
  opened.close()


def contents(folder):
  return {path.relative_to(folder): path.read_bytes() for path in pathlib.Path(folder).rglob('*') if path.is_file()}


def test_a_reader_of_a_damaged_best_changes_nothing_and_its_owner_takes_the_next_best(tmp_path, manager, state):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.9})
  checkpoint_files.save(manager, at(state, 2), {'ccc_mean': 0.4})
  damage(pathlib.Path(manager.directory) / '1', 'flipped bit')
  before = contents(tmp_path)
  with pytest.raises(CheckpointError, match='update 1, is damaged .*--mode=evaluate'):
    checkpoint_files.best_of_run(tmp_path, state, HEAD)
  assert contents(tmp_path) == before
  best, described = checkpoint_files.best_of_run(tmp_path, state, HEAD, owner=True)
  assert equal(best, at(state, 2)) and described['validation_raw_ccc'] == {'mean': 0.4}
  assert (pathlib.Path(manager.directory) / '1.corrupt').is_dir()


def test_a_reader_makes_no_folder(tmp_path, state):
  with pytest.raises(CheckpointError, match='no checkpoint; train first'):
    checkpoint_files.best_of_run(tmp_path, state, HEAD)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    MemoryError(),
    ValueError('PERMISSION_DENIED: [OS error 13: EACCES Permission denied]'),
  ],
)
def test_an_error_that_may_pass_sets_no_checkpoint_aside(manager, state, error, monkeypatch):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.9})
  before = contents(manager.directory)
  with monkeypatch.context() as patch:

    def fail(*_, **__):
      raise RuntimeError('cannot restore') from error

    patch.setattr(manager, 'restore', fail)
    with pytest.raises(CheckpointError, match='/1: cannot be read .*; nothing was changed'):
      checkpoint_files.restore_newest(manager, state)
  assert contents(manager.directory) == before
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 1))


@pytest.mark.parametrize('how', ['digit flipped', 'empty', 'absent', 'no JSON'])
def test_damaged_metrics_set_their_step_aside_and_choose_no_best(tmp_path, state, how, caplog):
  manager = checkpoint_files.open_manager(tmp_path, HEAD)
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.5})
  checkpoint_files.save(manager, at(state, 2), {'ccc_mean': 0.25})
  manager.close()
  path = tmp_path / 'checkpoints' / '2' / 'metrics' / 'metrics'
  if how == 'absent':
    path.unlink()
  else:
    path.write_text({'digit flipped': path.read_text().replace('0.25', '0.95'), 'empty': '', 'no JSON': '{'}[how])
  with pytest.raises(CheckpointError, match='2: damaged .*metrics'):
    checkpoint_files.best_of_run(tmp_path, state, HEAD)
  assert (tmp_path / 'checkpoints' / '2').is_dir()
  with caplog.at_level('WARNING'):
    manager = checkpoint_files.open_manager(tmp_path, HEAD)
  assert 'renamed 2.corrupt' in caplog.text
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 1))
  assert checkpoint_files.restore_best(manager, state)[1] == {'ccc_mean': 0.5}


def test_a_checkpoint_without_a_digest_of_its_metrics_is_read(tmp_path, state):
  manager = checkpoint_files.open_manager(tmp_path, HEAD)
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.5})
  path = tmp_path / 'checkpoints' / '1' / 'digest' / 'metadata'
  path.write_text(json.dumps({'sha256': json.loads(path.read_text())['sha256']}))  # as earlier versions wrote it
  assert checkpoint_files.best_of_run(tmp_path, state, HEAD)[1]['validation_raw_ccc'] == {'mean': 0.5}


@pytest.mark.parametrize('old, new', [('lstm_0', 'lstm_2'), ('Dict', 'Dicp')])
def test_44_a_damaged_list_of_arrays_sets_its_step_aside(manager, state, old, new):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.5})
  checkpoint_files.save(manager, at(state, 2), {'ccc_mean': 0.25})
  path = pathlib.Path(manager.directory) / '2' / 'state' / '_METADATA'
  path.write_text(path.read_text().replace(old, new))
  assert equal(checkpoint_files.restore_newest(manager, state), at(state, 1))
  assert (path.parents[2] / '2.corrupt').is_dir()


def test_3_a_step_that_is_damaged_again_is_set_aside_again(manager, state):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.5})
  folder = pathlib.Path(manager.directory)
  for aside in ('2.corrupt', '2.2.corrupt', '2.3.corrupt'):
    checkpoint_files.save(manager, at(state, 2), None)
    damage(folder / '2', 'truncated')
    assert equal(checkpoint_files.restore_newest(manager, state), at(state, 1))
    assert (folder / aside).is_dir()


@pytest.mark.slow
def test_45_what_cannot_be_read_leaves_no_tracebacks_of_other_arrays(tmp_path):
  script = """
import pathlib, sys
from e2e_affect.heads.regression import Regression
from e2e_affect.train import checkpoint_files
from tests.e2e_affect.train.test_checkpoint_files import at, make_state
state, folder = make_state(8), pathlib.Path(sys.argv[1])
manager = checkpoint_files.open_manager(folder, Regression())
for step in (1, 2, 3):
  checkpoint_files.save(manager, at(state, step), None)
for step in (2, 3):
  for path in (folder / 'checkpoints' / str(step) / 'state' / 'd').iterdir():
    path.unlink()
assert checkpoint_files.restore_newest(manager, state) is None
"""
  done = subprocess.run(
    [sys.executable, '-c', script, tmp_path],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).resolve().parents[3],
    timeout=120,
    check=False,
  )
  assert done.stderr.count('Traceback') <= 1 and 'CheckpointError' in done.stderr, done.stderr[-2000:]


def test_nothing_whole_is_an_error_and_not_a_fresh_start(manager, state):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.9})
  damage(pathlib.Path(manager.directory) / '1', 'flipped bit')
  with pytest.raises(CheckpointError, match='no checkpoint is whole'):
    checkpoint_files.restore_newest(manager, state)
  assert CheckpointError.exit_code == 66


def test_another_network_is_named_by_its_first_difference(manager, state):
  checkpoint_files.save(manager, at(state, 1), None)
  with pytest.raises(CheckpointError) as error:
    checkpoint_files.restore_newest(manager, make_state(9))
  # Units 8 → 9: bias 4 · 8 and 4 · 9.
  message = str(error.value)
  assert 'lstm_0/bias is float32[32] in the checkpoint and float32[36] in this network' in message
  assert (pathlib.Path(manager.directory) / '1').is_dir()  # not taken for damage


def test_another_type_is_an_error(manager, state):
  checkpoint_files.save(manager, at(state, 1), None)
  half = dataclasses.replace(state, params=jax.tree.map(lambda x: x.astype('float16'), state.params))
  with pytest.raises(CheckpointError, match='is float32.* in the checkpoint and float16'):
    checkpoint_files.restore_newest(manager, half)


def test_the_first_checkpoint_is_read_back_and_what_cannot_be_read_is_known_at_once(manager, state, monkeypatch):
  save = manager.save

  def save_badly(step, **kwargs):
    save(step, **kwargs)
    damage(pathlib.Path(manager.directory) / str(step), 'flipped bit')

  monkeypatch.setattr(manager, 'save', save_badly)
  with pytest.raises(
    CheckpointError, match=r'checkpoints/1: was just saved, and is not what is read back \(.*\); the '
  ):
    checkpoint_files.save(manager, at(state, 1), None)


def test_a_file_where_a_step_belongs_is_named_with_a_reason(tmp_path, manager, state):
  checkpoint_files.save(manager, at(state, 1), {'ccc_mean': 0.3})
  (pathlib.Path(manager.directory) / '2').write_text('x')
  with pytest.raises(CheckpointError, match=r'/2: cannot be read \(.*[a-z]{4}.*\); nothing was changed'):
    checkpoint_files.open_manager(tmp_path, HEAD)

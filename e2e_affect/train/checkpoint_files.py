"""Checkpoints: saved whole, checked bit by bit when they are read. The only file that imports Orbax."""

import contextlib
import errno
import hashlib
import inspect
import itertools
import json
import os
import pathlib
import sys
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from data_prep.core import json_text
from data_prep.core.errors import CheckpointError, DiskFullError, WorkdirError, write_error
from e2e_affect.heads import Head
from e2e_affect.train.train_state import TrainState

_FOLDER = 'checkpoints'
_LAST = 'params/recurrent/head/bias'  # of the network's last layer, which has a unit an output
# What may be over at the next try, and says nothing of the content of a file.
_PASSING = [
  getattr(errno, name)
  for name in (
    'EMFILE',
    'ENFILE',
    'EACCES',
    'EPERM',
    'ENOMEM',
    'EIO',
    'ESTALE',
    'ETIMEDOUT',
    'EAGAIN',
    'EBUSY',
    'ENODEV',
    'ENOTCONN',
    'EHOSTDOWN',
    'EHOSTUNREACH',
  )
  if hasattr(errno, name)
]


def open_manager(workdir: pathlib.Path, head: Head) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run to write; keeps the two newest and the best of the head's.

  Only the run's own trainer, which holds the lock of the folder, opens them so: a step whose metrics are not those
  that were saved, or that Orbax cannot open, is renamed `<step>.corrupt`, with a warning.
  """
  folder = (workdir / _FOLDER).absolute()
  for step, fault in _faulty(folder, head):
    _set_aside(folder, step, fault)
  return _manager(folder, head, read_only=False)


def open_to_read(workdir: pathlib.Path, head: Head) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run that another process may be writing; nothing on the disk is changed.

  Raises:
    CheckpointError: there are none, or the metrics by which the best is chosen are damaged.
  """
  folder = (workdir / _FOLDER).absolute()
  if not folder.is_dir():
    raise CheckpointError(f'{folder}: no checkpoint; train first')
  for step, fault in _faulty(folder, head):
    raise CheckpointError(f'{folder / str(step)}: damaged ({fault}); start its run again, which sets it aside')
  return _manager(folder, head, read_only=True)


def _manager(folder, head, read_only):
  goodness = lambda metrics: metrics[head.best_score] * (-1 if head.best_is_lowest else 1)
  policy = checkpoint_managers.AnyPreservationPolicy(
    [
      checkpoint_managers.LatestN(
        2
      ),  # where the newest is the best and is damaged, the run goes on from the one before
      checkpoint_managers.BestN(get_metric_fn=goodness, n=1, keep_checkpoints_without_metrics=False),
    ]
  )
  options = ocp.CheckpointManagerOptions(
    preservation_policy=policy,
    best_fn=goodness,
    best_mode='max',
    enable_async_checkpointing=False,
    create=not read_only,
    read_only=read_only,
  )
  try:
    return ocp.CheckpointManager(
      folder,
      options=options,
      item_handlers={'state': ocp.StandardCheckpointHandler(), 'digest': ocp.JsonCheckpointHandler()},
    )
  except OSError as e:
    if not read_only:
      raise write_error(folder, e) from None
    raise _unreadable(folder, e) from None


def has_any(workdir: pathlib.Path) -> bool:
  """Whether the run has a checkpoint to go on from, damaged or not."""
  folder = workdir / _FOLDER
  try:
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())
  except OSError as e:
    raise _unreadable(folder, e) from None


def save(manager: ocp.CheckpointManager, state: TrainState, metrics: dict[str, float] | None) -> None:
  """Saves the state of one device under its step; `metrics` of the validation partition, if it was evaluated.

  A state saved without metrics (on SIGTERM) is a place to resume from, never the best. With metrics it may be saved
  again, and without them it is not.

  The first checkpoint of a run is read back, so that a folder that does not keep what is written to it is known after
  minutes, not at the end.

  Raises:
    DiskFullError: no space is left. Older checkpoints are untouched.
    WorkdirError: the folder cannot be written any more, or has vanished.
    CheckpointError: what was saved is not what is read back.
  """
  if not manager.directory.is_dir():  # Orbax would make it anew, without what was in it
    raise WorkdirError(
      f'{manager.directory}: was there and has vanished; bring it back and start the same command again, which goes on '
      'from the newest checkpoint'
    )
  host = jax.tree.map(np.asarray, state)
  step = int(host.step)
  if step in manager.all_steps():
    if metrics is None:
      return
    manager.delete(step)
  is_first = not manager.all_steps()
  arguments = ocp.args.Composite(
    state=ocp.args.StandardSave(host),
    digest=ocp.args.JsonSave({'sha256': _digest(host), 'metrics_sha256': _metrics_digest(metrics)}),
  )
  try:
    with _no_late_callbacks():
      manager.save(step, args=arguments, metrics=metrics, force=True)
      manager.wait_until_finished()
  except Exception as e:  # the writer below Orbax wraps the system's error in types of its own
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) or _says_disk_full(e):
      raise DiskFullError(
        f'{manager.directory}: no space left for the checkpoint of update {step}; older ones are '
        'intact: free some space and start the same command again'
      ) from None
    if isinstance(e, OSError):
      raise write_error(manager.directory, e) from None
    raise
  if is_first:
    try:
      _restore(manager, step, host)
    except _Damaged as e:
      raise CheckpointError(
        f'{manager.directory}/{step}: was just saved, and is not what is read back ({e}); the '
        'training ends here, before more is lost: look at the disk, or choose another --workdir'
      ) from None


def was_evaluated(manager: ocp.CheckpointManager, step: int) -> bool:
  """Whether the checkpoint of this step was saved with metrics."""
  return bool(manager.metrics(step))


@contextlib.contextmanager
def _no_late_callbacks():
  """Hides what arrays say that are written or read beside one that could not be: its error alone is told.

  They report to an event loop that was closed, or are dropped half way, until the program ends. So after an exception
  the hook stays.
  """
  before = sys.unraisablehook

  def hook(unraisable):
    is_late = unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == 'Event loop is closed'
    if not is_late and not inspect.iscoroutine(unraisable.object):
      before(unraisable)

  sys.unraisablehook = hook
  yield
  sys.unraisablehook = before


def restore_newest(manager: ocp.CheckpointManager, template: TrainState) -> TrainState | None:
  """The newest checkpoint that is whole, or None where there has never been one.

  A damaged one is renamed `<step>.corrupt`, with a warning, and the one before is tried.

  Raises:
    CheckpointError: every checkpoint is damaged, one is of another network (its first difference is named), or one
      cannot be read for a reason that may pass.
  """
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      return _restore(manager, step, template)
    except _Damaged as e:
      _set_aside(manager.directory, step, e)
      manager.reload()
  damaged = sorted(pathlib.Path(manager.directory).glob('*.corrupt'))
  if damaged:
    raise CheckpointError(
      f'{manager.directory}: no checkpoint is whole ({len(damaged)} damaged, renamed *.corrupt); '
      'choose another --workdir to start afresh'
    )
  return None


def restore_best(
  manager: ocp.CheckpointManager, template: TrainState, *, owner: bool = False
) -> tuple[TrainState, dict]:
  """The checkpoint with the best validation score and its metrics; the newest where none was evaluated.

  Args:
    manager: of the run.
    template: a state with its shapes.
    owner: this process holds the run's lock: a damaged checkpoint is renamed `<step>.corrupt`, with a warning, and the
      next best is taken. Others change nothing.

  Raises:
    CheckpointError: there is none, it is damaged, of another network, or cannot be read for a reason that may pass.
  """
  while True:
    step = _best_step(manager)
    metrics = dict(manager.metrics(step) or {}) if step == manager.best_step() else {}
    try:
      return _restore(manager, step, template), metrics
    except _Damaged as e:
      if not owner:
        raise _damaged_best(manager, step, e) from None
      _set_aside(manager.directory, step, e)
      manager.reload()


def num_outputs(manager: ocp.CheckpointManager) -> int:
  """Units of the last layer of the network whose best checkpoint this is.

  Raises:
    CheckpointError: there is none, it is damaged, of another network, or cannot be read for a reason that may pass.
  """
  step = _best_step(manager)
  try:
    saved = _saved(manager, step)
  except _Damaged as e:
    raise _damaged_best(manager, step, e) from None
  if _LAST not in saved:
    raise CheckpointError(f'{manager.directory}/{step}: of another network, without {_LAST}; name another run')
  return saved[_LAST].shape[0]


def _best_step(manager):
  step = manager.best_step()
  step = manager.latest_step() if step is None else step
  if step is None:
    raise CheckpointError(f'{manager.directory}: no checkpoint that is whole; train first')
  return step


def _damaged_best(manager, step, reason):
  return CheckpointError(
    f'{manager.directory}: the best checkpoint, update {step}, is damaged ({reason}); evaluate its '
    'run again (--mode=evaluate), which takes the next best'
  )


def best_of_run(
  workdir: pathlib.Path, template: TrainState, head: Head, *, owner: bool = False
) -> tuple[TrainState, dict]:
  """The best checkpoint of a run and what `results.json` says of it; arguments and errors as `restore_best`."""
  manager = open_manager(workdir, head) if owner else open_to_read(workdir, head)
  state, metrics = restore_best(manager, template, owner=owner)
  manager.close()
  return state, {
    'step': int(state.step),
    'chosen_by': f'validation {head.best_score}' if metrics else 'newest',
    **head.of_checkpoint(metrics),
  }


class _Damaged(Exception):
  """The content of a checkpoint is not what was saved."""


@_no_late_callbacks()
def _restore(manager, step, template):
  """The state of a step.

  Raises:
    _Damaged: its content is not what was saved.
    CheckpointError: it is of another network, or cannot be read for a reason that may pass.
  """
  _check_same_network(manager, step, _saved(manager, step), template)
  try:
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_one_device()), template)
    restored = manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), digest=ocp.args.JsonRestore())
    )
    state = jax.tree.map(np.asarray, restored['state'])
    if _digest(state) != restored['digest']['sha256']:
      raise ValueError('its SHA-256 differs from the one saved with it')
  except Exception as e:
    _check_readable(manager, step, e)
    raise _Damaged(_first_line(e)) from None
  return state


@_no_late_callbacks()
def _saved(manager, step):
  """Name -> shape and type of every array of a step; errors as `_restore`."""
  try:
    saved = manager.item_metadata(step)['state']
    saved = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(saved, 'tree', saved))}
    if not saved or not all(hasattr(leaf, 'dtype') for leaf in saved.values()):
      raise ValueError('no arrays in it, or something else beside them')
    return saved
  except Exception as e:  # whatever a damaged folder makes the reader say
    _check_readable(manager, step, e)
    raise _Damaged(_first_line(e)) from None


def _check_readable(manager, step, error) -> None:
  """Raises CheckpointError where reading failed for a reason that says nothing of the content."""
  reasons: list[str] = []
  cause = error
  while cause is not None and len(reasons) < 20:
    reasons.append('out of memory' if isinstance(cause, MemoryError) else str(cause))
    cause = cause.__cause__ or cause.__context__
  words = [os.strerror(code) for code in _PASSING] + ['out of memory']
  reason = next((word for word in words if any(word in text for text in reasons)), None)
  try:  # the reader's error may hide the system's: can the files be read at all?
    for parent, _, files in os.walk(manager.directory / str(step), onerror=_raise):
      for name in files:
        with open(os.path.join(parent, name), 'rb') as f:
          while f.read(1 << 20):
            pass
  except OSError as e:
    reason = reason or e.strerror
  if reason:
    raise CheckpointError(
      f'{manager.directory}/{step}: cannot be read ({reason}); nothing was changed: mend that and '
      'start the same command again'
    ) from None


def _unreadable(path, error):
  reason = error.strerror or _first_line(error)
  return CheckpointError(
    f'{path}: cannot be read ({reason}); nothing was changed: mend that and start the same command again'
  )


def _raise(error):
  raise error


def _first_line(error):
  return str(error).split('\n')[0][:200] or type(error).__name__


def _faulty(folder, head):
  """(step, what is wrong) of steps whose metrics are not those that were saved, or whose metadata Orbax cannot read.

  Orbax reads both when it opens the folder, and believes them.
  """
  faults = []
  for path in folder.glob('*') if folder.is_dir() else ():
    if not path.name.isdecimal():
      continue
    try:
      _ = ocp.path.step.Metadata(step=int(path.name), path=epath.Path(path)).commit_timestamp
    except OSError as e:
      raise _unreadable(path, e) from None
    except Exception as e:  # whatever damaged metadata raise
      faults.append((path.name, _first_line(e)))
      continue
    try:
      file = path / 'metrics' / 'metrics'
      metrics = json_text.parse(file.read_bytes()) if file.exists() else None
      if metrics is not None and not isinstance(metrics.get(head.best_score), float):
        raise ValueError
      digest = json_text.parse((path / 'digest' / 'metadata').read_bytes())
      # Checkpoints of earlier versions have a digest of the state alone.
      if _metrics_digest(metrics) != digest.get('metrics_sha256', _metrics_digest(metrics)):
        raise ValueError
    except FileNotFoundError:
      pass  # without a digest: found when the state is read
    except OSError as e:
      raise _unreadable(path, e) from None
    except (ValueError, AttributeError):
      faults.append((path.name, 'its metrics or their digest are not those that were saved'))
  return faults


def _metrics_digest(metrics) -> str:
  return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()


def _set_aside(folder, step, reason):
  path = pathlib.Path(folder) / str(step)
  names = itertools.chain([f'{step}.corrupt'], (f'{step}.{k}.corrupt' for k in itertools.count(2)))
  name = next(
    name for name in names if not path.with_name(name).exists()
  )  # a step may be saved again and damaged again
  logging.warning('%s: damaged (%s); renamed %s', path, reason, name)
  if path.exists():
    path.rename(path.with_name(name))


def _check_same_network(manager, step, saved, template):
  """Orbax casts types silently and names shapes obscurely, so both are compared here."""
  wanted = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(template)}
  # Parameters first: the optimiser's state repeats their shapes under longer names.
  for name in sorted(saved.keys() | wanted.keys(), key=lambda name: (not name.startswith('params/'), name)):
    describe = lambda tree: f'{np.dtype(tree[name].dtype).name}{list(tree[name].shape)}' if name in tree else 'absent'
    if describe(saved) != describe(wanted):
      raise CheckpointError(
        f'{manager.directory}/{step}: of another config: {name} is {describe(saved)} in the '
        f'checkpoint and {describe(wanted)} in this network; choose another --workdir, or the '
        'config it was trained with (config.json beside it)'
      )


def _digest(tree: Any) -> str:
  """SHA-256 over (path, type, shape, bytes) of every leaf, sorted by path."""
  digest = hashlib.sha256()
  for path, leaf in sorted((_name(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)):
    digest.update(f'{path} {leaf.dtype} {leaf.shape}\n'.encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def _name(path) -> str:
  """params/speech/conv/kernel, the same for dataclasses, named tuples and the dicts Orbax makes of them."""
  return '/'.join(str(getattr(key, 'name', getattr(key, 'key', getattr(key, 'idx', key)))) for key in path)


def _one_device():
  return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _says_disk_full(error) -> bool:
  text = str(error)
  return any(word in text for word in ('No space left', 'ENOSPC', 'File too large', 'RESOURCE_EXHAUSTED'))

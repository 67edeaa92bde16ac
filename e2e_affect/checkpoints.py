"""Checkpoints: saved whole, checked bit by bit when they are read. The only file that imports Orbax."""

import errno
import hashlib
import pathlib
from typing import Any

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from data_prep.errors import CheckpointError, DiskFullError
from e2e_affect.steps import TrainState

_FOLDER = 'checkpoints'
BEST_METRIC = 'ccc_mean'


def open_manager(workdir: pathlib.Path) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run; keeps the newest and the best by mean validation CCC."""
  policy = checkpoint_managers.AnyPreservationPolicy([
      checkpoint_managers.LatestN(1),
      checkpoint_managers.BestN(get_metric_fn=lambda metrics: metrics[BEST_METRIC], n=1,
                                keep_checkpoints_without_metrics=False),
  ])
  options = ocp.CheckpointManagerOptions(
      preservation_policy=policy, best_fn=lambda metrics: metrics[BEST_METRIC], best_mode='max',
      enable_async_checkpointing=False, create=True)
  return ocp.CheckpointManager((workdir / _FOLDER).absolute(), options=options,
                               item_handlers={'state': ocp.StandardCheckpointHandler(),
                                              'digest': ocp.JsonCheckpointHandler()})


def save(manager: ocp.CheckpointManager, state: TrainState, metrics: dict[str, float] | None) -> None:
  """Saves the state of one device under its step; `metrics` of the validation partition, if it was evaluated.

  A state saved without metrics (on SIGTERM) is a place to resume from, never the best.

  Raises:
    DiskFullError: no space is left. Older checkpoints are untouched.
  """
  host = jax.tree.map(np.asarray, state)
  step = int(host.step)
  arguments = ocp.args.Composite(state=ocp.args.StandardSave(host),
                                 digest=ocp.args.JsonSave({'sha256': _digest(host)}))
  try:
    manager.save(step, args=arguments, metrics=metrics, force=True)
    manager.wait_until_finished()
  except Exception as e:  # the writer below Orbax wraps the system's error in types of its own
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) or _says_disk_full(e):
      raise DiskFullError(f'{manager.directory}: no space left for the checkpoint of step {step}; older ones are '
                          'intact: free some space and start the same command again') from None
    raise


def restore_newest(manager: ocp.CheckpointManager, template: TrainState) -> TrainState | None:
  """The newest checkpoint that is whole, or None where there has never been one.

  A damaged one is renamed `<step>.corrupt`, with a warning, and the one before is tried.

  Raises:
    CheckpointError: every checkpoint is damaged, or one is of another network: its first difference is named.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  for step in steps:
    state = _restore_if_whole(manager, step, template)
    if state is not None:
      return state
  damaged = sorted(pathlib.Path(manager.directory).glob('*.corrupt'))
  if damaged:
    raise CheckpointError(f'{manager.directory}: no checkpoint is whole ({len(damaged)} damaged, renamed *.corrupt); '
                          'choose another --workdir to start afresh')
  return None


def restore_best(manager: ocp.CheckpointManager, template: TrainState) -> tuple[TrainState, dict]:
  """The checkpoint with the best mean validation CCC and its metrics; the newest where none was evaluated.

  Raises:
    CheckpointError: there is none, it is damaged, or of another network.
  """
  step = manager.best_step()
  metrics = {}
  if step is None:
    step = manager.latest_step()
  else:
    metrics = dict(manager.metrics(step) or {})
  if step is None:
    raise CheckpointError(f'{manager.directory}: no checkpoint; train first')
  state = _restore_if_whole(manager, step, template)
  if state is None:
    raise CheckpointError(f'{manager.directory}: the best checkpoint, step {step}, is damaged and was renamed '
                          f'{step}.corrupt; start again to use the next best')
  return state, metrics


def best_of_run(workdir: pathlib.Path, template: TrainState) -> tuple[TrainState, dict]:
  """The best checkpoint of a run and what `results.json` says of it; errors as `restore_best`."""
  manager = open_manager(workdir)
  state, metrics = restore_best(manager, template)
  manager.close()
  return state, {'step': int(state.step), 'chosen_by': f'validation {BEST_METRIC}' if metrics else 'newest',
                 'validation_raw_ccc': {name.removeprefix('ccc_'): value for name, value in metrics.items()}}


def _restore_if_whole(manager, step, template):
  """The state of a step; None, and the step set aside, where it is damaged."""
  try:
    saved = manager.item_metadata(step)['state']
    saved = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(saved, 'tree', saved))}
    if not saved:
      raise ValueError('no arrays in it')
  except Exception as e:  # whatever a damaged folder makes the reader say
    return _set_aside(manager, step, e)
  _check_same_network(manager, step, saved, template)
  try:
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_one_device()), template)
    restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract),
                                                             digest=ocp.args.JsonRestore()))
    state = jax.tree.map(np.asarray, restored['state'])
    if _digest(state) != restored['digest']['sha256']:
      raise ValueError('its SHA-256 differs from the one saved with it')
  except Exception as e:
    return _set_aside(manager, step, e)
  return state


def _set_aside(manager, step, error):
  reason = str(error).split('\n')[0][:200] or type(error).__name__
  folder = pathlib.Path(manager.directory) / str(step)
  logging.warning('%s: damaged (%s); renamed %s.corrupt', folder, reason, step)
  if folder.exists():
    folder.rename(folder.with_name(f'{step}.corrupt'))
  manager.reload()
  return None


def _check_same_network(manager, step, saved, template):
  """Orbax casts types silently and names shapes obscurely, so both are compared here."""
  wanted = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(template)}
  # Parameters first: the optimiser's state repeats their shapes under longer names.
  for name in sorted(saved.keys() | wanted.keys(), key=lambda name: (not name.startswith('params/'), name)):
    describe = lambda tree: (f'{np.dtype(tree[name].dtype).name}{list(tree[name].shape)}' if name in tree else 'absent')
    if describe(saved) != describe(wanted):
      raise CheckpointError(f'{manager.directory}/{step}: of another config: {name} is {describe(saved)} in the '
                            f'checkpoint and {describe(wanted)} in this network; choose another --workdir, or the '
                            'config it was trained with (config.json beside it)')


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

"""The fused network starts from the features of trained unimodal ones (paper, section III-D)."""

import pathlib

from absl import logging
import jax
import ml_collections

from data_prep.errors import UserError
from e2e_affect import checkpoints, steps, workdir as workdirs
from e2e_affect.steps import TrainState


def unimodal(state: TrainState, config: ml_collections.ConfigDict) -> TrainState:
  """The features of trained unimodal networks in place of fresh ones (paper, section III-D).

  Their recurrent parts are discarded: the fused one has another input.

  Args:
    state: fresh.
    config: `init_from.speech` and `init_from.visual` are workdirs of runs, or ''.

  Raises:
    UserError, CheckpointError: no such run, or its features have other shapes.
  """
  params, batch_stats = dict(state.params), dict(state.batch_stats)
  num_targets = params['recurrent']['head']['bias'].size
  for modality in config.model.modalities:
    source = config.init_from[modality]
    if not source:
      logging.info('%s: from scratch', modality)
      continue
    trained_config = workdirs.read_config(source)
    trained = _best(source, trained_config, num_targets)
    variables = trained.evaluated()
    if modality not in variables['params']:
      raise UserError(f'{source}: holds no {modality} network, but {" + ".join(trained_config.model.modalities)}; '
                      f'name another run with --config.init_from.{modality}=…')
    _check_shapes(variables['params'][modality], params[modality], modality, source)
    params[modality] = variables['params'][modality]
    if modality in variables['batch_stats']:
      batch_stats[modality] = variables['batch_stats'][modality]
    logging.info('%s: features of %s, step %d; its recurrent part is discarded', modality, source, trained.step)
  return steps.first_state(params, batch_stats, config)


def _best(source, config, num_targets):
  """The best checkpoint of another run, on the host."""
  manager = checkpoints.open_manager(pathlib.Path(source))
  state, _ = checkpoints.restore_best(manager, steps.init_state(config, num_targets))
  manager.close()
  return state


def _check_shapes(found, wanted, modality, source):
  shapes = lambda tree: {jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
                         for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
  found, wanted = shapes(found), shapes(wanted)
  for name in sorted(found.keys() | wanted.keys()):
    if found.get(name) != wanted.get(name):
      raise UserError(f'{source}: {modality}/{name} is {found.get(name, "absent")}, expected '
                      f'{wanted.get(name, "absent")}; give both runs the same config.model.{modality}')

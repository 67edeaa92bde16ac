"""What a training starts from: published weights, and the features of trained networks (paper, section III-D)."""

import pathlib

from absl import logging
import jax
import ml_collections
import numpy as np

from data_prep.core import remote
from data_prep.core.errors import UserError
from e2e_affect import heads
from e2e_affect.config import switches
from e2e_affect.evaluate import results
from e2e_affect.run import workdir as workdirs
from e2e_affect.streams import STREAMS
from e2e_affect.train import checkpoint_files, train_state
from e2e_affect.train.train_state import TrainState
from e2e_affect.weights import store


def settle(
  config: ml_collections.ConfigDict, begun: ml_collections.ConfigDict | None = None
) -> ml_collections.ConfigDict:
  """The config with every field that was left on 'auto' decided, by what it starts from.

  Args:
    config: as made by a file in configs/.
    begun: that of the run which goes on. It was decided then, and what it started from need not be there any more.

  Raises:
    UserError: it contradicts the weights it starts from, they are not found, or belong to another network.
  """
  if begun is None:
    for source in (config.pretrained, *config.init_from.values()):
      remote.fetch(source)
  if config.postprocessing_from:
    remote.fetch(config.postprocessing_from)
    results.read_results(config.postprocessing_from)  # now, not after hours of training
  sources, preferred = {}, {}
  if begun is not None:
    preferred = {field: begun.model[field.split('.')[0]][field.split('.')[1]] for field in switches.DEFAULTS}
    return _with_switches(config, {}, preferred)
  if config.pretrained:
    header = store.read_header(config.pretrained)
    _check_parts(config, header)
    if not config.epochs and not config.total_steps and not any(f.startswith('recurrent.') for f in header['switches']):
      raise UserError(
        f'config.epochs = 0 evaluates published weights as they are, and {config.pretrained} '
        f'({header["format"]}) has no recurrent part; set --config.epochs to train one'
      )
    sources[f'{config.pretrained} ({header["format"]})'] = header['switches']
    preferred['visual.batch_norm'] = 'frozen'
  for modality, run in config.init_from.items():
    if run and modality in config.model.modalities:
      trained = workdirs.read_config(run).model[modality]
      sources[f'{run}/{modality}'] = {
        f'{modality}.{field}': trained[field] for field in STREAMS[modality].shared if field in trained
      }
      preferred |= {f'{modality}.{field}': trained[field] for field in STREAMS[modality].follows}
  return _with_switches(config, sources, preferred)


def _with_switches(config, sources, preferred):
  config = config.copy_and_resolve_references().unlock()
  config.model = switches.follow(config.model, sources, preferred)
  return config.lock()


def start(state: TrainState, config: ml_collections.ConfigDict) -> TrainState:
  """Published weights and trained features in place of fresh ones.

  The recurrent parts of trained unimodal networks are discarded (paper, section III-D): the fused one has another
  input.

  Args:
    state: fresh.
    config: `pretrained` is what `import_weights` wrote, the fields of `init_from` are workdirs of runs, each or ''.

  Raises:
    UserError, DataError, CheckpointError: no such weights, or they have other shapes.
  """
  params, batch_stats = dict(state.params), dict(state.batch_stats)
  origin = {}
  if config.pretrained:
    new_params, new_stats = store.read(config.pretrained)
    for part in new_params:
      _replace(params, batch_stats, new_params, new_stats, part, config.pretrained)
      origin[part] = f'published weights, {config.pretrained}'
  for modality, source in config.init_from.items():
    if source:
      trained_config = workdirs.read_config(source)
      trained = _best(source, trained_config)
      variables = trained.evaluated()
      if modality not in variables['params']:
        raise UserError(
          f'{source}: holds no {modality} network, but {" + ".join(trained_config.model.modalities)}; '
          f'name another run with --config.init_from.{modality}=…'
        )
      _replace(params, batch_stats, variables['params'], variables['batch_stats'], modality, source)
      origin[modality] = f'features of {source}, update {trained.step}; its recurrent part is discarded'
  if origin:
    for part in params:
      logging.info('%s: %s', part, origin.get(part, 'from scratch'))
  return train_state.first_state(params, batch_stats, config)


def _check_parts(config, header):
  """Refuses weights of a part that the network lacks, or that `init_from` gives, too: nothing is dropped silently."""
  parts = {field.split('.')[0] for field in header['switches']}
  network = {*config.model.modalities, 'recurrent'}
  if not parts <= network:
    raise UserError(
      f'{config.pretrained} ({header["format"]}) is for {", ".join(sorted(parts))}, the network has '
      f'{", ".join(sorted(network))}; choose another --config'
    )
  for modality, source in config.init_from.items():
    if modality in parts and source:
      raise UserError(
        f'both --config.pretrained and --config.init_from.{modality} give the {modality} network; leave one of them'
      )


def _best(source, config):
  """The best checkpoint of another run, on the host; its targets are its own."""
  manager = checkpoint_files.open_to_read(pathlib.Path(source), heads.of(config))
  dataset = workdirs.dataset_if_written(source)
  # Runs that did not write it had an output a target, whose names do not matter.
  targets = dataset['targets'] if dataset else [str(k) for k in range(checkpoint_files.num_outputs(manager))]
  layout = workdirs.layout_of(dataset, config, targets)
  shapes = jax.eval_shape(lambda: train_state.init_state(config, layout))  # its numbers would be thrown away
  state, _ = checkpoint_files.restore_best(manager, shapes)
  manager.close()
  return state


def _replace(params, batch_stats, new_params, new_stats, part, source):
  """Puts one part of other variables in the place of ours, whole, if every name and shape is the same."""
  shapes = lambda *trees: {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.shape(leaf)
    for tree in trees
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  found = shapes(new_params[part], new_stats.get(part, {}))
  wanted = shapes(params[part], batch_stats.get(part, {}))
  for name in sorted(found.keys() | wanted.keys()):
    if found.get(name) != wanted.get(name):
      raise UserError(
        f'{source}: {part}/{name} is {found.get(name, "absent")}, expected '
        f'{wanted.get(name, "absent")}; give both the same config.model.{part}'
      )
  params[part] = new_params[part]
  if part in new_stats:
    batch_stats[part] = new_stats[part]

"""Small networks with random parameters for tests of prediction; no test of its own."""

import dataclasses
import functools
import json

import jax
import numpy as np

from configs import fused
from data_prep import streams as prepared
from data_prep.features import FEATURES
from data_prep.schema.fields import Field
from data_prep.schema.grid import PAPER
from e2e_affect import streams
from e2e_affect.clips import network
from e2e_affect.train import train_state

POSTPROCESSING = {
  'fitted_on': 'validation',
  'min_gain': 0.02,
  'targets': {
    target: {
      'ccc_raw': 0.1,
      'median_filter': {'kept': True, 'steps': 11, 'ccc': 0.2},
      'centring': {'kept': True, 'bias': bias, 'ccc': 0.3},
      'scaling': {'kept': False, 'factor': 2.0, 'mean': 0.0, 'ccc': 0.3},
      'time_shift': {'kept': True, 'steps': 5, 'ccc': 0.4},
    }
    for target, bias in (('arousal', 0.125), ('valence', -0.25))
  },
}

BAND = {
  'level': 0.9,
  'subjects': 9,
  'expected': [0.81, 0.91],
  'half_width': {'arousal': 0.25, 'valence': 0.5},
  'of_constant': {'arousal': 0.5, 'valence': 0.4},
}
SEEN = {
  'loudness': [-36.0, -24.0],
  'face': [0.4, 1.0],
  'face_size': [4.0, 4000.0],
  'outputs': {'arousal': [-9.0, 9.0], 'valence': [-9.0, 9.0]},
}


def small_config(*modalities):
  """The fused config with small sizes, all different."""
  c = fused.get_config()
  with c.unlocked():
    c.model.modalities = modalities
    c.model.speech.filters, c.model.speech.pool_channels = 10, 5
    c.model.speech.taps, c.model.speech.long_taps = 9, 1200
    c.model.visual.width, c.model.visual.image_size = 4, 32
    c.model.recurrent.units = 8
    c.evaluate_chunk_seconds = 2
  return c


def layout(config, num_targets=2):
  """What data on the paper's grid hold for a network of this config; feature sets have some number of columns."""
  of_records = streams.layout_of_paper(config.model, ['arousal', 'valence', 'liking'][:num_targets])
  sets = {name: (Field(name, (150 + k,)),) for k, name in enumerate(FEATURES) if name in config.model.modalities}
  return dataclasses.replace(of_records, streams={**of_records.streams, **sets})


@functools.cache
def small_network(*modalities):
  """A `Network` of the two targets with random parameters, and post-processing that moves every trace."""
  return random_network(small_config(*modalities))


def network_with_band(*modalities):
  """`small_network` of a run that fitted a band, and says what its validation recordings are like."""
  plain = small_network(*modalities)
  about = {
    'postprocessing': {**POSTPROCESSING, 'band': BAND},
    'results': {'validation': {'raw': None, 'postprocessed': None, 'seen': SEEN}},
  }
  return network.Network(plain.config, plain.variables, {**plain.about, **about})


def random_variables(config, of_data):
  """`params` and `batch_stats` drawn by NumPy: to compile the initialisation takes longer than most tests."""
  rng = np.random.default_rng(5)

  def draw(path, leaf):
    kind = path[-1].key
    if kind in ('scale', 'var'):
      return np.ones(leaf.shape, np.float32)
    fan_in = max(1, np.prod(leaf.shape[:-1]))
    return rng.normal(0, fan_in**-0.5 if 'kernel' in kind else 0.1, leaf.shape).astype(np.float32)

  state = jax.eval_shape(lambda: train_state.init_state(config, of_data))
  return jax.tree_util.tree_map_with_path(draw, {'params': state.params, 'batch_stats': state.batch_stats})


def random_state(config, num_targets=2):
  """A state to train from, of `random_variables`."""
  return train_state.first_state(**random_variables(config, layout(config, num_targets)), config=config)


def random_network(config, grid=PAPER):
  """As `small_network`, of this config and for data on this grid."""
  options = {'landmarks': config.model.geometric.landmarks}
  of_data = prepared.layout(['arousal', 'valence'], grid, config.model.modalities, options)
  variables = random_variables(config, of_data)
  return network.Network(
    config,
    variables,
    {
      'targets': ['arousal', 'valence'],
      'label_scale': {'arousal': [1.0, 0.0], 'valence': [0.5, 0.25]},
      'postprocessing': json.loads(json.dumps(POSTPROCESSING)),
      'results': {},
      'checkpoint': {'step': 7, 'chosen_by': 'validation ccc_mean', 'validation_raw_ccc': {}},
      'commit': 'abc',
      'dataset': {
        'preparation': {'corpus': 'csv', 'simulated': True},
        'partitions': {'train': {'recordings': 3, 'subjects': 2, 'hours': 0.5}},
        'grid': dataclasses.asdict(grid),
        'streams': {name: [*map(dataclasses.asdict, fields)] for name, fields in of_data.streams.items()},
      },
    },
  )

"""Absurd configs are refused at once, before data and compilation."""

import math

import ml_collections

from data_prep.errors import UserError
from data_prep.records import STEPS_PER_RECORD
from e2e_affect.losses import LOSSES
from e2e_affect.models.affect import MODALITIES

_CHOICES = {
    'data.cache': ('', 'host', 'device'),
    'dtype': ('float32', 'bfloat16'),
    'loss': tuple(LOSSES),
    'model.speech.variant': ('paper', 'released'),
    'model.speech.normalise': ('recording', 'none'),
    'model.visual.stride_on': ('auto', '1x1', '3x3'),
    'model.visual.stem_pool_padding': ('auto', 'SAME', 'SYMMETRIC'),
    'model.visual.batch_norm': ('auto', 'train', 'frozen'),
}
_AT_LEAST_ONE = ('batch_size', 'log_every_steps', 'evaluate_chunk_seconds', 'data.read_threads',
                 'model.recurrent.layers', 'model.recurrent.units', 'model.speech.filters', 'model.speech.taps',
                 'model.speech.long_taps', 'model.speech.pool_channels', 'model.visual.width',
                 'model.geometric.landmarks')
_POSITIVE = ('learning_rate', 'evaluate_every_epochs')
_NOT_NEGATIVE = ('epochs', 'total_steps', 'seed', 'model.recurrent.cell_clip', 'model.visual.batch_norm_epsilon',
                 'augment.brightness')


def check(config: ml_collections.ConfigDict) -> None:
  """Looks at every value that could not work.

  Raises:
    UserError: the first such field, its value and what is allowed.
  """
  for field, choices in _CHOICES.items():
    _require(config, field, lambda v: v in choices, 'one of ' + ', '.join(choices))
  for field in _AT_LEAST_ONE:
    _require(config, field, lambda v: v >= 1, 'at least 1')
  for field in _POSITIVE:
    _require(config, field, lambda v: 0 < v < math.inf, 'a number above 0')
  for field in _NOT_NEGATIVE:
    _require(config, field, lambda v: 0 <= v < math.inf, '0 or more')
  _require(config, 'data.sequence_steps', lambda v: v > 0 and v % STEPS_PER_RECORD == 0,
           f'a multiple of {STEPS_PER_RECORD} (whole seconds)')
  for field in ('average_decay', 'model.speech.dropout'):
    _require(config, field, lambda v: 0 <= v < 1, 'at least 0 and under 1')
  _require(config, 'augment.resize', lambda v: 1 <= v < 4, 'at least 1 and under 4')
  _require(config, 'augment.saturation', lambda v: 0 <= v <= 1, '0 to 1')
  _require(config, 'model.visual.image_size', lambda v: v >= 32, 'at least 32 (the network halves it five times)')
  _require(config, 'model.modalities', lambda v: v and tuple(m for m in MODALITIES if m in v) == tuple(v),
           f'some of {", ".join(MODALITIES)}, in this order')
  _require(config, 'model.speech.filters', lambda v: v % config.model.speech.pool_channels == 0,
           f'a multiple of model.speech.pool_channels = {config.model.speech.pool_channels}')
  _require(config, 'data.train_on', lambda v: tuple(v) in (('train',), ('train', 'validation')),
           "('train',) or ('train', 'validation')")
  _require(config, 'model.frozen', lambda v: set(v) <= {'speech', 'visual'} & set(config.model.modalities),
           'some of speech and visual, as far as the network has them')
  for modality in config.init_from:
    source = config.init_from[modality]
    if source and modality not in config.model.modalities:
      raise UserError(f'config.init_from.{modality} = {source!r}, but the network has no such part: '
                      f'config.model.modalities = {tuple(config.model.modalities)}')


def _require(config, field, good, expected):
  value = config
  for part in field.split('.'):
    value = value[part]
  if not good(value):
    raise UserError(f'config.{field} = {value!r}, expected {expected}; set it with --config.{field}=…')

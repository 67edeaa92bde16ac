"""Absurd configs are refused at once, before data and compilation."""

import math

import ml_collections

from data_prep.core.errors import UserError
from e2e_affect import heads
from e2e_affect.heads.recordings import CountsRecordings
from e2e_affect.streams import parts, STREAMS

_LONGEST = 90_000  # steps of a sequence: an hour on the paper's grid
_CHOICES = {
  'class_weights': ('inverse', 'none'),
  'data.cache': ('', 'host', 'device'),
  'dtype': ('float32', 'bfloat16'),
  'model.speech.variant': ('paper', 'released', 'filterbank'),
  'model.speech.normalise': ('recording', 'none'),
  'model.visual.stride_on': ('auto', '1x1', '3x3'),
  'model.visual.stem_padding': ('auto', 'SYMMETRIC', 'SAME'),
  'model.visual.stem_pool_padding': ('auto', 'SAME', 'SYMMETRIC', 'VALID'),
  'model.visual.batch_norm': ('auto', 'train', 'frozen'),
}
# Smallest and largest. The upper ones keep a slip of the finger from filling the memory or running for ever.
_RANGES = {
  **dict.fromkeys(
    (
      'model.visual.width',
      'model.speech.filters',
      'model.speech.taps',
      'model.speech.pool_channels',
      'model.geometric.landmarks',
      'model.physiology.filters',
      'model.physiology.taps',
      'model.physiology.long_taps',
      'model.physiology.features',
      'model.recurrent.units',
    ),
    (1, 10_000),
  ),
  'model.recurrent.layers': (0, 100),
  'model.speech.channels': (1, 10_000),
  'model.speech.mask_bands': (0, 10_000),
  'model.speech.long_taps': (1, 80_000),  # 10 s
  'model.visual.image_size': (32, 1024),  # the network halves it five times
  'model.visual.batch_norm_epsilon': (0, 1),
  'model.modality_dropout': (0, 1),
  'model.recurrent.cell_clip': (0, 1e9),
  'model.recurrent.warm_up': (0, 1000),
  'model.recurrent.restart_steps': (0, 2**31 - 1),
  'model.features.project_to': (0, 10_000),
  'features.window_seconds': (0, 60),
  'features.hop_seconds': (0, 60),
  'weight_decay': (0, 1),
  'batch_size': (1, 100_000),
  'epochs': (0, 1_000_000),
  'total_steps': (0, 2**31 - 1),
  'seed': (0, 2**32 - 1),
  'log_every_steps': (1, 2**31 - 1),
  'evaluate_every_epochs': (0.001, 1_000_000),
  'evaluate_chunk_seconds': (1, 3600),
  'data.label_delay_steps': (0, 10_000),
  'data.read_threads': (1, 256),
  'data.max_bad_records': (0, 1_000_000),
  'augment.brightness': (0, 1),
  'augment.saturation': (0, 1),
  'augment.speed': (0, 0.5),
  'augment.gain': (0, 60),
  'augment.time_mask': (0, 90_000),
}


def check(config: ml_collections.ConfigDict) -> None:
  """Looks at every value that could not work.

  Raises:
    UserError: the first such field, its value and what is allowed.
  """
  _require(config, 'head', lambda v: v in heads.HEADS, f'one of {", ".join(heads.HEADS)}')
  losses = heads.of(config).losses
  _require(config, 'loss', lambda v: v in losses, f'one of {", ".join(losses)}, which the head {config.head} has')
  for field, choices in _CHOICES.items():
    _require(config, field, lambda v: v in choices, 'one of ' + ', '.join(choice or "''" for choice in choices))
  for field, (low, high) in _RANGES.items():
    _require(config, field, lambda v: low <= v <= high, f'{low} to {high}')
  _require(
    config,
    'name',
    lambda v: v not in ('', '.', '..') and not set(v) & set('/\\\0'),
    'the name of a folder, without a path',
  )
  _require(config, 'learning_rate', lambda v: 0 < v <= 10, 'above 0 and at most 10')
  _require(
    config,
    'data.sequence_steps',
    lambda v: 0 < v <= _LONGEST,
    f'at least 1 and at most {_LONGEST}',
  )
  for field, good, expected in (
    ('mean', lambda x: abs(x) < math.inf, 'numbers'),
    ('std', lambda x: 0 < x < math.inf, 'numbers above 0'),
  ):
    _require(
      config,
      f'model.visual.{field}',
      lambda v: not v or len(v) == 3 and all(isinstance(x, (int, float)) and good(x) for x in v),
      f'() or three {expected}',
    )
  _require(config, 'model.recurrent.input_scale', lambda v: 0 < v <= 10, 'above 0 and at most 10')
  for field in (
    'label_smoothing',
    'average_decay',
    'model.speech.dropout',
    'model.physiology.dropout',
    'model.visual.batch_norm_momentum',
  ):
    _require(config, field, lambda v: 0 <= v < 1, 'at least 0 and under 1')
  _require(config, 'augment.resize', lambda v: 1 <= v < 4, 'at least 1 and under 4')
  _require(
    config,
    'model.modalities',
    lambda v: v and tuple(m for m in STREAMS if m in v) == tuple(v),
    f'some of {", ".join(STREAMS)}, in this order',
  )
  _require(
    config,
    'model.speech.filters',
    lambda v: v % config.model.speech.pool_channels == 0,
    f'a multiple of model.speech.pool_channels = {config.model.speech.pool_channels}',
  )
  _require(
    config,
    'data.train_on',
    lambda v: tuple(v) in (('train',), ('train', 'validation')),
    "('train',) or ('train', 'validation')",
  )
  _require(
    config,
    'model.frozen',
    lambda v: set(v) <= parts(config.model.modalities),
    f'some of {" and ".join(sorted(parts(STREAMS)))}, as far as the network has them',
  )
  _require(
    config,
    'model.recurrent.pool',
    lambda v: not v or isinstance(heads.of(config), CountsRecordings) and not config.model.recurrent.bidirectional,
    f'False with config.head = {config.head!r} and in bidirectional networks: it is for heads of whole recordings',
  )
  for field in ('warm_up', 'restart_steps') if config.model.recurrent.pool else ():
    _require(config, f'model.recurrent.{field}', lambda v: v == 0, '0 with config.model.recurrent.pool')
  recurrent, heard_and_seen = config.model.recurrent, [name for name in config.model.modalities if STREAMS[name].track]
  if recurrent.bidirectional:
    _require(
      config,
      'model.recurrent.bidirectional',
      lambda v: not heard_and_seen,
      f'False in a network of {" and ".join(heard_and_seen)}: reading backwards takes recordings whole, and the '
      'activations of so many steps no memory holds',
    )
    for field in ('warm_up', 'restart_steps'):
      expected = '0 in a bidirectional network; longer config.data.sequence_steps show it longer memories'
      _require(config, f'model.recurrent.{field}', lambda v: v == 0, expected)
  _require(
    config,
    'model.speech.mask_bands',
    lambda v: v < config.model.speech.filters or config.model.speech.variant != 'filterbank',
    f'less than model.speech.filters = {config.model.speech.filters}',
  )
  _require(
    config,
    'augment.noise_snr',
    lambda v: not v or len(v) == 2 and all(isinstance(x, (int, float)) and abs(x) <= 120 for x in v) and v[0] <= v[1],
    '() or the lowest and the highest ratio in dB, from −120 to 120',
  )
  _require(
    config,
    'augment.speed',
    lambda v: not v or tuple(config.model.modalities) == ('speech',),
    f'0 in a network of {", ".join(config.model.modalities)}: only a network of speech alone hears it',
  )
  if config.model.modality_dropout and len(config.model.modalities) < 2:
    raise UserError(
      f'config.model.modality_dropout = {config.model.modality_dropout}, and the network has one modality, '
      f'{config.model.modalities[0]}, which no sequence may lose; set --config.model.modality_dropout=0, or choose a '
      'config of several modalities'
    )
  if not config.epochs and not config.total_steps and not config.pretrained:
    raise UserError(
      'config.epochs = 0 evaluates published weights, but there are none; set --config.pretrained, or --config.epochs '
      'to train'
    )
  for modality in config.init_from:
    source = config.init_from[modality]
    if source and modality not in config.model.modalities:
      raise UserError(
        f'config.init_from.{modality} = {source!r}, but the network has no such part: '
        f'config.model.modalities = {tuple(config.model.modalities)}'
      )


def _require(config, field, good, expected):
  value = config
  for part in field.split('.'):
    value = value[part]
  if not good(value):
    raise UserError(f'config.{field} = {value!r}, expected {expected}; set it with --config.{field}=…')

"""TF-slim's `resnet_v1_50.ckpt`, the ImageNet weights of the paper: `resnet_v1_50/block1/unit_1/bottleneck_v1/…`."""

from data_prep.core.errors import DataError
from e2e_affect.weights import resnet50
from e2e_affect.weights.tensors import few, Imported, Tensors

FORMAT = 'ResNet-50 of TF-slim'
SCOPE = 'resnet_v1_50'
IGNORED = (
  r'(.*/)?global_step',
  r'.*/(Adam|Adam_1|Momentum|RMSProp|RMSProp_1|ExponentialMovingAverage)',
  r'(.*/)?beta[12]_power',
)
# Slim's own place of the stride is the 3×3 convolution of a block's last unit. Everything behind it is pointwise up to
# the next block's 1×1 convolutions, so that striding those gives the same numbers.
NETWORK = {
  'visual.stride_on': '1x1',
  'visual.stem_padding': 'SYMMETRIC',
  'visual.stem_pool_padding': 'SAME',
  'visual.batch_norm_epsilon': 1e-5,
}
SWITCHES = NETWORK | {'visual.mean': tuple(m / 255 for m in (123.68, 116.78, 103.94)), 'visual.std': (1 / 255,) * 3}


def recognises(names) -> bool:
  """Whether these are the names of one of slim's residual networks, alone."""
  return any(name.startswith('resnet_v') for name in names)


def convert(path, arrays) -> Imported:
  """Imports the network.

  Raises:
    DataError: it is not ResNet-50, version 1, or not whole.
  """
  scopes = {name.split('/')[0] for name in arrays if name.startswith('resnet_v')}
  if scopes != {SCOPE}:
    raise DataError(f'{path}: {few(sorted(scopes))}, expected {SCOPE}')
  tensors = Tensors(path, arrays)
  params, statistics = fill(tensors, '')
  return tensors.finish(
    FORMAT,
    params,
    statistics,
    SWITCHES,
    ignored=(rf'{SCOPE}/logits/.*', r'(.*/)?mean_rgb', *IGNORED),
    notes=('strided as slim at evaluation; statistics of a batch in training would see every position',),
  )


def fill(tensors: Tensors, prefix: str):
  """Takes the network from under `prefix`."""

  def name_of(stage, unit, part):
    if stage == 0:
      place = f'{prefix}{SCOPE}/conv1'
    else:
      layer = 'shortcut' if part == 'shortcut' else f'conv{part}'
      place = f'{prefix}{SCOPE}/block{stage}/unit_{unit}/bottleneck_v1/{layer}'
    return {'kernel': f'{place}/weights', **slim_norm(place)}

  return resnet50.fill(tensors, name_of)


def slim_norm(place: str) -> dict[str, str]:
  """Names of the arrays of a layer's normalisation."""
  norm = f'{place}/BatchNorm'
  return {
    'scale': f'{norm}/gamma',
    'bias': f'{norm}/beta',
    'mean': f'{norm}/moving_mean',
    'var': f'{norm}/moving_variance',
  }

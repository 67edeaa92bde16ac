"""Keras's ResNet50: `conv2_block1_1_conv/kernel`; its convolutions have biases and its images are B, G, R.

Keras 2.12 and newer name a layer in `.weights.h5` and `.keras` by its kind and a number, as `conv2d_3`. The numbers
follow the order of the model's layers, and Keras loads by that order.
"""

import re

from data_prep.core.errors import DataError
from e2e_affect.weights import resnet50
from e2e_affect.weights.tensors import Imported, Tensors

FORMAT = 'ResNet-50 of Keras'
# Keras subtracts these from B, G, R in [0, 255]; here R, G, B in [0, 1], with the stem's kernel turned round to match.
_BGR_MEAN = (103.939, 116.779, 123.68)
SWITCHES = {
  'visual.stride_on': '1x1',
  'visual.stem_padding': 'SYMMETRIC',
  'visual.stem_pool_padding': 'SYMMETRIC',
  'visual.batch_norm_epsilon': 1.001e-5,
  'visual.mean': tuple(m / 255 for m in _BGR_MEAN[::-1]),
  'visual.std': (1 / 255,) * 3,
}
_NUMBERED = re.compile(r'(conv2d|batch_normalization|dense)(?:_(\d{1,6}))?/(\w+)')


def recognises(names) -> bool:
  """Whether these are the names of a residual network of keras.applications, of this or an older Keras."""
  return (
    'conv1_conv/kernel' in names
    or {'conv2d/kernel', 'batch_normalization/gamma'} <= set(names)
    or any(name.startswith('res2a_branch2a') for name in names)
  )


def convert(path, arrays) -> Imported:
  """Imports the network.

  Raises:
    DataError: it is not ResNet-50, version 1, or not whole.
  """
  if 'conv2d/kernel' in arrays:
    arrays = _named(path, arrays)
  if 'conv1_conv/kernel' not in arrays:
    raise DataError(
      f'{path}: of Keras 2.2 or older (res2a_branch2a), whose ResNet-50 differs; expected '
      'keras.applications.ResNet50 of Keras 2.3 or newer'
    )
  if 'post_bn/gamma' in arrays or 'conv1_bn/gamma' not in arrays:
    raise DataError(f'{path}: ResNet version 2 or ResNeXt of Keras, expected keras.applications.ResNet50')
  for stage, block, name in ((3, 5, 'ResNet-152'), (4, 7, 'ResNet-101')):
    if f'conv{stage}_block{block}_1_conv/kernel' in arrays:
      raise DataError(f'{path}: {name} of Keras, expected keras.applications.ResNet50')
  tensors = Tensors(path, arrays)

  def name_of(stage, unit, part):
    place = 'conv1' if stage == 0 else f'conv{stage + 1}_block{unit}_{0 if part == "shortcut" else part}'
    return {
      'kernel': f'{place}_conv/kernel',
      'conv_bias': f'{place}_conv/bias',
      'scale': f'{place}_bn/gamma',
      'bias': f'{place}_bn/beta',
      'mean': f'{place}_bn/moving_mean',
      'var': f'{place}_bn/moving_variance',
    }

  params, statistics = resnet50.fill(tensors, name_of)
  params['visual/conv1/kernel'] = params['visual/conv1/kernel'][:, :, ::-1].copy()
  return tensors.finish(
    FORMAT,
    params,
    statistics,
    SWITCHES,
    ignored=(r'(predictions|probs|fc1000)/(kernel|bias)',),
    notes=('biases of the convolutions are folded into the running means; B, G, R turned to R, G, B',),
  )


def _named(path, arrays):
  """The arrays under the names of the layers, which the order of their numbers tells."""
  layers = {'conv2d': [], 'batch_normalization': [], 'dense': []}
  found = {name: match for name in arrays if (match := _NUMBERED.fullmatch(name))}
  for kind, numbers in layers.items():
    numbers += sorted({int(m[2] or 0) for m in found.values() if m[1] == kind})
  places = ['conv1']
  for stage, units in enumerate(resnet50.UNITS, 2):
    for unit in range(1, units + 1):
      places += [f'conv{stage}_block{unit}_{part}' for part in ((1, 2, 0, 3) if unit == 1 else (1, 2, 3))]
  for kind, words in (('conv2d', 'convolutions'), ('batch_normalization', 'batch normalisations')):
    if len(layers[kind]) != len(places):
      known = {104: ' (ResNet-101)', 155: ' (ResNet-152)'}.get(len(layers[kind]), '')
      raise DataError(
        f'{path}: a network of Keras of {len(layers[kind])} {words}{known}, expected the {len(places)} '
        'of keras.applications.ResNet50'
      )
  own = {('conv2d', number): f'{place}_conv' for number, place in zip(layers['conv2d'], places)}
  own |= {('batch_normalization', n): f'{place}_bn' for n, place in zip(layers['batch_normalization'], places)}
  own |= {('dense', number): 'predictions' for number in layers['dense'][:1]}  # a second one is left over
  renamed = {}
  for name, stored in arrays.items():
    match = found.get(name)
    layer = own.get((match[1], int(match[2] or 0))) if match else None
    renamed[f'{layer}/{match[3]}' if layer else name] = stored
  return renamed

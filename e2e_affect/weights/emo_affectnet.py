"""EMO-AffectNet's static network (Ryumina et al. 2022): VGGFace2's ResNet-50, fine-tuned on the faces of AffectNet.

Files: `FER_static_ResNet50_AffectNet.pt`, a state dict with names of its own, and Keras's `weights_66_37.h5`. Images
are B, G, R in [0, 255] minus a mean; here R, G, B in [0, 1], with the stem's kernel turned round to match.
"""

import dataclasses

import numpy as np

from e2e_affect.weights import resnet50, torchvision
from e2e_affect.weights.tensors import COUNTERS, Imported, nest, Stored, Tensors

FORMAT = "EMO-AffectNet's static network"
CLASSES = ('neutral', 'happiness', 'sadness', 'surprise', 'fear', 'disgust', 'anger')
FEATURES = 512
IMAGE_SIZE = 224  # pixels of the faces that it learnt from
_BGR_MEAN = (91.4953, 103.8827, 131.0912)
SWITCHES = {
  'visual.stride_on': '1x1',
  'visual.stem_padding': 'SAME',
  'visual.stem_pool_padding': 'VALID',
  'visual.batch_norm_epsilon': 1e-3,
  'visual.mean': tuple(m / 255 for m in _BGR_MEAN[::-1]),
  'visual.std': (1 / 255,) * 3,
}
_TORCH_STEM, _KERAS_STEM = 'conv_layer_s2_same.weight', 'conv1_7x7_s2/kernel'
_NOTES = (
  'B, G, R turned to R, G, B',
  f'it saw faces of {IMAGE_SIZE} pixels: --config.model.visual.image_size={IMAGE_SIZE} shows a training as large ones',
)


def recognises(names) -> bool:
  """Whether these are the names of the network in PyTorch or in Keras."""
  return _TORCH_STEM in names or _KERAS_STEM in names


def convert(path, arrays: dict[str, Stored]) -> Imported:
  """Imports the network; `beside` are the two layers that make its features and classes of the ResNet's.

  Raises:
    DataError: it is not whole.
  """
  tensors = Tensors(path, arrays)
  in_torch = _TORCH_STEM in arrays
  params, statistics = resnet50.fill(tensors, _in_torch if in_torch else _in_keras, torch_kernels=in_torch)
  params['visual/conv1/kernel'] = params['visual/conv1/kernel'][:, :, ::-1].copy()
  dense: dict[str, np.ndarray] = {}
  for ours, theirs, shape in (('features', 'fc1', (2048, FEATURES)), ('head', 'fc2', (FEATURES, len(CLASSES)))):
    if in_torch:
      kernel = tensors.take(f'{theirs}.weight', shape[::-1], f'{ours}/kernel').T.copy()
      bias = tensors.take(f'{theirs}.bias', shape[1:], f'{ours}/bias')
    else:
      layer = _dense_layer(arrays, shape)
      kernel = tensors.take(f'{layer}/kernel', shape, f'{ours}/kernel')
      bias = tensors.take(f'{layer}/bias', shape[1:], f'{ours}/bias')
    dense |= {f'{ours}/kernel': kernel, f'{ours}/bias': bias}
  imported = tensors.finish(FORMAT, params, statistics, SWITCHES, ignored=COUNTERS, notes=_NOTES)
  return dataclasses.replace(imported, beside=nest(dense))


def _in_torch(stage, unit, part):
  if stage == 0:
    conv, norm = 'conv_layer_s2_same', 'batch_norm1'
  elif part == 'shortcut':
    conv, norm = (f'layer{stage}.{unit - 1}.i_downsample.{i}' for i in (0, 1))
  else:
    conv, norm = (f'layer{stage}.{unit - 1}.{kind}{part}' for kind in ('conv', 'batch_norm'))
  return {'kernel': f'{conv}.weight', **torchvision.torch_norm(norm)}


def _in_keras(stage, unit, part):
  kind = {1: '1x1_reduce', 2: '3x3', 3: '1x1_increase', 'shortcut': '1x1_proj'}[part]
  conv = f'conv{stage + 1}_{unit}_{kind}' if stage else 'conv1_7x7_s2'
  return {
    'kernel': f'{conv}/kernel',
    'scale': f'{conv}_bn/gamma',
    'bias': f'{conv}_bn/beta',
    'mean': f'{conv}_bn/moving_mean',
    'var': f'{conv}_bn/moving_variance',
  }


def _dense_layer(arrays, shape):
  """The layer with a kernel of this shape: Keras numbers dense layers as they were made, so their names say nothing."""
  layers = [name.removesuffix('/kernel') for name, stored in arrays.items() if tuple(stored.shape) == shape]
  return layers[0] if len(layers) == 1 else f'(a dense layer of {shape[0]} inputs and {shape[1]} outputs)'

"""Hugging Face's ResNet-50, `microsoft/resnet-50`: `resnet.encoder.stages.0.layers.0.layer.0.convolution.weight`."""

import pathlib

from data_prep.core.errors import DataError
from e2e_affect.weights import limits, resnet50, torchvision
from e2e_affect.weights.tensors import COUNTERS, Imported, Tensors

FORMAT = 'ResNet-50 of Hugging Face'
_STEM = 'embedder.embedder.convolution.weight'
# What the network's config.json must say where it says anything.
_EXPECTED = {
  'model_type': 'resnet',
  'layer_type': 'bottleneck',
  'hidden_act': 'relu',
  'downsample_in_first_stage': False,
  'embedding_size': 64,
  'num_channels': 3,
}


def recognises(names) -> bool:
  """Whether these are the names of one of Hugging Face's residual networks."""
  return any(name.removeprefix('resnet.') == _STEM for name in names)


def convert(path, arrays) -> Imported:
  """Imports the network; a `config.json` beside the file says where its units are strided.

  Raises:
    DataError: it is not ResNet-50, or not whole.
  """
  prefix = 'resnet.' if f'resnet.{_STEM}' in arrays else ''
  shapes = {name.removeprefix(prefix): stored.shape for name, stored in arrays.items()}
  resnet50.refuse_relatives(
    path,
    shapes,
    lambda stage, unit: f'encoder.stages.{stage - 1}.layers.{unit - 1}.',
    'layer.1.convolution.weight',
    'layer.2.convolution.weight',
  )
  stride_on, note = _stride_on(path)
  tensors = Tensors(path, arrays)

  def name_of(stage, unit, part):
    if stage == 0:
      place = f'{prefix}embedder.embedder'
    else:
      inner = 'shortcut' if part == 'shortcut' else f'layer.{part - 1}'
      place = f'{prefix}encoder.stages.{stage - 1}.layers.{unit - 1}.{inner}'
    return {'kernel': f'{place}.convolution.weight', **torchvision.torch_norm(f'{place}.normalization')}

  params, statistics = resnet50.fill(tensors, name_of, torch_kernels=True)
  return tensors.finish(
    FORMAT,
    params,
    statistics,
    torchvision.SWITCHES | {'visual.stride_on': stride_on},
    ignored=(r'classifier\..*', *COUNTERS),
    notes=(note,),
  )


def _stride_on(path):
  """'3x3' or '1x1', and how that is known."""
  config = pathlib.Path(path).parent / 'config.json'
  if not config.exists():
    return '3x3', 'no config.json beside the file: stride on the 3×3 convolutions, as in microsoft/resnet-50'
  try:
    said = limits.read_json_file(config)
    for field, expected in _EXPECTED.items():
      if said.get(field, expected) != expected:
        raise DataError(
          f'{config}: {field} is {limits.short(repr(said[field]))}, expected {expected!r}, as in microsoft/resnet-50'
        )
    in_bottleneck = said.get('downsample_in_bottleneck', False)
  except (OSError, ValueError, AttributeError) as e:
    raise DataError(f'{config}: damaged ({limits.short(str(e))}); get it again, or remove it') from None
  return '1x1' if in_bottleneck else '3x3', f'{config.name}: downsample_in_bottleneck is {bool(in_bottleneck)}'

"""ResNet-50 in our names, filled from any source that has its layers under other names."""

from collections.abc import Callable, Iterator

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights.tensors import Tensors

UNITS = (3, 4, 6, 3)  # of each stage
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]

Shape = tuple[int, ...]


def layers() -> Iterator[tuple[str, int, int, int | str, Shape]]:
  """(our name, stage, unit, part, kernel's shape [h, w, in, out]) of every convolution with its normalisation.

  The stem is stage 0; units count from 1; part is 1, 2, 3 or 'shortcut'.
  """
  yield 'conv1', 0, 0, 1, (7, 7, 3, 64)
  inputs = 64
  for stage, count in enumerate(UNITS, 1):
    features = 64 * 2 ** (stage - 1)
    for unit in range(1, count + 1):
      prefix = f'stage{stage}_unit{unit}'
      yield f'{prefix}/conv1', stage, unit, 1, (1, 1, inputs, features)
      yield f'{prefix}/conv2', stage, unit, 2, (3, 3, features, features)
      yield f'{prefix}/conv3', stage, unit, 3, (1, 1, features, 4 * features)
      if unit == 1:
        yield f'{prefix}/shortcut', stage, unit, 'shortcut', (1, 1, inputs, 4 * features)
      inputs = 4 * features


def norm_name(conv: str) -> str:
  """Our name of the normalisation behind a convolution."""
  return conv + '_norm' if conv.endswith('shortcut') else conv.replace('conv', 'norm')


def fill(
  tensors: Tensors, name_of: Callable[[int, int, int | str], dict[str, str]], *, torch_kernels: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Takes every array of the network.

  Args:
    tensors: of the file.
    name_of: (stage, unit, part) -> its names: 'kernel', 'scale', 'bias', 'mean', 'var', and 'conv_bias' where the
      source's convolutions have one: it is folded into the mean, which changes nothing.
    torch_kernels: kernels are stored [out, in, h, w].

  Returns:
    Parameters and running statistics, flat: 'visual/stage1_unit1/conv1/kernel'. `tensors.finish` says what is wrong.
  """
  params: dict[str, np.ndarray] = {}
  statistics: dict[str, np.ndarray] = {}
  for ours, stage, unit, part, shape in layers():
    names = name_of(stage, unit, part)
    conv, norm = f'visual/{ours}', f'visual/{norm_name(ours)}'
    if torch_kernels:
      kernel = tensors.take(names['kernel'], (shape[3], shape[2], *shape[:2]), f'{conv}/kernel').transpose(2, 3, 1, 0)
    else:
      kernel = tensors.take(names['kernel'], shape, f'{conv}/kernel')
    params[f'{conv}/kernel'] = np.ascontiguousarray(kernel)
    channels = shape[3:]
    for leaf, tree in (('scale', params), ('bias', params), ('mean', statistics), ('var', statistics)):
      tree[f'{norm}/{leaf}'] = tensors.take(names[leaf], channels, f'{norm}/{leaf}')
    if 'conv_bias' in names:
      statistics[f'{norm}/mean'] -= tensors.take(names['conv_bias'], channels, f'{norm}/mean')
    if (statistics[f'{norm}/var'] < 0).any():
      tensors.reject(f'{names["var"]} holds variances below 0')
  return params, statistics


def refuse_relatives(path, names: dict[str, Shape], stages: Callable[[int, int], str], second: str, third: str) -> None:
  """Names the network where a file holds a relative of ResNet-50.

  Args:
    path: for the message.
    names: name -> shape of everything in the file.
    stages: (stage, unit), from 1, -> prefix that the names of this unit begin with.
    second: rest of the name of a unit's 3×3 kernel, stored [out, in, h, w].
    third: rest of the name of a unit's last kernel, which networks without bottlenecks lack.

  Raises:
    DataError: it is another network.
  """
  dots = stages(1, 1).count('.')
  prefixes = {'.'.join(name.split('.', dots)[:dots]) + '.' for name in names}
  count = lambda stage: next(n for n in range(len(names) + 1) if stages(stage, n + 1) not in prefixes)
  units = tuple(count(stage) for stage in (1, 2, 3, 4))
  known: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): 'ResNet-18',
    (3, 4, 23, 3): 'ResNet-101',
    (3, 8, 36, 3): 'ResNet-152',
  }
  shape = names.get(stages(1, 1) + second, ())
  found = known.get(units, f'a network of {units} units')
  if units == UNITS:
    if len(shape) != 4 or shape[2:] != (3, 3) or stages(1, 1) + third not in names:
      found = 'ResNet-34 or another network without bottlenecks'
    elif shape[0] != 64 or shape[1] != 64:
      found = 'Wide ResNet-50' if shape[0] == shape[1] else 'ResNeXt-50'
    elif any('.se.' in name or '.attn.' in name or '.downsample.2.' in name for name in names):
      found = 'ResNet-50 with attention or another shortcut'
    else:
      return
  raise DataError(f'{path}: {found}, expected ResNet-50 (3, 4, 6 and 3 bottleneck units, version 1 or 1.5)')
